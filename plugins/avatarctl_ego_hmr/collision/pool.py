"""Posed bodies with points of which is known whether they are inside, to learn occupancy from.

The bodies stand as in the embedded clips, some with bent legs, none quite as it was recorded; half of the
points are near the surface, half anywhere in the boxes of the parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_about, matrix_from_axis_angle_smpl
from avatarctl_ego_hmr.collision.occupancy import inside
from avatarctl_ego_hmr.collision.partition import Boxes, Figure, Partition
from avatarctl_ego_hmr.synthetic.people import draw_poses

NEAR = (0.01, 0.04)
"""Deviations of points from the surface, metres; half of those near it have each."""
TREMBLE = 0.1
"""Deviation of joints from a clip's pose, radians."""
SITTING = 0.4
"""Share of bodies whose legs are bent."""
SHAPES = 10


@dataclass(frozen=True)
class Pool:
    """Bodies: `matrices` [B, 24, 3, 3], `betas` [B, 10]; `points` [B, N, 3], metres; `inside`, bool [B, N].

    The first half of the points are those near the surface.
    """

    matrices: Tensor
    betas: Tensor
    points: Tensor
    inside: Tensor

    def __len__(self) -> int:
        return len(self.betas)

    def __getitem__(self, rows: Tensor | slice) -> Pool:
        return Pool(*(tensor[rows] for tensor in vars(self).values()))

    def to(self, device: torch.device) -> Pool:
        """The same on a device."""
        return Pool(*(tensor.to(device) for tensor in vars(self).values()))

    def thinned(self, chosen: Tensor) -> Pool:
        """With some of the points only, int64 [n]."""
        return replace(self, points=self.points[:, chosen], inside=self.inside[:, chosen])

    def figure(self, body: BodyModel) -> Figure:
        """The posed bodies."""
        return Figure.of(body.shape(self.betas).pose_matrices(self.matrices))


def joined(pools: list[Pool]) -> Pool:
    """Several pools as one."""
    return Pool(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in pools), strict=True)))


@torch.no_grad()
def draw_body(
    body: BodyModel, partition: Partition, noise: Noise, split: Literal["train", "val"], count: int
) -> Pool:
    """One body with points around it.

    Args:
        split: Clips that its pose is from.
        count: Points, even.
    """
    matrices, betas = _pose(noise, split), noise.normal((1, SHAPES))
    figure = Figure.of(body.shape(betas).pose_matrices(matrices))
    near = _near(figure, partition, noise, count - count // 2)
    around = _in_boxes(partition.boxes(figure), noise, count // 2)
    points = torch.cat([near, around])[None]
    return Pool(matrices, betas, points, inside(figure.vertices, body.faces, points))


def _pose(noise: Noise, split: Literal["train", "val"]) -> Tensor:
    """Local rotations of one body [1, 24, 3, 3]."""
    axis_angle = draw_poses(noise, split)
    matrices = matrix_from_axis_angle_smpl(axis_angle + TREMBLE * noise.normal(axis_angle.shape))
    if float(noise.uniform(())) < SITTING:
        bend = noise.uniform((2, 2)) * math.pi * 0.6
        for side in range(2):
            for joint, angle in ((1 + side, -bend[0, side]), (4 + side, bend[1, side])):
                matrices[joint] = matrix_about("X", angle)
    return matrices[None]


def _near(figure: Figure, partition: Partition, noise: Noise, count: int) -> Tensor:
    """Points near the surface, as many of each part [N, 3]."""
    parts = len(partition)
    each = 2 * math.ceil(count / parts)
    draws = partition.draw(figure.vertices, [noise], each)
    place = draws.faces[0, 0]  # [K, S / 2], of the parts' own faces
    corners = figure.vertices[0][partition.faces[partition.lists[0].gather(-1, place)]]
    u, v = draws.uv[0, 0].unbind(-1)
    weights = torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], dim=-1)
    points = (weights[..., None] * corners).sum(dim=-2).transpose(0, 1).reshape(-1, 3)[:count]
    deviation = torch.tensor(NEAR)[torch.arange(count) % len(NEAR)]
    return points + deviation[:, None] * noise.normal(points.shape)


def _in_boxes(boxes: Boxes, noise: Noise, count: int) -> Tensor:
    """Points anywhere in the boxes, as many in each [N, 3]."""
    part = torch.arange(count) % boxes.origins.shape[1]
    local = boxes.centres[0, part] + (noise.uniform((count, 3)) - 0.5) * boxes.sizes[0, part]
    return (boxes.rotations[0, part] @ local[..., None])[..., 0] + boxes.origins[0, part]
