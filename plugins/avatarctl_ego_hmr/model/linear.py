"""Linear layers by oneDNN where nothing is differentiated.

PyTorch multiplies float32 matrices by MKL, whose kernels for processors other than Intel's take twice as
long.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`.

    Args:
        x: [..., inputs].
        weight: [outputs, inputs], may be transposed or from `packed`.
        bias: [outputs].
    """
    if not weight.is_mkldnn:
        if not _by_onednn(x):
            return functional.linear(x, weight, bias)
        if not weight.mT.is_contiguous():
            weight = weight.contiguous()  # oneDNN has no fast kernel for a part of a row
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


def packed(weight: Tensor, rows: int) -> Tensor:
    """A copy of weights in the order that oneDNN takes them, for many products with so many rows.

    They stay as they are where `linear` leaves products to torch.
    """
    if not _by_onednn(weight):
        return weight
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return made


def _by_onednn(x: Tensor) -> bool:
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        # operators that torch does not document
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
