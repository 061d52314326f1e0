"""Noise schedules, respaced processes, posteriors and the sampler, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avatarctl.diffusion import Process, cosine_betas, ddim, linear_betas


def kept_share(moment: float) -> float:
    return math.cos((moment + 0.008) / 1.008 * math.pi / 2) ** 2


def test_the_cosine_schedule_keeps_the_share_that_it_is_named_after():
    process = Process(cosine_betas(1000))

    expected = [kept_share((step + 1) / 1000) / kept_share(0) for step in range(999)]  # the last beta is cut

    np.testing.assert_allclose(process.alphas_cumprod[:999], expected, rtol=1e-9)
    assert float(process.betas[-1]) == 0.999


def test_linear_betas_of_fewer_steps_add_as_much_noise():
    many, few = (Process(linear_betas(steps)) for steps in (1000, 500))

    assert float(many.betas[0]) == 1e-4
    assert float(many.betas[-1]) == pytest.approx(0.02)
    np.testing.assert_allclose(few.alphas_cumprod[-1].log(), many.alphas_cumprod[-1].log(), rtol=0.02)


def test_a_respaced_process_has_the_same_signal_at_the_kept_steps():
    process, kept = Process(cosine_betas(1000)), [0, 7, 400, 999]

    respaced = process.respaced(kept)

    np.testing.assert_allclose(respaced.alphas_cumprod, process.alphas_cumprod[kept], rtol=0, atol=1e-15)
    assert len(respaced) == 4


def test_the_posterior_is_what_bayes_rule_says_of_scalars():
    process, step, clean, noisy = Process(cosine_betas(50)), 20, 0.7, -0.4
    posterior, beta = process.posterior(), float(process.betas[step])
    before = float(process.alphas_cumprod[step - 1])
    grid = np.linspace(-8, 8, 160_001)  # of x_{t-1}: prior N(sqrt(before) x_0, 1 - before), then one step
    density = np.exp(
        -((grid - math.sqrt(before) * clean) ** 2) / (2 * (1 - before))
        - (noisy - math.sqrt(1 - beta) * grid) ** 2 / (2 * beta)
    )
    density /= density.sum()
    mean = (density * grid).sum()

    found = float(posterior.clean[step]) * clean + float(posterior.noisy[step]) * noisy

    assert found == pytest.approx(mean, abs=1e-9)
    assert float(posterior.variance[step]) == pytest.approx((density * (grid - mean) ** 2).sum(), abs=1e-9)


def test_the_posterior_s_first_log_variance_is_the_second_one():
    posterior = Process(cosine_betas(20)).posterior()

    assert float(posterior.variance[0]) == 0
    assert posterior.log_variance[0] == posterior.log_variance[1] == posterior.variance[1].log()


def test_noise_is_added_in_the_samples_number_type():
    process = Process(cosine_betas(100))
    clean, noise, steps = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.tensor([3, 90])

    found = process.add_noise(clean, noise, steps)

    shares = process.alphas_cumprod[steps].reshape(2, 1, 1)
    torch.testing.assert_close(found, (shares.sqrt() * clean + (1 - shares).sqrt() * noise).float())
    assert found.dtype == torch.float32


@pytest.mark.parametrize("to_clean", [True, False])
def test_ddim_finds_the_sample_behind_the_noise_when_the_prediction_is_right(to_clean):
    process, clean = Process(cosine_betas(1000)), torch.randn(2, 5, 3, dtype=torch.float64)
    noise = torch.randn_like(clean)
    start = process.add_noise(clean, noise, torch.full((2,), 900))

    seen = []

    def right(sample: torch.Tensor, place: int) -> torch.Tensor:
        seen.append(sample)
        return clean

    found = ddim(process, [900, 500, 100, 0], right, start, to_clean=to_clean)

    # With the right prediction every state is the clean sample with the same noise, at that step's strength.
    torch.testing.assert_close(seen[1], process.add_noise(clean, noise, torch.full((2,), 500)))
    expected = clean if to_clean else process.add_noise(clean, noise, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(found, expected)
    assert len(seen) == (4 if to_clean else 3)


def test_ddim_ends_at_the_last_prediction_bit_for_bit():
    process, made = Process(cosine_betas(1000)).respaced([0, 500]), []

    def predict(sample: torch.Tensor, place: int) -> torch.Tensor:
        made.append(0.3 * sample)
        return made[-1]

    found = ddim(process, [1, 0], predict, torch.randn(1, 2), to_clean=True)

    assert torch.equal(found, made[1])
