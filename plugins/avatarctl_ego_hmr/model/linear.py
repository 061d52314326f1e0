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
        weight: [outputs, inputs], may be transposed.
        bias: [outputs].
    """
    is_left_to_torch = (
        torch.is_grad_enabled()
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
        or not torch.backends.mkldnn.is_available()
        or not hasattr(torch.ops.mkldnn, "_linear_pointwise")  # an operator that torch does not document
    )
    if is_left_to_torch:
        return functional.linear(x, weight, bias)
    if not weight.mT.is_contiguous():
        weight = weight.contiguous()  # oneDNN has no fast kernel for a part of a row
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made
