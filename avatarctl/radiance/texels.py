"""Rows of a table mixed by weights: the look-up of points in planes of features.

A form <w, g, T> that is linear in weights w, values g and texels T. Its derivatives are the same form again,
so gradients of gradients keep no copies of texels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

ROWS, ROWS_ELSEWHERE = 1 << 12, 1 << 18
"""Rows of texels fetched at a time: about what a processor's cache holds; what keeps another device busy."""


def mixed(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [M, C] of k rows each of a table [n, C], by index and weight [M, k].

    Twice differentiable in the weights, once in the table, also after a derivative in the weights.
    """
    found: Tensor = _Mix.apply(weights, table, index)  # type: ignore[no-untyped-call]
    if torch.is_grad_enabled() and table.requires_grad:
        # Apart from the weights: a gradient in these must not pay for that of a whole table.
        found = found + _Carry.apply(table, weights.detach(), index)  # type: ignore[no-untyped-call]
    return found


def dotted(values: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Products [M, k] of values [M, C] with k rows each of a table [n, C], by index [M, k].

    What `mixed` gives multiplied with values, derived in its weights; differentiable in values and table.
    """
    found: Tensor = _Dot.apply(values, table, index)  # type: ignore[no-untyped-call]
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
    """d<w, g, T>/dw [M, k]."""

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
