"""Linear layers by oneDNN where their weights are not differentiated.

PyTorch multiplies float32 matrices by MKL, whose kernels for processors other than Intel's take twice as
long. The operators are those that torch's own compiler calls; it does not document them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

Gelu = Literal["", "none", "tanh"]
"""No GELU after the product, the exact one, or its tanh form."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`.

    Args:
        x: [..., inputs].
        weight: [outputs, inputs], may be transposed or from `packed`.
        bias: [outputs].
    """
    if not weight.is_mkldnn:
        if not _by_onednn(x, weight, bias):
            return functional.linear(x, weight, bias)
        if not weight.mT.is_contiguous():
            weight = weight.contiguous()  # oneDNN has no fast kernel for a part of a row
    if torch.is_grad_enabled() and x.requires_grad:
        made: Tensor = _Fixed.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return made
    return pointwise(x, weight, bias)


def packed(weight: Tensor, rows: int) -> Tensor:
    """A copy of weights in the order that oneDNN takes them, for many products with so many rows.

    They stay as they are where `linear` leaves products to torch.
    """
    return blocked(weight, rows) if _by_onednn(weight, weight) else weight


@cache
def has_onednn() -> bool:
    """Whether `pointwise` and `blocked` are there for tensors on the CPU."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


@cache
def has_bfloat16() -> bool:
    """Whether they multiply bfloat16, too, on this processor."""
    return has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def blocked(weight: Tensor, rows: int) -> Tensor:
    """A copy of float32 or bfloat16 weights in oneDNN's own layout for products with so many rows."""
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return made


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: Gelu = "") -> Tensor:
    """x W^T + b by oneDNN, in the format of the weights, then GELU where asked.

    Args:
        x: [..., inputs].
        weight: [outputs, inputs], or from `blocked`.
        bias: [outputs].
    """
    after: tuple[str, list[Any], str] = ("gelu", [], gelu) if gelu else ("none", [], "")
    made: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, *after)
    return made


class _Fixed(Function):
    """x W^T + b, differentiable in x alone, as often as wanted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return pointwise(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return linear(gradients[0], ctx.weight.mT), None, None


def _by_onednn(x: Tensor, *weights: Tensor | None) -> bool:
    """Whether oneDNN multiplies: none of `weights` is differentiated."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not (torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in weights))
        and not torch.is_autocast_enabled("cpu")
        and has_onednn()
    )
