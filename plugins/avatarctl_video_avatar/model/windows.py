"""Window attention on planes of features (spec 4.8; Swin Transformer, Liu et al. 2021, in PET-NeuS).

It depends on parameters only, so it is computed once for many points, strip by strip: no plane's scores are
ever held together, and for gradients each strip is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl_video_avatar.model.mlp import Linear, draw_default

HEADS = 2
WINDOWS = {"attn4": 16, "attn": 8, "attn2": 4}
"""Side of each attention's windows, texels, in the order of the filtered copies."""
COPIES = len(WINDOWS) + 1
"""Filtered planes and the plain ones."""
FOUR = 4
"""Channels with a factor of their own in the modulation."""
SCORES, SCORES_ELSEWHERE = 1 << 19, 1 << 24
"""Scores computed at a time: about what a processor's cache holds; what keeps another device busy."""


class WindowAttention(nn.Module):
    """Parameters of the self-attention of texels among those of their window."""

    relative_position_index: Tensor

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, HEADS))
        self.register_buffer("relative_position_index", position_index(window))
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)

    def tensors(self) -> tuple[Tensor, ...]:
        """What `attend` takes: the bias of each pair of texels [heads, L, L] and both layers."""
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return (bias.T.unflatten(1, (self.window**2, -1)).contiguous(), *self.qkv.layer(), *self.proj.layer())

    def reset(self, noise: Noise) -> None:
        """Draw the published initial values."""
        # A normal distribution of 0.02 cut off at 2, which is a hundred deviations away.
        table = self.relative_position_bias_table
        table.copy_(0.02 * noise.normal(table.shape))
        draw_default([self.qkv, self.proj], noise)


def position_index(window: int) -> Tensor:
    """Row of the table for each pair of texels of a window, int64 [window^2, window^2]."""
    texels = torch.arange(window * window)
    down, right = texels // window, texels % window
    steps = [place[:, None] - place[None] + window - 1 for place in (down, right)]
    return steps[0] * (2 * window - 1) + steps[1]


def attend(
    rows: Tensor, window: int, bias: Tensor, in_w: Tensor, in_b: Tensor, out_w: Tensor, out_b: Tensor
) -> Tensor:
    """Whole rows of windows [H, W, C] after attention [H, W, C]."""
    height, width, channels = rows.shape
    size = channels // HEADS
    qkv = functional.linear(rows, in_w, in_b).view(
        height // window, window, width // window, window, 3, HEADS, size
    )
    queries, keys, values = qkv.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, -1, HEADS, window * window, size)
    # Products and a softmax are faster here than the fused attention with a bias (measured on CPU).
    scores = (queries * size**-0.5) @ keys.mT
    scores += bias
    mixed = scores.softmax(dim=-1) @ values
    mixed = mixed.view(height // window, width // window, HEADS, window, window, size)
    return functional.linear(mixed.permute(0, 3, 1, 4, 2, 5).reshape(height, width, channels), out_w, out_b)


def filtered(planes: Tensor, attentions: Sequence[WindowAttention]) -> Tensor:
    """Texels of planes and of their filtered copies beside each other [P R R, C copies].

    Rows stand by plane, row and column, channels as [C / 4, copies, 4]. First-order gradients only.

    Args:
        planes: [P, C, R, R].
        attentions: Of the filtered copies in their order; the plain planes are the last copy.
    """
    tensors = [tensor for one in attentions for tensor in one.tensors()]
    sides = tuple(one.window for one in attentions)
    made: Tensor = _Filter.apply(planes, sides, *tensors)  # type: ignore[no-untyped-call]
    return made.view(-1, made.shape[-3:].numel())


class _Filter(torch.autograd.Function):
    """From planes and parameters to texels [P, R, R, C / 4, copies, 4]."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, windows: tuple[int, ...], *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(planes, *tensors)
        ctx.windows = windows
        count, channels, height, width = planes.shape
        made = planes.new_empty(count, height, width, channels // FOUR, len(windows) + 1, FOUR)
        made[..., -1, :] = planes.permute(0, 2, 3, 1).unflatten(-1, (-1, FOUR))
        for copy, (window, given) in enumerate(_attentions(windows, tensors)):
            for plane, rows in _strips(planes, window):
                result = attend(planes[plane, :, rows].permute(1, 2, 0), window, *given)
                made[plane, rows, :, :, copy] = result.unflatten(-1, (-1, FOUR))
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        planes, *tensors = ctx.saved_tensors
        of_planes = grads[..., -1, :].flatten(-2).permute(0, 3, 1, 2).contiguous()
        of_tensors = [torch.zeros_like(tensor) for tensor in tensors]
        pairs = zip(_attentions(ctx.windows, tensors), _attentions(ctx.windows, of_tensors), strict=True)
        for copy, ((window, given), (_, sums)) in enumerate(pairs):
            for plane, rows in _strips(planes, window):
                with torch.enable_grad():
                    inputs = [
                        one.detach().requires_grad_()
                        for one in (planes[plane, :, rows].permute(1, 2, 0), *given)
                    ]
                    result = attend(inputs[0], window, *inputs[1:])
                found = torch.autograd.grad(result, inputs, grads[plane, rows, :, :, copy].flatten(-2))
                of_planes[plane, :, rows] += found[0].permute(2, 0, 1)
                for total, one in zip(sums, found[1:], strict=True):
                    total += one
        return of_planes, None, *of_tensors


def _attentions(windows: Sequence[int], tensors: Sequence[Tensor]) -> list[tuple[int, Sequence[Tensor]]]:
    """Each attention's window and tensors."""
    each = len(tensors) // len(windows)
    return [(window, tensors[each * one : each * one + each]) for one, window in enumerate(windows)]


def _strips(planes: Tensor, window: int) -> Iterator[tuple[int, slice]]:
    """Planes, and rows of windows in them, a few scores at a time."""
    count, _, height, width = planes.shape
    scores = SCORES if planes.device.type == "cpu" else SCORES_ELSEWHERE
    step = window * max(1, scores // (HEADS * window**3 * width))
    for plane in range(count):
        for start in range(0, height, step):
            yield plane, slice(start, min(start + step, height))
