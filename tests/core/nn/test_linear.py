"""Products by oneDNN are those of torch; where something is differentiated, torch's own are taken."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl.nn.linear import linear, packed

X = Noise.seeded(0, "x").normal((2, 30, 20))
WEIGHT = Noise.seeded(0, "weight").normal((16, 40))
BIAS = Noise.seeded(0, "bias").normal((16,))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32; sums are in another order


@pytest.mark.parametrize("bias", [None, BIAS])
@pytest.mark.parametrize(
    "weight", [WEIGHT[:, :20], WEIGHT[:, 20:], WEIGHT[:, :20].contiguous(), WEIGHT.view(40, 16)[20:].mT]
)
@torch.no_grad()
def test_products_are_those_of_torch(weight, bias):
    torch.testing.assert_close(linear(X, weight, bias), functional.linear(X, weight, bias), **CLOSE)
    if bias is None:
        torch.testing.assert_close(linear(X, packed(weight, 60)), functional.linear(X, weight), **CLOSE)
        torch.testing.assert_close(linear(X[:, :7], packed(weight, 60)), (X @ weight.mT)[:, :7], **CLOSE)


@pytest.mark.parametrize("shape", [(0, 20), (20,), (1, 3, 0, 20)])
@torch.no_grad()
def test_no_rows_and_single_ones_are_rows(shape):
    x = torch.ones(shape)
    torch.testing.assert_close(linear(x, WEIGHT[:, :20]), functional.linear(x, WEIGHT[:, :20]), **CLOSE)


def test_gradients_pass():
    weight = WEIGHT[:, :20].clone().requires_grad_(True)
    (found,) = torch.autograd.grad(linear(X, weight, BIAS).sum(), weight)
    torch.testing.assert_close(found, X.sum(dim=(0, 1)).expand(16, -1))


@torch.no_grad()
def test_other_formats_keep_theirs():
    assert linear(X.double(), WEIGHT[:, :20].double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(X, WEIGHT[:, :20]).dtype == torch.bfloat16


def test_gradients_of_inputs_of_fixed_weights_pass_twice():
    x = X.clone().requires_grad_(True)

    def twice(product):
        made = product(x, WEIGHT[:, :20], BIAS)
        (once,) = torch.autograd.grad(made.pow(3).sum(), x, create_graph=True)
        return once.detach(), *torch.autograd.grad(once.pow(2).sum(), x)

    for found, wanted in zip(twice(linear), twice(functional.linear), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
