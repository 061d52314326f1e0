"""Groups that many stages share: the loop's length and checkpoints, optimisers, learning-rate steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from avatarctl.config.settings import Group

Count = Annotated[int, Field(ge=0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Loop(Group):
    """How long a training runs, and what it writes on the way."""

    steps: Count = 0
    """Steps; 0 takes as many as the stage's epochs make."""
    log_every: Annotated[int, Field(gt=0)] = 100
    """Steps between two lines of metrics.jsonl, each the mean since the last."""
    validate_every: Count = 2000
    """Steps between validations; 0 validates at the end only."""
    save_every: Count = 2000
    """Steps between checkpoints; 0 saves at the end, at a new best, and when stopped."""
    keep: Annotated[int, Field(gt=0)] = 3
    """Newest checkpoints that stay."""
    keep_every: Count = 0
    """Steps whose multiples stay too; 0 keeps none of them."""
    ema: Decay = 0.0
    """Decay of the moving average of the weights; 0 keeps no average."""


class Optimizer(Group):
    """AdamW."""

    lr: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the two moment estimates."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient; 0 takes any."""


class Schedule(Group):
    """Learning rate in steps."""

    milestones: list[Count] = Field(default_factory=list)
    """Epochs after which the learning rate is multiplied; none keeps it."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    """Factor at each milestone."""
