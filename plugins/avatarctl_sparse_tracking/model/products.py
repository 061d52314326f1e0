"""Products with constant weights, packed once for the processor.

A row of a result does not depend on how many rows there are: on processors with oneDNN or MKL to the bit, as
far as it was measured; the framework's own linear layer picks another order of summation for another batch.
So do MKL's plain products on AMD's processors, where oneDNN takes their place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avatarctl.nn.linear import Gelu, blocked, has_bfloat16, has_onednn, pointwise

Apply = Callable[[Tensor], Tensor]
NumberFormat = Literal["float32", "bfloat16", "int8"]

LARGE = 1 << 18
"""Weights from which on oneDNN's blocked layout is faster than a plain product (measured)."""
COLUMNS = 512
"""Inner columns summed at once; MKL splits more of them in a way that depends on the number of rows."""
ROWS = 10
"""Rows that blocked weights are laid out for: the tokens of one window."""


def product(
    weight: Tensor, bias: Tensor, *, number_format: NumberFormat = "float32", gelu: Gelu = ""
) -> Apply:
    """The function x W^T + b of rows [R, K], then GELU where asked.

    Args:
        weight: [N, K].
        bias: [N].
        number_format: Of the weights and of the products. bfloat16 and int8 round; int8 scales each row of
            weights and of x by its largest number, and needs oneDNN.
    """
    weight, bias = weight.detach().float().contiguous(), bias.detach().float().contiguous()
    if number_format == "int8":
        return _int8(weight, bias, gelu)
    if weight.device.type == "cpu" and has_onednn():
        if number_format == "bfloat16" or weight.numel() >= LARGE or not keeps_rows():
            return _blocked(weight, bias, number_format, gelu)
        return _transposed(weight, bias, gelu)
    dtype = torch.bfloat16 if number_format == "bfloat16" else torch.float32
    weight, bias = weight.to(dtype), bias.to(dtype)
    return lambda x: _activated(F.linear(x.to(dtype), weight, bias).float(), gelu)


def has_int8(device: torch.device) -> bool:
    """Whether a device has products of 8-bit integers for `product`."""
    return device.type == "cpu" and has_onednn() and hasattr(torch.ops.onednn, "qlinear_pointwise")


@cache
def keeps_rows() -> bool:
    """Whether rows of MKL's plain products do not depend on how many there are."""
    made = torch.Generator().manual_seed(0)
    x, weight = torch.randn(280, 384, generator=made), torch.randn(384, 384, generator=made)
    all_of_them = torch.addmm(weight[0], x, weight)
    return all(
        torch.equal(torch.addmm(weight[0], x[:rows], weight), all_of_them[:rows]) for rows in (1, 2, ROWS)
    )


def _activated(x: Tensor, gelu: Gelu) -> Tensor:
    return F.gelu(x, approximate=gelu) if gelu else x


def _transposed(weight: Tensor, bias: Tensor, gelu: Gelu) -> Apply:
    first, *others = (piece.mT.contiguous() for piece in weight.split(COLUMNS, dim=1))

    def apply(x: Tensor) -> Tensor:
        if len(x) == 1:  # alone it would be summed in another order than among others
            return apply(x.expand(2, -1))[:1]
        found = torch.addmm(bias, x[:, :COLUMNS] if others else x, first)
        for place, piece in enumerate(others, start=1):
            found.addmm_(x[:, place * COLUMNS : (place + 1) * COLUMNS], piece)
        return _activated(found, gelu)

    return apply


def _blocked(weight: Tensor, bias: Tensor, number_format: NumberFormat, gelu: Gelu) -> Apply:
    rounded = torch.bfloat16 if number_format == "bfloat16" else torch.float32
    taken = rounded if has_bfloat16() else torch.float32  # where oneDNN has no products of bfloat16
    weight, bias = blocked(weight.to(rounded).to(taken), ROWS), bias.to(rounded).to(taken)

    def apply(x: Tensor) -> Tensor:
        if len(x) == 1 and not keeps_rows():
            return apply(x.expand(2, -1))[:1]
        return pointwise(x.to(rounded).to(taken), weight, bias, gelu).float()

    return apply


def _int8(weight: Tensor, bias: Tensor, gelu: Gelu) -> Apply:
    operators: Any = torch.ops.onednn
    largest = weight.abs().amax(1, keepdim=True).clamp_(min=1e-12)
    packed = operators.qlinear_prepack((weight * (127 / largest)).round().to(torch.int8), None)
    scale, zero = largest[:, 0] / 127**2, torch.zeros(len(weight), dtype=torch.int32)
    middle = torch.tensor(128.5)  # 0 is 128, and the fraction is cut off
    run = operators.qlinear_pointwise.default

    def apply(x: Tensor) -> Tensor:
        size = x.abs().amax(1, keepdim=True).clamp_(min=1e-12)
        whole = torch.addcdiv(middle, x, size, value=127).to(torch.uint8)
        found = run(whole, 1.0, 128, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], "")
        return _activated(torch.addcmul(bias, found, size), gelu)

    return apply
