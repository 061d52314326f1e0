"""A recording as the published demo prepares it: one loud voice, a hiss for a partner (spec 3.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.audio.wave import RATE, Resampler, Sound, resampled
from avatarctl.device import Noise
from avatarctl.errors import DataError

BLOCK = 4 * RATE
"""Recordings are cut to a multiple of so many samples, 4 seconds."""
HISS = 1e-3
"""Standard deviation of the noise in the partner's channel."""


def recorded(sound: Sound, noise: Noise, *, resampler: Resampler = "published") -> Tensor:
    """Both voices of a recording at 48 kHz, float32 [S, 2], S a multiple of 4 seconds.

    Args:
        noise: For the partner's channel; one draw [1, S, 2], of which the second channel is used.

    Raises:
        DataError: The recording is shorter than 4 seconds, or silent.
    """
    voice = resampled(sound.mono()[None], sound.rate, resampler)[0]
    length = len(voice) // BLOCK * BLOCK
    if not length:
        raise DataError(
            f"the recording is {sound.seconds:.1f} s long; expected at least 4 s", hint="record a longer one"
        )
    voice = voice[:length]
    # parity: the largest positive sample becomes 1, whatever the negative ones are (spec 3.6).
    peak = float(voice.max())
    if peak <= 0:
        raise DataError("the recording is silent", hint="check the microphone, and record again")
    hiss = HISS * noise.normal((1, length, 2), torch.float64)[0, :, 1]
    return torch.stack([voice / peak, hiss.float()], dim=1)
