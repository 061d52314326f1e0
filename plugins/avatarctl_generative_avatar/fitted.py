"""Pictures of fitted bodies: their normals, and the bodies drawn over photos to see whether they fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from avatarctl.body import BodyModel
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.render import rasterize
from avatarctl_generative_avatar.body import FACE_SHARE, face_centres, scaled_body
from avatarctl_generative_avatar.label import camera_of

SAMPLES = 2
"""Samples along each side of a pixel of drawn normals."""
COVERED = 0.5
"""Share of a pixel that somebody has to cover for it to have a normal."""
TINT, FRAME = (70, 130, 220), (230, 120, 20)
"""Colours of bodies and of face crops."""


def vertices_of(body: BodyModel, one: Tensor) -> Tensor:
    """The vertices of a label's body in the labels' world, metres [6890, 3]."""
    return scaled_body(body, one[None]).vertices[0]


def seen_normals(vertices: Tensor, faces: Tensor, one: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Normals where a label's camera sees a body [3, side, side], and where that is [side, side].

    They are those that the generator renders (spec 4.9): x to the right, y up, z towards the world's -z.
    """
    found = rasterize(vertices, faces, camera_of(one, side), (side, side), is_closed=True)
    outward = normalize(found.interpolate(vertex_normals(vertices, faces), faces), dim=1)
    is_hit = found.face >= 0
    normals = torch.zeros(3, side, side)
    normals[:, is_hit] = (outward * outward.new_tensor([1.0, -1.0, -1.0])).T
    return normals, is_hit


def coded_normals(normals: Tensor, is_there: Tensor, side: int) -> np.ndarray:
    """Unit normals as a picture of another size, white where nobody is, uint8 [side, side, 3].

    Args:
        normals: [3, H, H].
        is_there: Which pixels have one [H, H].
    """
    both = torch.cat([normals * is_there, is_there[None].to(normals)])[None]
    if both.shape[-1] != side:
        both = interpolate(both, (side, side), mode="bilinear", antialias=True)
    facing, share = normalize(both[0, :3], dim=0), both[0, 3:]
    coded = torch.where(share >= COVERED, (facing + 1) * 127.5, 255.0)
    return (coded + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()


def overlay(photo: np.ndarray, body: BodyModel, one: Tensor) -> np.ndarray:
    """A photo with the label's body over it and a frame around its face, uint8 [H, H, 3].

    The body is where the label's camera sees it, the frame where face crops are taken (spec 5.2): one far
    from the other says that the camera is another than discriminators assume.
    """
    side, vertices = len(photo), vertices_of(body, one)
    found = rasterize(vertices, body.faces, camera_of(one, side), (side, side), is_closed=True)
    shade = 0.35 + 0.65 * found.interpolate(vertex_normals(vertices, body.faces), body.faces)[:, 2].neg()
    made, is_hit = torch.from_numpy(photo.copy()).float(), found.face >= 0
    made[is_hit] = 0.45 * made[is_hit] + 0.55 * shade.clamp(0, 1)[:, None] * made.new_tensor(TINT)
    x, y = (face_centres(body, one[None])[0] * side).tolist()
    half = side / FACE_SHARE / 2
    left, right, top, bottom = (
        min(max(round(place), 0), side - 1) for place in (x - half, x + half, y - half, y + half)
    )
    frame = made.new_tensor(FRAME)
    made[top : bottom + 1, [left, right]] = frame
    made[[top, bottom], left : right + 1] = frame
    return made.clamp(0, 255).to(torch.uint8).numpy()
