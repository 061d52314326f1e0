"""Training, borrowed by each stage's own loop: steps, checkpoints, resume, optimisers, averaged weights."""

from avatarctl.engine.ema import Ema
from avatarctl.engine.loop import Loop
from avatarctl.engine.modes import evaluating
from avatarctl.engine.optim import make_optimizer, make_schedule
from avatarctl.engine.state import State

__all__ = ["Ema", "Loop", "State", "evaluating", "make_optimizer", "make_schedule"]
