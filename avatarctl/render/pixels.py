"""Pixels that average several samples along each of their sides: which, how, and as bytes."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from avatarctl.render.rasterize import Fragments


def averaged(
    fragments: Fragments, values: Tensor, samples: int, *, empty: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Means of the samples of each pixel [H, W, C], and the share of them that the mesh covers [H, W].

    Args:
        fragments: Of the samples [H * samples, W * samples].
        values: Of the covered samples, in the order of `face[face >= 0]` [P, C].
        samples: Along each side of a pixel.
        empty: Values of the other samples.
    """
    is_hit = fragments.face >= 0
    every = values.new_full((*is_hit.shape, values.shape[1]), empty)
    every.view(-1, values.shape[1]).index_copy_(0, is_hit.view(-1).nonzero().squeeze(-1), values)
    return _means(every, samples), _means(is_hit.to(values.dtype), samples)


def box(places: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a picture that a mesh may touch.

    Args:
        places: Of its vertices, pixels [V, 2].
        size: Rows and columns.
    """
    limit = places.new_tensor([size[1], size[0]])
    low = places.amin(0).floor().clamp(min=0).minimum(limit)
    high = places.amax(0).ceil().clamp(min=0).minimum(limit)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def as_bytes(values: Tensor) -> np.ndarray:
    """Values 0 to 1 as uint8; what is beyond is cut off."""
    return (values * 255).add_(0.5).clamp_(0, 255).to(torch.uint8).contiguous().cpu().numpy()


def _means(values: Tensor, samples: int) -> Tensor:
    """Means over squares of samples [H * samples, W * samples, ...]: [H, W, ...]."""
    # Along rows and then columns: many times faster than a mean over both, and always in the same order.
    rows = reduce(torch.add, [values[:, start::samples] for start in range(samples)])
    return reduce(torch.add, [rows[start::samples] for start in range(samples)]) / samples**2
