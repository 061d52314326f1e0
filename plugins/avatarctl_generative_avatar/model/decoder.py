"""What planes of features say of canonical places: look-up and decoder (spec 4.4, 4.5, 4.9).

The derivative of the decoder's value in the place is written out: the slope of the network in its features,
times those of the bilinear look-up. So inference needs no graph for it, and training derives it once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.radiance.texels import dotted, mixed
from avatarctl_generative_avatar.model.layers import FullyConnected

PLANES, FEATURES, HIDDEN = 3, 32, 64
ALONG, DOWN = [0, 0, 2], [1, 2, 1]
"""Axes along the width and the height of each plane: (x, y), (x, z), (z, y)."""


class Decoder(nn.Module):
    """From features to a signed value, positive inside, and 32 colours."""

    def __init__(self, lr: float = 1.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            FullyConnected(FEATURES, HIDDEN, lr=lr),
            nn.Softplus(),
            FullyConnected(HIDDEN, 1 + FEATURES, lr=lr),
        )

    def hidden(self, features: Tensor) -> Tensor:
        """The first layer [K, 64] of features [K, 32]."""
        return functional.softplus(functional.linear(features, *_scaled(self.net[0])))

    def value(self, hidden: Tensor) -> Tensor:
        """Signed value [K] of the first layer [K, 64]."""
        weight, bias = _scaled(self.net[2])
        return hidden @ weight[0] + bias[0]

    def colours(self, hidden: Tensor) -> Tensor:
        """[K, 32], about 0 to 1, of the first layer [K, 64]."""
        weight, bias = _scaled(self.net[2])
        return torch.sigmoid(functional.linear(hidden, weight[1:], bias[1:])) * 1.002 - 0.001

    def slope(self, hidden: Tensor) -> Tensor:
        """Derivative of the value in the features [K, 32], of the first layer [K, 64]."""
        (first, _), (last, _) = _scaled(self.net[0]), _scaled(self.net[2])
        # The derivative of softplus s(x) is 1 - exp(-s(x)).
        return torch.expm1(-hidden) @ (-last[0][:, None] * first)


def _scaled(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer as they work, their learning rate equalised."""
    assert isinstance(layer, FullyConnected)
    return layer.weight * (layer.lr / math.sqrt(layer.weight.shape[1])), layer.bias * layer.lr


@dataclass(frozen=True)
class Corners:
    """The four texels around K places on each plane.

    `index` of the texels' rows, int32 [K, 12], `sides` the shares of the two texels along each axis, 0 where
    there is none [3, 2, K], and `steps` their derivatives in scaled places.
    """

    index: Tensor
    sides: Tensor
    steps: Tensor

    def __getitem__(self, rows: Tensor) -> Corners:
        return Corners(self.index[rows], self.sides[..., rows], self.steps[..., rows])

    def weights(self) -> Tensor:
        """Of the texels in the mean over planes [K, 12]."""
        return (_products(self.sides[DOWN], self.sides[ALONG]) / PLANES).mT.contiguous()

    def slopes(self, products: Tensor) -> Tensor:
        """Derivative in scaled places [K, 3] of what texels are worth, products [K, 12]."""
        given = products.mT / PLANES  # [12, K]
        along = (given * _products(self.sides[DOWN], self.steps[ALONG])).view(PLANES, 4, -1).sum(1)
        down = (given * _products(self.steps[DOWN], self.sides[ALONG])).view(PLANES, 4, -1).sum(1)
        return torch.stack([along[0] + along[1], down[0] + down[2], along[2] + down[1]], dim=-1)


def _products(down: Tensor, along: Tensor) -> Tensor:
    """[12, K] of [planes, 2, K] each."""
    return (down[:, :, None] * along[:, None]).flatten(0, 2)


@dataclass(frozen=True)
class Planes:
    """Features of people around the canonical body.

    `planes` are [N, 3, 32, R, R]; they cover a cube with sides of `box_warp` metres.
    """

    planes: Tensor
    box_warp: float

    @cached_property
    def rows(self) -> Tensor:
        """Features by texel and plane [N x R x R x 3, 32]; no copy of planes whose channels are innermost."""
        return self.planes.permute(0, 3, 4, 1, 2).reshape(-1, FEATURES)

    def corners(self, places: Tensor, sample: Tensor) -> Corners:
        """What planes are read at.

        Args:
            places: Canonical, metres [K, 3].
            sample: Whose planes, int64 [K].
        """
        size = self.planes.shape[-1]
        pixels = ((places.T * (2 / self.box_warp) + 1) * size - 1) * 0.5  # [axes, K]
        low = pixels.floor()
        share = pixels - low
        first = low.clamp_(-2, size).int()
        cells = torch.stack([first, first + 1], dim=1)  # [axes, 2, K]
        is_there = (cells >= 0) & (cells < size)
        sides = torch.stack([1 - share, share], dim=1) * is_there
        signs = sides.new_tensor([-0.5 * size, 0.5 * size])[:, None]
        cells = cells.clamp_(0, size - 1) * PLANES
        own = (sample * (size * size * PLANES)).int()
        plane = torch.arange(PLANES, device=places.device, dtype=torch.int32)[:, None, None]
        down, along = cells[DOWN] * size + own + plane, cells[ALONG]
        index = (down[:, :, None] + along[:, None]).flatten(0, 2).mT.contiguous()
        return Corners(index, sides, signs * is_there)

    def features(self, corners: Corners) -> Tensor:
        """Means of the three planes [K, 32]; differentiable in the planes."""
        return mixed(self.rows, corners.index, corners.weights())

    def gradient(self, corners: Corners, slope: Tensor) -> Tensor:
        """Derivative in scaled places [K, 3], which lie in [-1, 1] on the planes.

        Args:
            slope: Derivative in the features [K, 32].
        """
        # parity: scaled places are not metres: this is box_warp / 2 of the derivative in metres (spec 4.9).
        return corners.slopes(dotted(slope, self.rows, corners.index))
