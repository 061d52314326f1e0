"""A film of the open body in a captured person's poses: whole on the left, its head on the right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.body.tables import NAMES, NUM_BODY
from avatarctl.errors import DataError
from avatarctl.render import Render
from avatarctl.render.stage import COLOURS, Actor
from avatarctl.render.video import Film

if TYPE_CHECKING:
    from avatarctl_audio2motion.person.person import Person

SMPLX = NAMES["smplx"]
JAW = SMPLX.index("jaw")
HEAD = tuple(SMPLX.index(joint) for joint in ("neck", "head"))
SKIN, WHITE, IRIS = (0.80, 0.63, 0.52), (0.93, 0.93, 0.92), (0.16, 0.13, 0.12)
"""Colours of head and hands, and of the eyes; the rest wears the first of the stage's colours."""
CLOSE = 0.6
"""Width of the picture of the head, as a share of the other's."""
SEAM = 0.3
"""How much of a joint's influence lies between suit and skin."""
IRIS_DEG = 24.0
"""Half the angle of the iris as the eyeball's centre sees it."""


def film(
    person: Person,
    pose: Tensor,
    codes: Tensor | None,
    sound: tuple[np.ndarray, int] | None,
    render: Render | None,
    fps: float,
    size: tuple[int, int],
    title: str,
) -> Film:
    """The film that `Person.film` describes."""
    actor = actor_of(person, pose, codes, fps)
    stage = render or Render()
    whole = stage.film([[actor]], size=size, fps=fps, titles=[title])
    close = stage.film([[actor]], size=(size[0], round(CLOSE * size[1])), fps=fps, joints=HEAD)
    return replace(beside([whole, close]), sound=sound)


def actor_of(person: Person, pose: Tensor, codes: Tensor | None, fps: float) -> Actor:
    """The open body in a person's poses [T, 104], with its face where the codes [T, 256] are the open face's.

    Raises:
        DataError: There are not as many codes as poses.
    """
    body = open_body("smplx")
    motion = person.motion(pose, fps).to_skeleton("smplx")
    motion = motion.replace(poses=motion.body_poses(len(SMPLX)).clone())
    jaw = pose[:, person.jaw] if person.jaw is not None else torch.zeros(len(pose))
    coefficients = None
    if codes is not None and person.face is not None:
        if len(codes) != len(pose):
            raise DataError(f"face codes of {len(codes)} frames; the body has {len(pose)}")
        expression = person.face.expression(codes)
        jaw, coefficients = jaw + expression.jaw, expression.coefficients
    motion.poses[:, JAW, 0] = jaw.float().clamp(min=0.0)
    return Actor(motion, body, SKIN, expression=coefficients, colours=_colours())


def beside(films: Sequence[Film]) -> Film:
    """Films of equal length, height and rate side by side."""

    def make() -> Iterator[np.ndarray]:
        for frames in zip(*(one.frames() for one in films), strict=True):
            yield np.concatenate(frames, axis=1)

    return replace(films[0], make=make)


@cache
def _colours() -> Tensor:
    """Colours of the open SMPL-X body's vertices [V, 3]: a suit from neck to wrists, eyes with an iris."""
    body = open_body("smplx")
    bare = [
        joint
        for joint, name in enumerate(SMPLX)
        if joint >= NUM_BODY or name in ("neck", "head") or name.endswith("wrist")
    ]
    share = ((body.weights[:, bare].sum(1, keepdim=True) - 0.5) / SEAM + 0.5).clamp(0, 1)
    colours = torch.lerp(torch.tensor(COLOURS[0]), torch.tensor(SKIN), share)
    for eye in ("left_eye", "right_eye"):
        ball = (body.weights[:, SMPLX.index(eye)] > 0.5).nonzero()[:, 0]
        away = body.template[ball] - body.template[ball].mean(0)
        is_iris = away[:, 2] > away.norm(dim=1) * math.cos(math.radians(IRIS_DEG))
        colours[ball] = torch.tensor(WHITE)
        colours[ball[is_iris]] = torch.tensor(IRIS)
    return colours
