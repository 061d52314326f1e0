"""Colour of points on the surface (spec 4.8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl.nn.linear import linear
from avatarctl_video_avatar.model.mlp import Layer, TracedStack, draw_default, widths

ENCODED = 36
"""Inputs of the encoded view, which are always 0."""
AFTER_VIEW = 6
"""Where they begin: behind place and view."""
COUNT = 5
"""Layers."""


@dataclass(frozen=True)
class Colour:
    """Colours of canonical points, with the network's parameters in `layers`."""

    layers: list[Layer]

    def __call__(self, points: Tensor, views: Tensor, normals: Tensor, features: Tensor) -> Tensor:
        """RGB, 0 to 1 [N, 3].

        Args:
            points: Canonical places, metres [N, 3].
            views: Unit directions of the rays there [N, 3].
            normals: Gradients of the signed distance, as they are [N, 3].
            features: What the surface tells [N, F].
        """
        x = torch.cat([points, views, normals, features], dim=1)
        for weight, bias in self.layers[:-1]:
            x = functional.relu(linear(x, weight, bias))
        return torch.sigmoid(linear(x, *self.layers[-1]))


class ColourNet(TracedStack):
    """Five layers between ReLUs."""

    def __init__(self, hidden: int, features: int) -> None:
        super().__init__(widths(AFTER_VIEW + ENCODED + 3 + features, hidden, 3, COUNT))

    def colour(self) -> Colour:
        """It as a function of points."""
        (weight, bias), *layers = self.layers()
        # parity: the encoded view stays 0, its columns count in the norms only (spec 9, Q12).
        kept = torch.cat([weight[:, :AFTER_VIEW], weight[:, AFTER_VIEW + ENCODED :]], dim=1)
        return Colour([(kept, bias), *layers])

    def reset(self, noise: Noise) -> None:
        """Draw the published initial values."""
        draw_default(self.linears(), noise)
