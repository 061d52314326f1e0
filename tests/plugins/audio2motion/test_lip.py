"""Lip shapes of clips longer than the four seconds that are seen at once."""

from __future__ import annotations

import pytest
import tiny
import torch
from avatarctl_audio2motion.model.lip import CHUNK, LipRegressor, sine_table

FRAME = 1600


@pytest.fixture(scope="module")
def regressor() -> LipRegressor:
    torch.manual_seed(2)
    return LipRegressor(tiny.LIP).eval()


@pytest.mark.parametrize("frames", [30, 120, 250, 360])
def test_each_four_seconds_are_seen_alone(regressor: LipRegressor, frames: int) -> None:
    voices = torch.stack([tiny.voices(frames / 30, seed)[:, 0] for seed in range(2)])
    found = regressor(voices)
    assert found.shape == (2, frames, 6, 3)
    for first in range(0, frames, CHUNK):
        last = min(first + CHUNK, frames)
        for sample in range(2):
            alone = regressor.chunk(voices[sample : sample + 1, first * FRAME : last * FRAME])
            torch.testing.assert_close(found[sample : sample + 1, first:last], alone, rtol=1e-4, atol=1e-5)


def test_a_change_in_one_chunk_stays_there(regressor: LipRegressor) -> None:
    voice = tiny.voices(12)[None, :, 0]
    changed = voice.clone()
    changed[:, 130 * FRAME : 140 * FRAME] = 0
    differs = (regressor(voice) - regressor(changed)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert differs[120:240].any()
    assert not differs[:120].any()
    assert not differs[240:].any()


def test_the_sound_of_a_chunk_starts_with_320_samples_of_silence(regressor: LipRegressor) -> None:
    # 32000 samples of 2 s and the 320 before make 202 steps of 160, less 2 at the edges (spec 4.3)
    assert regressor.heard(tiny.voices(2)[None, :, 0]).shape == (1, 200, 8)


def test_positions_are_sines_in_even_and_cosines_in_odd_columns() -> None:
    table = sine_table(50, 16).double()
    place, column = torch.arange(50.0).double()[:, None], torch.arange(0, 16, 2).double()
    angle = place / 10000 ** (column / 16)
    torch.testing.assert_close(table[:, 0::2], angle.sin(), rtol=0, atol=1e-5)
    torch.testing.assert_close(table[:, 1::2], angle.cos(), rtol=0, atol=1e-5)
