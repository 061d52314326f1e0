"""Rows of a table mixed by weights, and their products with values."""

import pytest
import torch

from avatarctl.device import Noise
from avatarctl.radiance import texels
from avatarctl.radiance.texels import dotted, mixed


def drawn(count):
    noise = Noise.seeded(1, "texels")
    table = noise.normal((20, 4), torch.float64).requires_grad_()
    values = noise.normal((count, 4), torch.float64).requires_grad_()
    weights = noise.normal((count, 12), torch.float64).requires_grad_()
    return values, table, weights, noise.integers(0, 20, (count, 12)).int()


@pytest.mark.parametrize("count", [0, 1, 30])
def test_products_and_mixtures_are_plain_gathers_and_sums(monkeypatch, count):
    monkeypatch.setattr(texels, "ROWS", 7)
    values, table, weights, index = drawn(count)
    rows = table[index.long()]  # [count, 12, 4]
    for found, wanted, inputs in (
        (dotted(values, table, index), (rows * values[:, None]).sum(-1), (values, table)),
        (mixed(table, index, weights), (rows * weights[..., None]).sum(1), (weights, table)),
    ):
        torch.testing.assert_close(found, wanted)
        for ours, theirs in zip(
            torch.autograd.grad(found.square().sum(), inputs),
            torch.autograd.grad(wanted.square().sum(), inputs, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)
