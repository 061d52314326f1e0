"""A long clip in overlapping windows, joined inside the sampling loop (spec 6.4; ours, not published).

Each window is sampled to its end before the next one begins, so memory does not grow with the clip. Two
neighbours share frames. There the next window starts from the same noise, and at every step its prediction of
the clean motion is faded over from its neighbour's at the same step: at the first shared frame it is the
neighbour's, at the last one its own, and what lies between is sampled on from the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.diffusion import Denoise
from avatarctl_audio2motion.settings import KEY_STEP


@dataclass(frozen=True)
class Window:
    """Frames `first` to `last` - 1 of a clip; the first `shared` of them end the window before it."""

    first: int
    last: int
    shared: int = 0

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def keys(self) -> slice:
        """The clip's key poses that lie in the window."""
        return slice(self.first // KEY_STEP, -(-self.last // KEY_STEP))

    @property
    def shared_keys(self) -> int:
        """How many of them lie in the window before it too."""
        return -(-self.shared // KEY_STEP)


def windows_of(frames: int, longest: int, overlap: int) -> list[Window]:
    """Windows that cover a clip; each starts at a key pose, and the last one reaches back to be full.

    Args:
        longest: Frames of a window, a multiple of `KEY_STEP`.
        overlap: Frames that neighbours share at least, a smaller multiple.
    """
    if frames <= longest:
        return [Window(0, frames)]
    last = -(-(frames - longest) // KEY_STEP) * KEY_STEP  # where the last window starts
    starts = [*range(0, last, longest - overlap), last]
    ends = [*(start + longest for start in starts[:-1]), frames]
    shared = [0, *(end - start for end, start in zip(ends[:-1], starts[1:], strict=True))]
    return [Window(*each) for each in zip(starts, ends, shared, strict=True)]


def fade(before: Tensor, after: Tensor) -> Tensor:
    """From one motion to another over their frames, both [B, T, C]."""
    frames = after.shape[1]
    share = torch.arange(1, frames + 1, device=after.device, dtype=after.dtype) / (frames + 1)
    return torch.lerp(before, after, share[:, None])


def joined(denoise: Denoise, shared: int, before: list[Tensor], kept: int) -> tuple[Denoise, list[Tensor]]:
    """A window's predictions, faded over from those of the window before; and where its own end is noted.

    Args:
        shared: Frames that the window before has too.
        before: That window's predictions of them, one for each step [B, shared, C].
        kept: Frames at the end of this window that the next one shares.
    """
    trail: list[Tensor] = []

    def denoise_joined(sample: Tensor, place: int) -> Tensor:
        clean = denoise(sample, place)
        if shared:
            start = fade(before[place], clean[:, :shared])
            clean = torch.cat([start, clean[:, shared:]], dim=1)
        if kept:
            trail.append(clean[:, -kept:].clone())
        return clean

    return denoise_joined, trail
