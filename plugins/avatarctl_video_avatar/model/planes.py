"""Points looked up in three planes of features around the body (spec 4.8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.radiance.texels import mixed
from avatarctl_video_avatar.model.mlp import octaves
from avatarctl_video_avatar.model.windows import COPIES

PLANES = 3


@dataclass(frozen=True)
class Texels:
    """All copies of the planes.

    `table` [3 R R, 4 C] is of `windows.filtered`, `resolution` is R, and places are multiplied by `scale` to
    lie in [-1, 1] on the planes.
    """

    table: Tensor
    resolution: int
    scale: float

    def __call__(self, points: Tensor) -> Tensor:
        """Modulated features [N, 3, 4 C] of points [N, 3], metres; twice differentiable."""
        index, weights = corners(points * self.scale, self.resolution)
        found = mixed(self.table, index.view(-1, 4), weights.view(-1, 4))
        by_rate = modulation(points)[:, :, None]  # [N, 3, 1, 16]
        rows = found.view(len(points), PLANES, found.shape[1] // by_rate.shape[-1], by_rate.shape[-1])
        return (rows * by_rate).flatten(2)


def corners(places: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The four texels around points on each plane, and their weights, 0 outside: int64 and float [N, 3, 4].

    Args:
        places: In [-1, 1] where the planes are, whose outermost texels lie at their edges [N, 3].
    """
    pixels = (places + 1) * (0.5 * (resolution - 1))
    low = pixels.detach().floor()
    share = pixels - low
    # Far away, and for places that are not finite, no index leaves the range of integers.
    first = low.clamp(-2, resolution).nan_to_num(-2.0).long()
    cells = torch.stack([first, first + 1], dim=-1)  # [N, 3 axes, 2]
    is_inside = (cells >= 0) & (cells < resolution)
    sides = torch.stack([1 - share, share], dim=-1) * is_inside
    cells = cells.clamp(0, resolution - 1)
    # Planes see (x, y), (y, z), (z, x): the first along their width.
    plane = resolution * resolution * torch.arange(PLANES, device=places.device)[:, None, None]
    index = plane + resolution * cells.roll(-1, dims=1)[..., :, None] + cells[..., None, :]
    weights = sides.roll(-1, dims=1)[..., :, None] * sides[..., None, :]
    return index.flatten(2), weights.flatten(2)


def modulation(points: Tensor) -> Tensor:
    """Factors of each plane's copies [N, 3, 16]: two octaves a copy, of the axis that the plane drops."""
    waves = octaves(points, 2 * COPIES)  # [N, octaves, 2, axes]
    return waves.flatten(1, 2).mT.roll(1, dims=1)
