"""The published resampler: a band-limited sinc with a Hann window (spec audio2motion 3.7)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avatarctl.errors import DataError

Filter = Literal["float64", "float32"]
LOBES = 6
"""Zero crossings of the sinc on each side."""
ROLL_OFF = 0.99
PIECE = 1 << 22
"""Samples that are filtered at once."""
MOST_TAPS = 1 << 24
"""Numbers of all phases together; rates with a small common divisor need more."""


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept for later calls, of which one may be differentiated
def resample_kernel(source: int, target: int, *, filter: Filter = "float64") -> Tensor:
    """The filter of each output phase, float32 [phases, 1, taps].

    Args:
        source: Samples per second of what goes in, and
        target: of what comes out.
        filter: Numbers that the filter is computed in. The networks' own is of float64; the published
            demo's resampler of float32, which shows in the sixth digit.

    Raises:
        DataError: A rate is not positive, or both have so small a common divisor that the filter is huge.
    """
    if source < 1 or target < 1:
        raise DataError(f"sample rates {source} and {target} Hz: expected at least 1")
    old, new = _reduced(source, target)
    base = ROLL_OFF * min(old, new)
    width = math.ceil(LOBES * old / base)
    if new * (2 * width + old) > MOST_TAPS:
        raise DataError(
            f"{source} Hz to {target} Hz: the published resampler would need {new} filters of "
            f"{2 * width + old} taps",
            hint="choose the resampler soxr, or a usual rate such as 44100 or 48000",
        )
    dtype = getattr(torch, filter)
    taps = torch.arange(-width, width + old, dtype=dtype)[None] / old
    phases = torch.arange(0, -new, -1, dtype=dtype)[:, None] / new
    time = ((phases + taps) * base).clamp(-LOBES, LOBES)
    window = torch.cos(time * math.pi / LOBES / 2) ** 2
    time = time * math.pi
    sinc = torch.where(time == 0, torch.ones_like(time), torch.sin(time) / time)
    return (sinc * (window * (base / old))).float()[:, None]


def resample(samples: Tensor, source: int, target: int, *, filter: Filter = "float64") -> Tensor:
    """Samples at another rate [..., ceil(N target / source)].

    Args:
        samples: [..., N] at `source` Hz; zero outside.
        filter: See `resample_kernel`.
    """
    old, new = _reduced(source, target)
    if old == new:
        return samples
    kernel = resample_kernel(source, target, filter=filter).to(samples)
    width = (kernel.shape[-1] - old) // 2
    leading, count = samples.shape[:-1], samples.shape[-1]
    rows = samples.reshape(leading.numel(), 1, count)
    frames = count // old + 1
    step = max(1, PIECE // old)
    if frames <= step:
        found = _phases(F.pad(rows, (width, width + old)), kernel, old)
    else:  # in pieces, so that long recordings need little memory beside their own
        found = rows.new_empty(len(rows), frames * new)
        for first in range(0, frames, step):
            last = min(first + step, frames)
            start, end = first * old - width, last * old + width  # of what the piece sees
            seen = F.pad(rows[..., max(0, start) : end], (max(0, -start), max(0, end - count)))
            found[:, first * new : last * new] = _phases(seen, kernel, old)
    length = math.ceil(new * count / old)
    return found[:, :length].reshape(*leading, length)


def _phases(rows: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Output samples [rows, N] of padded rows [rows, 1, N]."""
    return F.conv1d(rows, kernel, stride=stride).mT.flatten(1)


def _reduced(source: int, target: int) -> tuple[int, int]:
    shared = math.gcd(source, target) or 1
    return source // shared, target // shared
