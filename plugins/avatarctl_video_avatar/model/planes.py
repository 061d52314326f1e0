"""Points looked up in three planes of features around the body (spec 4.8).

The look-up mixes four texels: a form <w, g, T> that is linear in weights w, values g and texels T. Its
derivatives are the same form again, so gradients of gradients keep no copies of texels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from avatarctl_video_avatar.model.mlp import octaves
from avatarctl_video_avatar.model.windows import COPIES

PLANES = 3
ROWS, ROWS_ELSEWHERE = 1 << 12, 1 << 18
"""Rows of texels fetched at a time: about what a processor's cache holds; what keeps another device busy."""


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


def mixed(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [M, C] of four rows each of a table [n, C], by index and weight [M, 4].

    Twice differentiable in the weights, once in the table, also after a derivative in the weights.
    """
    found: Tensor = _Mix.apply(weights, table, index)  # type: ignore[no-untyped-call]
    if torch.is_grad_enabled() and table.requires_grad:
        # Apart from the weights: a gradient in these must not pay for that of a whole table.
        found = found + _Carry.apply(table, weights.detach(), index)  # type: ignore[no-untyped-call]
    return found


class _Mix(torch.autograd.Function):
    """d<w, g, T>/dg [M, C]; in backward passes a function of the weights only."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(table, index)
        return _mix(weights, table, index)

    @staticmethod
    def backward(ctx: Any, values: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return _Dot.apply(values, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _Carry(torch.autograd.Function):
    """Zeros that carry the gradient of the table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(weights, index)
        ctx.count = len(table)
        return table.new_zeros(()).expand(len(index), table.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, values: Tensor) -> tuple[Tensor | None, ...]:
        weights, index = ctx.saved_tensors
        return _spread(weights, values, index, ctx.count), None, None


class _Dot(torch.autograd.Function):
    """d<w, g, T>/dw [M, 4]."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(values, table, index)
        made = values.new_empty(index.shape)
        step = ROWS if index.device.type == "cpu" else ROWS_ELSEWHERE
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            for corner in range(index.shape[1]):
                texels = table.index_select(0, index[rows, corner])
                made[rows, corner] = texels.mul_(values[rows]).sum(dim=1)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        values, table, index = ctx.saved_tensors
        wants_values, wants_table, _ = ctx.needs_input_grad
        return (
            _mix(weights, table, index) if wants_values else None,
            _spread(weights, values, index, len(table)) if wants_table else None,
            None,
        )


def _mix(weights: Tensor, table: Tensor, index: Tensor) -> Tensor:
    return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights)


def _spread(weights: Tensor, values: Tensor, index: Tensor, count: int) -> Tensor:
    """d<w, g, T>/dT [n, C]."""
    made = values.new_zeros(count, values.shape[1])
    for corner in range(index.shape[1]):
        made.index_add_(0, index[:, corner], weights[:, corner, None] * values)
    return made
