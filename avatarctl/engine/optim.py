"""Optimisers and schedules from settings groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def make_optimizer(params: Iterable[nn.Parameter], settings: Any) -> torch.optim.Optimizer:
    """AdamW with the peak learning rate, betas, weight decay and gradient clip of an `Optimizer` group.

    Args:
        settings: lr, betas, weight_decay, and clip (largest gradient norm, 0 for any).
    """
    group = {"params": [p for p in params if p.requires_grad], "clip": float(settings.clip)}
    return torch.optim.AdamW(
        [group], lr=settings.lr, betas=tuple(settings.betas), weight_decay=settings.weight_decay
    )


def make_schedule(optimizer: torch.optim.Optimizer, settings: Any, steps_per_epoch: int = 1) -> LambdaLR:
    """The learning rate times gamma after each milestone; `Loop.step` advances it.

    Args:
        settings: milestones in epochs, and gamma.
        steps_per_epoch: Steps of one epoch; 1 makes the milestones count steps.
    """
    milestones = sorted(milestone * steps_per_epoch for milestone in settings.milestones)
    gamma = float(settings.gamma)

    def factor(step: int) -> float:
        """Closed form, so that a resumed run has the same rate to the last bit."""
        return float(gamma ** sum(milestone <= step for milestone in milestones))

    return LambdaLR(optimizer, factor)
