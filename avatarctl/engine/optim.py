"""Optimisers and schedules from settings groups."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from avatarctl.config import groups


def make_optimizer(params: Iterable[nn.Parameter], settings: groups.Optimizer) -> torch.optim.Optimizer:
    """AdamW; `Loop.step` clips the gradients of its group."""
    group = {"params": [p for p in params if p.requires_grad], "clip": float(settings.clip)}
    return torch.optim.AdamW(
        [group], lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: groups.Schedule, steps_per_epoch: int = 1
) -> LambdaLR:
    """The learning rate times gamma after each milestone; `Loop.step` advances it.

    Args:
        steps_per_epoch: Steps of one epoch; 1 makes the milestones count steps.
    """
    milestones = sorted(milestone * steps_per_epoch for milestone in settings.milestones)
    gamma = float(settings.gamma)

    def factor(step: int) -> float:
        """Closed form, so that a resumed run has the same rate to the last bit."""
        return float(gamma ** sum(milestone <= step for milestone in milestones))

    return LambdaLR(optimizer, factor)
