"""A picture's label: camera and body as 111 numbers (spec 2.2).

    0:16 camera to world, row major, OpenCV axes    25 scale         29:32 turn of the root, axis-angle
    16:25 intrinsics over the picture's size        26:29 transl     32:101 body pose    101:111 betas

Bodies stand upright in a world whose y points down, so that the root is turned by pi about x.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarctl.body.tables import mirror_pairs
from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.shapes import expect

SIZE, CAMERA, BODY = 111, 25, 86
JOINTS, BETAS = 24, 10
SCALE, TRANSL, POSES, SHAPE = slice(25, 26), slice(26, 29), slice(29, 101), slice(101, 111)
ROOT = slice(29, 32)
"""The turn of the whole body, with which the poses begin."""
LARGEST = 1e6
"""No number of a label comes near: metres, radians, and the camera over the picture's side."""
CAMERA_Z, FOCAL = -10.0, 5.0
"""A camera whose plane z = 0 spans [-1, 1]: far enough away to be nearly orthographic."""


def check(labels: Tensor, name: str = "labels") -> Tensor:
    """The same labels as float32, if they are labels [..., 111]."""
    expect(labels, f"... {SIZE}", name)
    return labels.float()


def field_of(number: int) -> str:
    """What a number of a label is of, by its index."""
    ends = {"camera": CAMERA, "scale": SCALE.stop, "transl": TRANSL.stop, "poses": POSES.stop, "betas": SIZE}
    return next(name for name, end in ends.items() if number < end)


def cam2world(labels: Tensor) -> Tensor:
    """[..., 4, 4]."""
    return labels[..., :16].unflatten(-1, (4, 4))


def intrinsics(labels: Tensor) -> Tensor:
    """Over the picture's size [..., 3, 3]."""
    return labels[..., 16:CAMERA].unflatten(-1, (3, 3))


def scale(labels: Tensor) -> Tensor:
    """[..., 1]."""
    return labels[..., SCALE]


def transl(labels: Tensor) -> Tensor:
    """Metres [..., 3]."""
    return labels[..., TRANSL]


def poses(labels: Tensor) -> Tensor:
    """Axis-angle, the root first [..., 24, 3]."""
    return labels[..., POSES].unflatten(-1, (JOINTS, 3))


def betas(labels: Tensor) -> Tensor:
    """[..., 10]."""
    return labels[..., SHAPE]


def standard_camera(like: Tensor | None = None) -> Tensor:
    """The camera that the labels' geometry assumes: at (0, 0, -10), focal length 5 [25]."""
    world = torch.eye(4)
    world[2, 3] = CAMERA_Z
    inner = torch.tensor([[FOCAL, 0.0, 0.5], [0.0, FOCAL, 0.5], [0.0, 0.0, 1.0]])
    made = torch.cat([world.flatten(), inner.flatten()])
    return made if like is None else made.to(like)


def camera_of(one: Tensor, side: int) -> Camera:
    """The camera of a label [111], for square pictures of so many pixels a side."""
    world, inner = cam2world(one), intrinsics(one).clone()
    inner[:2] *= side
    return Camera(inner, world[:3, :3].T, -world[:3, :3].T @ world[:3, 3])


def world_from_y_up() -> Tensor:
    """From a world whose y points up to that of labels, float64 [3, 3]."""
    return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def made(
    poses: Tensor,
    betas: Tensor | None = None,
    *,
    scale: Tensor | float = 1.0,
    transl: Tensor | None = None,
    camera: Tensor | None = None,
) -> Tensor:
    """Labels [..., 111] of bodies.

    Args:
        poses: Axis-angle in the labels' world, the root first [..., 24, 3].
        betas: [..., 10]; left out: the mean shape.
        transl: Metres [..., 3]; left out: none.
        camera: [..., 25]; left out: the assumed one.
    """
    leading = poses.shape[:-2]

    def full(value: Tensor | float | None, size: int) -> Tensor:
        if value is None:
            return poses.new_zeros(*leading, size)
        return torch.as_tensor(value).to(poses).expand(*leading, size)

    one = standard_camera(poses) if camera is None else camera
    return torch.cat(
        [full(one, CAMERA), full(scale, 1), full(transl, 3), poses.flatten(-2), full(betas, BETAS)], dim=-1
    )


def canonical_pose(labels: Tensor) -> Tensor:
    """The same people standing at rest, arms out, facing the camera (mode canonical, spec 6)."""
    made = labels.clone()
    made[..., POSES] = 0
    made[..., ROOT] = labels.new_tensor([math.pi, 0.0, 0.0])
    made[..., SCALE] = 1
    made[..., TRANSL] = labels.new_tensor([0.0, 0.15, 0.0])
    return made


def mirrored(labels: Tensor) -> Tensor:
    """The labels [..., 111] of mirrored photos; bodies are nearly symmetric, so betas stay."""
    made = labels.clone()
    flip = labels.new_tensor([-1.0, 1.0, 1.0, 1.0])
    made[..., :16] = (flip[:, None] * cam2world(labels) * flip).flatten(-2)
    inner = intrinsics(labels).clone()
    inner[..., 0, 1] *= -1
    inner[..., 0, 2] = 1 - inner[..., 0, 2]
    made[..., 16:CAMERA] = inner.flatten(-2)
    made[..., TRANSL] = transl(labels) * flip[:3]
    turned = poses(labels)[..., list(mirror_pairs("smpl")), :]
    made[..., POSES] = (turned * -flip[:3]).flatten(-2)
    return made
