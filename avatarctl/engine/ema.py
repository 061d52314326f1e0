"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A copy of a network whose parameters follow it slowly; buffers are copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(module).eval().requires_grad_(False)
        self.source = module

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network; early steps move faster, so that the first weights are forgotten.

        Args:
            step: Steps finished, from 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(self.source.parameters())
        if mine:
            torch._foreach_lerp_(mine, theirs, 1.0 - decay)
        for own, other in zip(self.model.buffers(), self.source.buffers(), strict=True):
            own.copy_(other)
