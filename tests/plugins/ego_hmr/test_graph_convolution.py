"""Modulated graph convolutions against the sum over joints that defines them."""

from __future__ import annotations

import pytest
import torch
from avatarctl_ego_hmr.model.graph import JOINTS, GraphConv, GraphNet, NonLocal, adjacency

from avatarctl.body import open_body
from avatarctl.device import Noise

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32; sums are in another order


def test_neighbours_are_those_of_the_body_and_rows_sum_to_two():
    table = adjacency()
    torch.testing.assert_close(table.sum(dim=1), torch.full((JOINTS,), 2.0))
    pairs = {(child, parent) for child, parent in enumerate(open_body("smpl").parents) if parent >= 0}
    apart = {(row, column) for row, column in table.nonzero().tolist() if row != column}
    assert apart == pairs | {(parent, child) for child, parent in pairs}


def drawn(inputs: int, outputs: int) -> GraphConv:
    torch.manual_seed(0)
    layer = GraphConv(inputs, outputs)
    with torch.no_grad():
        layer.adj2.normal_(0, 0.3)
    return layer


def by_joints(layer: GraphConv, x: torch.Tensor) -> torch.Tensor:
    """The convolution one joint after the other (spec 4.5)."""
    shares = layer.adj + layer.adj2
    shares = (shares + shares.T) / 2
    rows = []
    for joint in range(JOINTS):
        row = layer.bias + shares[joint, joint] * layer.M[joint] * (x[:, joint] @ layer.W[0])
        for other in set(range(JOINTS)) - {joint}:
            row = row + shares[joint, other] * layer.M[other] * (x[:, other] @ layer.W[1])
        rows.append(row)
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_convolution_is_the_sum_over_joints_with_its_gradients(count):
    layer, x = drawn(5, 7), Noise.seeded(1, "x").normal((count, JOINTS, 5)).requires_grad_(True)
    weigh = Noise.seeded(2, "weights").normal((count, JOINTS, 7))
    given = [x, *layer.parameters()]
    results = []
    for made in (layer(x), by_joints(layer, x)):
        results.append([made, *torch.autograd.grad((made * weigh).sum(), given)])
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)  # float32, other order of sums


def test_shares_of_the_inputs_add_up_to_the_whole():
    layer, x = drawn(9, 4), Noise.seeded(1, "x").normal((2, JOINTS, 9))
    parts = (layer.mapped(x[..., :4]), layer.mapped(x[..., 4:], 4))
    together = sum(layer.mixed(*part) for part in parts) + layer.bias
    torch.testing.assert_close(together, layer(x), rtol=1e-4, atol=1e-5)


def test_attention_over_joints_starts_as_nothing_and_then_reaches_all_of_them():
    torch.manual_seed(0)
    block, x = NonLocal(8).eval(), Noise.seeded(1, "x").normal((2, JOINTS, 8))
    assert torch.equal(block(x), x)
    with torch.no_grad():
        block.bn.weight.fill_(1.0)
    moved = x.clone()
    moved[:, 5] += 1.0
    changed = (block(moved) - block(x)).abs().sum(dim=-1)
    assert (changed > 0).all()
    assert "non_local.theta.weight" in GraphNet(4, 8, 1, non_local=True).state_dict()
    assert not any("non_local" in name for name in GraphNet(4, 8, 1).state_dict())


@torch.no_grad()
def test_packed_network_is_the_same_and_unpacked_afterwards():
    torch.manual_seed(0)
    network = GraphNet(7, 12, 2).eval()
    for parameter in network.parameters():
        parameter.normal_(0, 0.3)
    x = Noise.seeded(1, "features").normal((3, JOINTS, 7))
    wanted = network(x)
    with network.packed(3):
        torch.testing.assert_close(network(x), wanted, **CLOSE)
        torch.testing.assert_close(network(x[:1]), wanted[:1], **CLOSE)
    network.gconv_layers[0].gconv1.gconv.W.mul_(2)
    assert not torch.allclose(network(x), wanted, **CLOSE)
