"""Signed distance to the naked body in star pose, looked up in the subject's cube (spec 4.8)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl_video_avatar.sample import Subject


class BaseSdf:
    """Trilinear lookup in a cube of distances; what lies outside takes the border's value.

    The lookup can be differentiated twice; where a coordinate is outside, its derivative is zero.

    Args:
        grid: Distances in units of half the cube's side, for x, y, z [N, N, N].
        low: Where the cube begins on each axis, metres.
        high: Where it ends, metres.
    """

    def __init__(self, grid: Tensor, low: Tensor, high: Tensor) -> None:
        self.size = grid.shape[0]
        self.low, self.side = low, high - low
        self.values = grid.reshape(-1)
        n, steps = self.size, torch.arange(2, device=grid.device)
        self.corners = (steps[:, None, None] * n * n + steps[:, None] * n + steps).reshape(-1)

    @classmethod
    def of(cls, subject: Subject) -> BaseSdf:
        """The cube of a person."""
        return cls(subject.grid, subject.bbmin, subject.bbmax)

    def __call__(self, points: Tensor) -> Tensor:
        """Distances in metres, negative inside [N, 1], at canonical points [N, 3]."""
        n = self.size
        place = 2 * ((points - self.low) / (self.side + 1e-10) - 0.5)
        # parity: taken as if the outermost values stood half a voxel inside the cube (spec 9, Q11)
        place = (((place + 1) * n - 1) / 2).clamp(0, n - 1)
        first = place.detach().floor().clamp(max=n - 2)
        x, y, z = (place - first).unbind(-1)
        i, j, k = first.long().unbind(-1)
        found = self.values[((i * n + j) * n + k)[:, None] + self.corners]  # [N, 8], z changes fastest
        along_z = torch.lerp(found[:, 0::2], found[:, 1::2], z[:, None])
        along_y = torch.lerp(along_z[:, 0::2], along_z[:, 1::2], y[:, None])
        value = torch.lerp(along_y[:, :1], along_y[:, 1:], x[:, None])
        return value * (self.side / 2)

    def probe(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [N] and their gradients [N, 3] at canonical points [N, 3], without a graph."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            value = self(points)[:, 0]
            (gradient,) = torch.autograd.grad(value.sum(), points)
        return value.detach(), gradient
