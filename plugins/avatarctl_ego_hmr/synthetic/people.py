"""Made-up people: open bodies of random shape in clothes of random colours, in poses of the embedded clips.

They stand on the floor (y = 0) somewhere in the office, and reach no deeper into its furniture than allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from scipy.spatial import KDTree
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_about, matrix_from_axis_angle_smpl
from avatarctl.motion.clips import clips
from avatarctl_ego_hmr.bodies import Body, pose

Split = Literal["train", "val", "test"]
HELD_OUT: dict[str, tuple[str, ...]] = {
    "val": ("walk_x13", "walk_x50", "jump_4", "martial_09_a", "martial_09_b", "salsa_04_a", "salsa_11_a"),
    "test": (
        "walk_2", "run_3", "basketball_3", "soccer_4", "signal_3", "indian_08_a", "indian_08_b",
        "martial_05_a", "martial_05_b",
    ),
}  # fmt: skip
"""Clips that training never sees, by take (no take stands on two sides)."""
DEEPEST = 0.03
"""How far furniture may reach into a body, metres."""
SHAPE_LIMIT = 2.0
"""Standard deviations of a shape."""
ALIKE = 0.35
"""Deviation of how far people turn away from whoever looks at them, in half turns."""
SKIN = ((0.86, 0.69, 0.59), (0.42, 0.27, 0.19))
HAIR = ((0.10, 0.08, 0.07), (0.30, 0.19, 0.12), (0.62, 0.48, 0.30), (0.55, 0.54, 0.53), (0.45, 0.20, 0.12))
TROUSERS = (
    (0.15, 0.19, 0.32),
    (0.12, 0.12, 0.13),
    (0.55, 0.50, 0.40),
    (0.35, 0.36, 0.38),
    (0.25, 0.32, 0.48),
)
HEAD, ELBOWS, HANDS, FEET = (15,), (18, 19), (20, 21, 22, 23), (7, 8, 10, 11)
THIGHS, SHINS, NECK = (0, 1, 2), (4, 5), (12,)
STILL, STILL_TURN = (10, 11, 13, 14, 22, 23), 0.15
"""Toes, collars and hands, which most clips do not move, and the deviation of what they are given, radians: a
density over poses needs some."""
NOSE, EYE, EAR = 332, 2800, 583


def between(noise: Noise, low: float, high: float) -> float:
    """A number, uniformly."""
    return low + (high - low) * float(noise.uniform(()))


@dataclass(frozen=True)
class Person:
    """Who is seen in a recording: shape [10], colours of the vertices [V, 3], what annotations call them."""

    betas: Tensor
    colours: Tensor
    gender: Literal["m", "f"]


@dataclass(frozen=True)
class Placed:
    """A person in the scene: axis-angle [24, 3], translation [3], and the body there, one row, metres."""

    person: Person
    poses: Tensor
    transl: Tensor
    body: Body


def draw_person(noise: Noise, gender: Literal["m", "f"]) -> Person:
    """Somebody."""
    betas = noise.normal((10,)).clamp(-SHAPE_LIMIT, SHAPE_LIMIT)
    return Person(betas, draw_clothes(noise), gender)


def draw_clothes(noise: Noise) -> Tensor:
    """Skin, hair, shoes, trousers and shirt by the joint that moves a vertex most [V, 3]."""
    body = open_body("smpl")
    label, rest = body.weights.argmax(dim=1), body.template

    def of(joints: tuple[int, ...]) -> Tensor:
        return torch.isin(label, torch.tensor(joints))

    skin = torch.lerp(torch.tensor(SKIN[0]), torch.tensor(SKIN[1]), noise.uniform(()))
    shirt = noise.uniform((3,)) * 0.85 + 0.08
    colours = shirt.expand(len(rest), 3).clone()
    if between(noise, 0, 1) < 0.4:  # stripes
        wave = torch.sin(rest[:, 1] * 2 * math.pi / between(noise, 0.08, 0.25))
        colours[wave > 0] = noise.uniform((3,)) * 0.85 + 0.08
    colours[of(THIGHS + SHINS)] = _one(noise, TROUSERS)
    if between(noise, 0, 1) < 0.25:
        colours[of(SHINS)] = skin
    if between(noise, 0, 1) < 0.5:
        colours[of(ELBOWS)] = skin
    colours[of(FEET)] = noise.uniform((3,)) * 0.6
    colours[of(HANDS + HEAD + NECK)] = skin
    above = rest[:, 1] > rest[EYE, 1] + 0.035
    behind = (rest[:, 2] < rest[EAR, 2]) & (rest[:, 1] > rest[NOSE, 1] - between(noise, 0.0, 0.1))
    colours[of(HEAD) & (above | behind)] = _one(noise, HAIR)
    return (colours + 0.015 * noise.normal((len(rest), 1))).clamp(0.02, 0.98)


def _one(noise: Noise, choices: tuple[tuple[float, float, float], ...]) -> Tensor:
    return torch.tensor(choices[int(noise.integers(0, len(choices), ()))])


@cache
def clip_names(split: Split) -> tuple[str, ...]:
    """The embedded clips of a split."""
    held = {name for names in HELD_OUT.values() for name in names}
    return HELD_OUT.get(split) or tuple(name for name in clips() if name not in held)


@cache
def clip_poses(name: str) -> Tensor:
    """Axis-angle of SMPL's joints in an embedded clip, y up [T, 24, 3]; hands are at rest."""
    return clips()[name].motion().to_skeleton("smpl").to_up("y").body_poses(24).float()


