"""Rays through a picture's pixels, and where they are sampled (spec 4.6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl_generative_avatar import label


def rays(labels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Origins, metres, and unit directions [N, side^2, 3] of rays through pixel centres, row by row.

    Args:
        labels: [N, 111].
        side: Rays along a side of the picture.
    """
    world, inner = label.cam2world(labels), label.intrinsics(labels)
    fx, skew, cx = (inner[:, 0, column, None] for column in range(3))
    fy, cy = inner[:, 1, 1, None], inner[:, 1, 2, None]
    # parity: in this order; the last bit of a direction shows in canonical normals (spec 4.6, 4.11).
    steps = torch.arange(side, device=labels.device, dtype=labels.dtype) * (1 / side) + 0.5 / side
    v, u = (part.reshape(1, -1) for part in torch.meshgrid(steps, steps, indexing="ij"))
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = (v - cy) / fy
    ones = torch.ones_like(x)
    places = torch.bmm(world, torch.stack([x, y, ones, ones], dim=1))[:, :3].mT  # [N, side^2, 3]
    origins = world[:, None, :3, 3]
    return origins.expand_as(places), functional.normalize(places - origins, dim=2)


def coarse_depths(origins: Tensor, shares: Tensor, start: float, end: float) -> Tensor:
    """Depths of the first pass, metres along the rays [N, R, S].

    Args:
        origins: [N, R, 3].
        shares: How far each sample is moved towards the next, 0 to 1 [N, R, S].
        start, end: Metres from the plane z = 0.
    """
    count = shares.shape[-1]
    even = torch.linspace(start, end, count, device=shares.device, dtype=shares.dtype)
    # parity: the plane z = 0 is found by the camera's z, whatever the ray's direction (spec 4.6).
    return even + shares * ((end - start) / (count - 1)) - origins[..., 2:]


@torch.no_grad()
def importance(depths: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """Depths of the second pass, where the first found something [R, F].

    Args:
        depths: Of the first pass [R, S].
        weights: Of the S - 1 steps between them [R, S - 1].
        draws: Uniform on [0, 1) [R, F].
    """
    peaks = functional.max_pool1d(weights[:, None], 2, 1, padding=1)
    smooth = functional.avg_pool1d(peaks, 2, 1)[:, 0] + 0.01
    bins = 0.5 * (depths[:, :-1] + depths[:, 1:])  # [R, S - 1]
    share = smooth[:, 1:-1] + 1e-5
    ends = torch.cumsum(share / share.sum(-1, keepdim=True), dim=-1)
    ends = torch.cat([torch.zeros_like(ends[:, :1]), ends], dim=-1)  # [R, S - 2]
    above = torch.searchsorted(ends, draws.contiguous(), right=True)
    below = (above - 1).clamp_min(0)
    above = above.clamp_max(ends.shape[-1] - 1)
    low, low_bin = ends.gather(1, below), bins.gather(1, below)
    width = ends.gather(1, above) - low
    width = torch.where(width < 1e-5, 1.0, width)
    return low_bin + (draws - low) / width * (bins.gather(1, above) - low_bin)


def middles(count: int, like: Tensor) -> Tensor:
    """What stands for `count` uniform draws where none are wanted: the middles of as many parts [count]."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
