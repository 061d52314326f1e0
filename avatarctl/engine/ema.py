"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """A copy of a network whose parameters follow it slowly; buffers are copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(module).eval().requires_grad_(False)
        self._source = module

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network; early steps move faster, so that the first weights are forgotten.

        Args:
            step: Steps finished, from 1.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = list(self.model.parameters()), list(self._source.parameters())
        if mine:
            torch._foreach_lerp_(mine, theirs, 1.0 - decay)
        for own, other in zip(self.model.buffers(), self._source.buffers(), strict=True):
            own.copy_(other)
