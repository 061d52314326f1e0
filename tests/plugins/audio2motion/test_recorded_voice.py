"""A recording as the published demo prepares it."""

from __future__ import annotations

import pytest
import torch
from avatarctl_audio2motion.conversations.voices import recorded

from avatarctl.audio.wave import RATE, Sound
from avatarctl.device import Noise
from avatarctl.errors import DataError


def noisy(seconds: float, channels: int = 1) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(round(seconds * RATE), channels, generator=draw)


def test_the_voice_is_cut_to_blocks_of_four_seconds_and_its_largest_sample_becomes_one():
    samples = noisy(9.7, 2)
    both = recorded(Sound(samples, RATE), Noise.seeded(0, "hiss"))
    voice = samples[: 8 * RATE].mean(1)
    assert both.shape == (8 * RATE, 2)
    torch.testing.assert_close(both[:, 0], voice / voice.max(), rtol=1e-6, atol=0)
    assert float(both[:, 1].std()) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(
    ("samples", "words"),
    [(noisy(3.9), "3.9 s long; expected at least 4 s"), (0 * noisy(5), "the recording is silent")],
)
def test_short_or_silent_recordings_are_refused(samples, words):
    with pytest.raises(DataError, match=words):
        recorded(Sound(samples, RATE), Noise.seeded(0, "hiss"))
