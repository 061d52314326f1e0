"""Which bones move a canonical point, by a network and a softmax along the skeleton (spec 4.7).

A sigmoid at each joint tells how much goes on from its parent to it; where three joints follow one, a softmax
shares among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.nn.linear import linear
from avatarctl_video_avatar.model.mlp import Layer, Stack, draw_default, octaves, softplus, widths

JOINTS = 24
LOGITS = JOINTS + 1
"""The last one is how much leaves the chest for neck and arms; the first how much leaves the pelvis."""
SHARPNESS = 20.0
"""Logits are multiplied by it."""
OCTAVES = 6
COUNT = 5
"""Layers."""


@dataclass(frozen=True)
class Skinning:
    """Shares of the bones at canonical points, with the network's parameters in `layers`."""

    layers: list[Layer]

    def __call__(self, points: Tensor) -> Tensor:
        """Shares that sum to 1 [N, 24]."""
        return shares(SHARPNESS * self.logits(points))

    def logits(self, points: Tensor) -> Tensor:
        """What the network gives [N, 25]."""
        x = torch.cat([points, octaves(points, OCTAVES).flatten(1)], dim=1)
        return linear(softplus(x, self.layers[:-1]), *self.layers[-1])


class SkinningNet(Stack):
    """Five layers."""

    def __init__(self, hidden: int) -> None:
        super().__init__(widths(3 + 6 * OCTAVES, hidden, LOGITS, COUNT))

    def skinning(self) -> Skinning:
        """It as a function of points."""
        return Skinning(self.layers())

    def reset(self, noise: Noise) -> None:
        """Draw the published initial values."""
        draw_default(self.linears(), noise)


def shares(logits: Tensor) -> Tensor:
    """Hierarchical softmax: shares of SMPL's joints [N, 24] of logits [N, 25]."""
    logits = logits.float()  # parity: always single precision (spec 9, Q29)
    going = logits.sigmoid()
    # What reaches each joint: of what reaches its parent, the share that goes on to it.
    hips = going[:, :1] * logits[:, 1:4].softmax(dim=1)
    upper = going[:, 24:] * logits[:, 12:15].softmax(dim=1)
    knees = hips * going[:, 4:7]
    ankles = knees * going[:, 7:10]
    feet = ankles[:, :2] * going[:, 10:12]
    collars = ankles[:, 2:] * upper
    shoulders = collars * going[:, 15:18]
    elbows = shoulders[:, 1:] * going[:, 18:20]
    wrists = elbows * going[:, 20:22]
    hands = wrists * going[:, 22:24]
    first, none = torch.ones_like(going[:, :1]), torch.zeros_like(going[:, :2])
    reached = torch.cat([first, hips, knees, ankles, feet, collars, shoulders, elbows, wrists, hands], dim=1)
    onward = torch.cat(  # of what reaches a joint, the share that does not stay
        [
            going[:, :1],
            going[:, 4:12],
            going[:, 24:],
            none,
            going[:, 15:18],
            none[:, :1],
            going[:, 18:24],
            none,
        ],
        dim=1,
    )
    return reached * (1 - onward)
