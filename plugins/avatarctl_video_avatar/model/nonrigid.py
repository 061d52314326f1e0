"""Motion of points beside that of the bones, the alternative to a skinning network (spec 4.10)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl.nn.linear import linear
from avatarctl_video_avatar.model.mlp import Block, Linear, draw_default, octaves

NUMBERS = 69
"""Of a pose."""
OCTAVES = 6
ENCODED = 6 * OCTAVES
HIDDEN = 128
SKIP = 4
"""The layer that is given the encoded place again."""
COUNT = 7
"""Layers."""


class NonRigid(Block):
    """From a place and a pose to an offset."""

    progress: Tensor

    def __init__(self) -> None:
        inputs = [NUMBERS + ENCODED, *[HIDDEN] * (COUNT - 1)]
        inputs[SKIP] += ENCODED
        super().__init__(zip(inputs, [HIDDEN] * (COUNT - 1) + [3], strict=True))
        self.register_buffer("progress", torch.zeros(()))

    def forward(
        self, points: Tensor, numbers: Tensor, *, step: int, kick_in: int = 0, full_band: int = 500000
    ) -> Tensor:
        """Offsets, metres [N, 3].

        Args:
            points: Metres [N, 3].
            numbers: Of the pose [69].
            step: Finished steps of training.
            kick_in: Step from which the pose is told.
            full_band: Step at which all octaves are there.
        """
        phase = OCTAVES * (step - kick_in) / (full_band - kick_in) - torch.arange(
            OCTAVES, device=points.device
        )
        weights = (1 - torch.cos(math.pi * phase.clamp(0, 1))) / 2
        encoded = (weights[:, None, None] * octaves(points, OCTAVES)).flatten(1)
        told = numbers if step >= kick_in else torch.zeros_like(numbers)
        x = torch.cat([told.expand(len(points), -1), encoded], dim=1)
        *layers, last = (one.layer() for one in self.linears())
        for number, layer in enumerate(layers):
            if number == SKIP:
                x = torch.cat([x, encoded], dim=1)
            x = functional.relu(linear(x, *layer))
        return linear(x, *last)


class OffsetNet(nn.Module):
    """A network that published checkpoints hold and that nothing uses."""

    progress: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = [3 + ENCODED, *[HIDDEN] * 5]
        inputs[5] += 3 + ENCODED
        self.pts_linears = nn.ModuleList(Linear(count, HIDDEN) for count in inputs)
        self.output_linear = Linear(HIDDEN, 3)
        self.register_buffer("progress", torch.zeros(()))

    def reset(self, noise: Noise) -> None:
        """Draw PyTorch's initial values."""
        linears = [one for one in self.modules() if isinstance(one, Linear)]
        draw_default(linears, noise)
