"""Values at other moments: rotations by slerp, places by straight lines, or the nearest frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarctl.geometry.rotations import slerp


def grid(seconds: float, fps: float) -> Tensor:
    """Moments from 0 at a fixed rate that do not go beyond a span of time, seconds, float64 [T]."""
    return torch.arange(math.floor(seconds * fps + 1e-6) + 1, dtype=torch.float64) / fps


def between(times: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """For each wanted moment, the frame before it [M] and how far it is to the next one, 0 to 1 [M].

    Args:
        times: Moments of at least two frames, increasing, seconds, float64 [N].
        wanted: Moments, seconds, float64 [M]; those outside take the first or last frame.
    """
    left = (torch.searchsorted(times, wanted, right=True) - 1).clamp(0, len(times) - 2)
    fraction = (wanted - times[left]) / (times[left + 1] - times[left])
    return left, fraction.clamp(0, 1)


def rotations_at(quaternions: Tensor, left: Tensor, fraction: Tensor) -> Tensor:
    """Unit quaternions wxyz [M, ..., 4] on the shorter arcs between frames [N, ..., 4]."""
    fraction = fraction.to(quaternions.dtype).reshape(-1, *(1,) * (quaternions.dim() - 1))
    return slerp(quaternions[left], quaternions[left + 1], fraction)


def places_at(places: Tensor, left: Tensor, fraction: Tensor) -> Tensor:
    """Points [M, ...] on the straight lines between frames [N, ...]."""
    fraction = fraction.to(places.dtype).reshape(-1, *(1,) * (places.dim() - 1))
    return torch.lerp(places[left], places[left + 1], fraction)


def nearest(left: Tensor, fraction: Tensor) -> Tensor:
    """The nearest frame of each moment [M]; the earlier one where two are as near."""
    return left + (fraction > 0.5 + 1e-9)
