"""The published resampler against its formula, written out sample by sample, and against what it is for."""

from __future__ import annotations

import math

import pytest
import torch

from avatarctl.audio.resample import resample, resample_kernel
from avatarctl.errors import DataError


def by_formula(samples: list[float], source: int, target: int) -> list[float]:
    """Spec audio2motion 3.7, one output sample after the other."""
    shared = math.gcd(source, target)
    o, n = source // shared, target // shared
    base = 0.99 * min(o, n)
    width = math.ceil(6 * o / base)
    out = []
    for m in range(math.ceil(n * len(samples) / o)):
        q, j = divmod(m, n)
        total = 0.0
        for k in range(-width, width + o):
            t = max(-6.0, min(6.0, (-j / n + k / o) * base))
            h = (
                math.cos(math.pi * t / 12) ** 2
                * (math.sin(math.pi * t) / (math.pi * t) if t else 1.0)
                * base
                / o
            )
            place = q * o + k
            total += h * samples[place] if 0 <= place < len(samples) else 0.0
        out.append(total)
    return out


@pytest.mark.parametrize(
    ("source", "target"),
    [(48000, 16000), (44100, 48000), (22050, 16000), (16000, 48000), (96000, 48000), (3, 7)],
)
def test_every_sample_is_that_of_the_formula(source: int, target: int) -> None:
    samples = torch.randn(2, 211, generator=torch.Generator().manual_seed(1))
    found = resample(samples, source, target)
    wanted = torch.tensor([by_formula(row, source, target) for row in samples.tolist()])
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)  # sums of up to 161 float32 products


@pytest.mark.parametrize(("source", "target"), [(44100, 48000), (48000, 16000), (8000, 48000)])
def test_a_low_tone_stays_that_tone(source: int, target: int) -> None:
    seconds = torch.arange(source // 4) / source
    found = resample(torch.sin(2 * math.pi * 440 * seconds), source, target)
    wanted = torch.sin(2 * math.pi * 440 * torch.arange(len(found)) / target)
    inside = slice(200, -200)  # outside the clip there is silence
    assert (found - wanted)[inside].abs().max() < 0.01  # the window's ripple


def test_a_tone_that_the_new_rate_cannot_hold_is_removed() -> None:
    seconds = torch.arange(48000) / 48000
    found = resample(torch.sin(2 * math.pi * 11000 * seconds), 48000, 16000)
    assert found[200:-200].abs().max() < 0.01


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_leading_dimensions_stay(leading: tuple[int, ...]) -> None:
    samples = torch.randn(*leading, 100, generator=torch.Generator().manual_seed(2))
    found = resample(samples, 48000, 16000)
    assert found.shape == (*leading, 34)
    rows = [resample(row, 48000, 16000) for row in samples.reshape(-1, 100)]
    torch.testing.assert_close(found.reshape(-1, 34), torch.stack(rows), rtol=0, atol=1e-6)


def test_the_same_rate_changes_nothing_and_no_sample_gives_none() -> None:
    samples = torch.randn(7)
    assert resample(samples, 48000, 48000) is samples
    assert resample(torch.zeros(0), 48000, 16000).shape == (0,)


def test_the_filter_of_the_demo_differs_in_the_sixth_digit_only() -> None:
    one, other = (resample_kernel(44100, 48000, filter=kind) for kind in ("float64", "float32"))
    assert 1e-7 < (one - other).abs().max() < 1e-4


def test_a_filter_made_in_inference_can_be_trained_through() -> None:
    with torch.inference_mode():
        resample(torch.zeros(50), 40, 30)
    samples = torch.randn(50, requires_grad=True)
    resample(samples, 40, 30).sum().backward()
    assert samples.grad is not None


@pytest.mark.parametrize(("source", "words"), [(44101, "filters of"), (0, "expected at least 1")])
def test_rates_without_a_sensible_filter_are_refused(source: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        resample(torch.zeros(10), source, 48000)
