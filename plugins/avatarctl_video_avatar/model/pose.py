"""Corrections of a body's pose, learned with the avatar (spec 4.6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.geometry.rotations import cross_matrix
from avatarctl_video_avatar.model.mlp import Block, widths

JOINTS = 23
"""Joints that are turned: all but the root."""
COUNT = 5
"""Layers."""


class PoseDecoder(Block):
    """From pose numbers to a small rotation of each joint."""

    def __init__(self, hidden: int) -> None:
        super().__init__(widths(3 * JOINTS, hidden, 3 * JOINTS, COUNT))

    def forward(self, numbers: Tensor) -> Tensor:
        """Rotations [..., 23, 3, 3] of pose numbers [..., 69]."""
        *layers, last = (linear.layer() for linear in self.linears())
        for layer in layers:
            numbers = functional.relu(functional.linear(numbers, *layer))
        return rotations(functional.linear(numbers, *last).unflatten(-1, (JOINTS, 3)))


def rotations(vectors: Tensor) -> Tensor:
    """Rotations [..., 3, 3] of axis-angle vectors [..., 3], radians."""
    # parity: the angle is sqrt(1e-5 + |r|^2) (spec 4.6); its gradient is finite at 0.
    angle = (1e-5 + vectors.square().sum(-1, keepdim=True)).sqrt()
    axis = vectors / angle
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return cos * eye + (1 - cos) * axis[..., None] * axis[..., None, :] + sin * cross_matrix(axis)