def draw_poses(noise: Noise, split: Split) -> Tensor:
    """One frame of a clip of the split, every clip equally often; still joints at random [24, 3]."""
    names = clip_names(split)
    clip = clip_poses(names[int(noise.integers(0, len(names), ()))])
    return stirred(clip[int(noise.integers(0, len(clip), ()))], noise)


def stirred(poses: Tensor, noise: Noise) -> Tensor:
    """Poses [..., 24, 3] whose still joints are turned a little at random."""
    turned = poses.clone()
    turned[..., list(STILL), :] += STILL_TURN * noise.normal((*poses.shape[:-2], len(STILL), 3))
    return turned


def draw_heading(noise: Noise, towards: float) -> float:
    """Which way somebody faces whom others look at from `towards`: mostly there, radians about y from z."""
    return towards + math.pi * ALIKE * float(noise.normal(()))


def stand(person: Person, poses: Tensor, heading: float, place: tuple[float, float]) -> Placed:
    """A person whose lowest point is on the floor.

    Args:
        poses: Axis-angle, root first, y up [24, 3].
        heading: Where the pelvis faces, radians about y, 0 along z.
        place: x and z of the pelvis, metres.
    """
    matrices = matrix_from_axis_angle_smpl(poses)
    facing = matrices[0, :, 2]
    turn = matrix_about("Y", torch.tensor(heading - math.atan2(float(facing[0]), float(facing[2]))))
    matrices = torch.cat([(turn @ matrices[0])[None], matrices[1:]])
    body = pose(open_body("smpl"), matrices[None], person.betas[None])
    pelvis = body.joints[0, 0]
    transl = torch.stack([place[0] - pelvis[0], -body.vertices[0, :, 1].amin(), place[1] - pelvis[2]])  # [3]
    turned = torch.cat([axis_angle_from_matrix(matrices[:1]), poses[1:]])
    return Placed(person, turned, transl, body.moved(transl[None]))


def depth_inside(placed: Placed, points: Tensor) -> float:
    """How far points reach into a body, metres: below the surface at the nearest vertex; 0 where none does.

    Args:
        points: Of the scene, the floor left out [N, 3].
    """
    vertices = placed.body.vertices[0]
    low, high = vertices.amin(dim=0), vertices.amax(dim=0)
    near = points[((points > low) & (points < high)).all(dim=-1)]
    if not len(near):
        return 0.0
    normals = vertex_normals(vertices, open_body("smpl").faces)
    nearest = torch.from_numpy(KDTree(vertices.numpy()).query(near.numpy())[1])
    inward = -((near - vertices[nearest]) * normals[nearest]).sum(-1)
    return max(0.0, float(inward.max()))
