"""Graph convolutions over the joints of a body whose weights are modulated for each joint.

Zou and Tang, "Modulated Graph Convolutional Network for 3D Human Pose Estimation" (ICCV 2021); spec 4.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.nn.linear import linear, packed

JOINTS = 24
EDGES = (
    (0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10), (8, 11), (9, 12),
    (9, 13), (9, 14), (12, 15), (13, 16), (14, 17), (16, 18), (17, 19), (18, 20), (19, 21), (20, 22),
    (21, 23),
)  # fmt: skip
"""Joints of SMPL that are neighbours."""
GAIN = 1.414


def adjacency() -> Tensor:
    """The fixed share of each joint in what each joint is made of [24, 24]; its rows sum to 2."""
    edges = torch.tensor(EDGES)
    table = torch.zeros(JOINTS, JOINTS)
    table[edges[:, 0], edges[:, 1]] = table[edges[:, 1], edges[:, 0]] = 1.0
    return table / table.sum(dim=1, keepdim=True) + torch.eye(JOINTS)


class GraphConv(nn.Module):
    """A linear map of each joint for itself, another for its neighbours, and learned shares of these."""

    adj: Tensor
    packed: tuple[Tensor, Tensor] | None = None
    """The weights for `linear` while `GraphNet.packed` lasts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(2, inputs, outputs))
        self.M = nn.Parameter(torch.empty(JOINTS, outputs))
        self.adj2 = nn.Parameter(torch.full((JOINTS, JOINTS), 1e-6))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("adj", adjacency(), persistent=False)
        for weight in (self.W, self.M):  # of W, torch counts inputs x outputs as fan in: a narrow range
            nn.init.xavier_uniform_(weight, gain=GAIN)
        nn.init.uniform_(self.bias, -(outputs**-0.5), outputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, 24, outputs] of features [B, 24, inputs]."""
        return self.mixed(*self.mapped(x)) + self.bias

    def mapped(self, x: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """What features make of a joint, and of its neighbours, before they are mixed [..., outputs] each.

        Args:
            x: Some of the inputs [..., C].
            first: Place of the first of them.
        """
        own, others = self.packed or self.W[:, first : first + x.shape[-1]].mT
        return linear(x, own), linear(x, others)

    def mixed(self, own: Tensor, others: Tensor) -> Tensor:
        """Features [B, 24, outputs] from the two maps of the joints [B, 24 or 1, outputs]; linear in them."""
        shares = self.adj + self.adj2
        shares = (shares + shares.mT) / 2
        kept = shares.diagonal()
        passed = (shares - kept.diag()).expand(len(others), -1, -1) @ (self.M * others)
        return kept[:, None] * self.M * own + passed


class Unit(nn.Module):
    """Graph convolution, norm over joints and bodies, rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gconv = GraphConv(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, 24, outputs] of features [B, 24, inputs]."""
        return self.finished(self.gconv(x))

    def finished(self, x: Tensor) -> Tensor:
        """What follows the convolution [B, 24, outputs]."""
        return functional.relu(self.bn(x.flatten(0, 1))).unflatten(0, x.shape[:2])


class Residual(nn.Module):
    """Two units beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gconv1, self.gconv2 = Unit(width, width), Unit(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, 24, width]."""
        found: Tensor = x + self.gconv2(self.gconv1(x))
        return found


class NonLocal(nn.Module):
    """Attention over all joints beside the identity (Wang et al., "Non-local Neural Networks", 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.theta, self.phi, self.g = (nn.Linear(width, inner) for _ in range(3))
        self.out, self.bn = nn.Linear(inner, width), nn.BatchNorm1d(width)
        nn.init.zeros_(self.bn.weight)  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, 24, width]."""
        weights = (self.theta(x) @ self.phi(x).mT).softmax(dim=-1)
        seen = self.out(weights @ self.g(x))
        return x + self.bn(seen.flatten(0, 1)).unflatten(0, x.shape[:2])


class GraphNet(nn.Module):
    """6D rotations of the joints from their features; the first convolution may be given in shares.

    Args:
        inputs: Features of a joint.
        width: Of the layers.
        layers: Residual blocks.
        non_local: Attention over the joints before the output.
    """

    def __init__(self, inputs: int, width: int, layers: int, non_local: bool = False) -> None:
        super().__init__()
        self.gconv_input = nn.Sequential(Unit(inputs, width))
        self.gconv_layers = nn.Sequential(*(Residual(width) for _ in range(layers)))
        self.non_local = NonLocal(width) if non_local else None
        self.gconv_output = GraphConv(width, 6)

    @contextmanager
    def packed(self, bodies: int) -> Iterator[None]:
        """For many steps of so many bodies: faster; the weights must not change meanwhile."""
        convs = [one for one in self.gconv_layers.modules() if isinstance(one, GraphConv)]
        try:
            for conv in convs:
                own, others = conv.W.mT
                conv.packed = packed(own, JOINTS * bodies), packed(others, JOINTS * bodies)
            yield
        finally:
            for conv in convs:
                conv.packed = None

    @property
    def first(self) -> GraphConv:
        """The convolution that is given the features."""
        unit = self.gconv_input[0]
        assert isinstance(unit, Unit)
        return unit.gconv

    def forward(self, features: Tensor) -> Tensor:
        """Rotations [B, 24, 6] from features [B, 24, inputs]."""
        return self.after_first(self.first(features))

    def after_first(self, x: Tensor) -> Tensor:
        """Rotations [B, 24, 6] from what the first convolution makes of the features [B, 24, width]."""
        unit = self.gconv_input[0]
        assert isinstance(unit, Unit)
        x = self.gconv_layers(unit.finished(x))
        if self.non_local is not None:
            x = self.non_local(x)
        made: Tensor = self.gconv_output(x)
        return made
