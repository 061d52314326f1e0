"""The conditional flow: densities, samples, and how its norms start."""

from __future__ import annotations

import math

import pytest
import torch
from avatarctl_ego_hmr.model.flow import ActNorm, Coupling, CouplingNet, Flow, LULinear

from avatarctl.device import Noise

NUMBERS, CONTEXT = 6, 3


def make(seed: int = 0) -> Flow:
    """A small flow in float64 whose transforms are far from the identity."""
    noise = Noise.seeded(seed, "flow")
    flow = Flow(NUMBERS, CONTEXT, layers=2, hidden=8, depth=2, dropout=0.5).double().eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.4 * noise.normal(parameter.shape, torch.float64))
        for name, buffer in flow.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + noise.uniform(buffer.shape, torch.float64))
    return flow


@pytest.fixture
def flow() -> Flow:
    return make()


def rows(count: int, name: str = "x", width: int = NUMBERS) -> torch.Tensor:
    return Noise.seeded(1, name).normal((count, width), torch.float64)


def test_sampling_undoes_the_direction_of_densities(flow):
    x, context = rows(5), rows(5, "context", CONTEXT)
    log_prob, latents = flow.log_prob(x, context)
    back, log_prob_of_sample = flow.sample(latents, context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_prob_of_sample, log_prob)


def test_each_determinant_is_that_of_the_jacobian(flow):
    x, context = rows(1), rows(1, "context", CONTEXT)
    for transform in flow.transforms:
        y, log_det = transform(x, context)
        jacobian = torch.autograd.functional.jacobian(lambda v, t=transform: t(v, context)[0][0], x)[:, 0]
        torch.testing.assert_close(log_det[0], jacobian.slogdet().logabsdet)
        torch.testing.assert_close(transform.inverse(y, context)[1], -log_det)
        x = y


def test_the_density_of_two_numbers_sums_to_one():
    torch.manual_seed(0)
    flow = Flow(2, CONTEXT, layers=2, hidden=8, depth=1, dropout=0.0).double().eval()
    noise = Noise.seeded(3, "small")
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * noise.normal(parameter.shape, torch.float64))
    line = torch.linspace(-15, 15, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    context = rows(1, "context", CONTEXT).expand(len(grid), -1)
    with torch.no_grad():
        total = flow.log_prob(grid, context)[0].exp().sum() * (line[1] - line[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-3)  # of a sum over squares of 0.05


def test_a_fresh_linear_layer_is_the_identity():
    x = rows(4)
    y, log_det = LULinear(NUMBERS).double()(x, x)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-6)  # its start is stored in float32
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-6)


def test_a_coupling_leaves_every_second_number():
    net = CouplingNet(NUMBERS // 2 + CONTEXT, NUMBERS // 2, 8, 1, 0.0).double().eval()
    x, context = rows(2), rows(2, "context", CONTEXT)
    for first in (0, 1):
        y, log_det = Coupling(NUMBERS, first, net)(x, context)
        assert torch.equal(y[:, first::2], x[:, first::2])
        assert (y[:, 1 - first :: 2] != x[:, 1 - first :: 2]).all()
        assert not log_det.any()


def test_the_first_batch_leaves_each_norm_centred_with_unit_deviation():
    flow = Flow(NUMBERS, CONTEXT, layers=3, hidden=8, depth=1, dropout=0.0).double()
    x, context = 3 * rows(40) + 5, rows(40, "context", CONTEXT)
    flow.initialise(x, context)
    # The nets' own norms see each batch as in training: running statistics take no part.
    for transform in flow.transforms:
        x = transform(x, context)[0]
        if isinstance(transform, ActNorm):
            torch.testing.assert_close(x.mean(dim=0), torch.zeros(NUMBERS).double())
            torch.testing.assert_close(x.std(dim=0), torch.ones(NUMBERS).double())


def test_a_norm_starts_once_and_survives_a_number_that_never_changes():
    norm, x = ActNorm(NUMBERS), rows(8).float()
    x[:, 2] = 7.0
    norm.initialise(x)
    assert torch.isfinite(norm.log_scale).all()
    assert float(norm.log_scale[2].detach()) == pytest.approx(-math.log(1e-3), rel=1e-5)
    before = norm.log_scale.clone()
    norm.initialise(2 * x)
    assert torch.equal(norm.log_scale, before)
