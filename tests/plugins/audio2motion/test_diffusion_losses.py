"""Loss terms against their formulas, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from avatarctl_audio2motion.losses import diffusion_losses, variational_bound
from avatarctl_audio2motion.sampling import process_of

FRAMES, WIDTH = 6, 3


@pytest.fixture
def motions():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, FRAMES, WIDTH, generator=generator, dtype=torch.float64)


def test_only_known_frames_inside_count_for_the_rotation(motions):
    made, clean = motions
    inside = torch.arange(FRAMES) < torch.tensor([[6], [4]])
    known = torch.ones(2, FRAMES, dtype=torch.bool)
    known[0, 2] = False

    found = diffusion_losses(made, clean, inside, known, 0.0)

    for sample, frames in ((0, (0, 1, 3, 4, 5)), (1, (0, 1, 2, 3))):
        errors = [(made - clean)[sample, t, c].item() ** 2 for t in frames for c in range(WIDTH)]
        assert found["rotation"][sample].item() == pytest.approx(sum(errors) / len(errors))
    assert set(found) == {"total", "rotation"}


def test_velocities_of_unknown_frames_count_but_not_those_of_padding(motions):
    made, clean = motions
    inside = torch.arange(FRAMES) < torch.tensor([[6], [4]])
    known = torch.zeros(2, FRAMES, dtype=torch.bool)
    known[:, 0] = True

    found = diffusion_losses(made, clean, inside, known, 2.0)

    for sample, length in ((0, 6), (1, 4)):
        error = (made - clean)[sample]
        steps = [((error[t] - error[t - 1]) ** 2).sum().item() for t in range(1, length)]
        velocity = sum(steps) / (WIDTH * len(steps))
        assert found["velocity"][sample].item() == pytest.approx(velocity)
        assert found["total"][sample].item() == pytest.approx(found["rotation"][sample].item() + 2 * velocity)


def test_the_variational_bound_is_the_divergence_of_two_gaussians_in_bits(motions):
    made, clean = motions
    process, step = process_of("cosine"), 500
    noisy = torch.randn_like(clean)

    found = variational_bound(process, made, clean, noisy, torch.full((2,), step))

    posterior = process.posterior()
    scale = torch.full((), math.sqrt(float(posterior.variance[step])), dtype=torch.float64)
    means = [float(posterior.clean[step]) * x + float(posterior.noisy[step]) * noisy for x in (clean, made)]
    gaussians = [torch.distributions.Normal(mean, scale) for mean in means]
    nats = torch.distributions.kl_divergence(*gaussians).mean(dim=(1, 2))
    torch.testing.assert_close(found, nats / math.log(2))


def test_the_bound_at_step_0_is_the_likelihood_of_the_clean_values_bins():
    clean = torch.tensor([[[-1.5, -0.4, 0.0, 0.3, 1.2]]], dtype=torch.float64)
    made = clean + torch.tensor([0.004, -0.003, 0.0, 0.002, -0.001], dtype=torch.float64)
    process, steps = process_of("cosine"), torch.zeros(1, dtype=torch.int64)

    found = variational_bound(process, made, clean, torch.zeros_like(clean), steps)

    # At step 0 the posterior's mean is the clean motion itself.
    normal = torch.distributions.Normal(made, float(process.posterior().log_variance[0].exp().sqrt()))
    below, above = normal.cdf(clean - 1 / 255), normal.cdf(clean + 1 / 255)
    below[clean < -0.999], above[clean > 0.999] = 0, 1
    bits = -(above - below).log2().mean(dim=(1, 2))
    torch.testing.assert_close(found, bits, rtol=0, atol=2e-3)  # the tanh approximation is that good


def test_the_schedules_are_the_two_published_ones():
    assert float(process_of("linear").betas[0]) == 1e-4
    assert float(process_of("cosine").betas[-1]) == 0.999
