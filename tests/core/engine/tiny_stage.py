"""A small stage with everything that a checkpoint must carry; the tests run it whole, stop it and kill it.

Dropout draws from torch's own stream, batches and jitter from named ones; weights are averaged, the rate has
milestones, and batch norm has buffers. Each finished step is one line on stdout.
"""

import json
import os
import sys
import time
from types import SimpleNamespace

import torch
from torch import nn

from avatarctl.engine import Loop, State, make_optimizer, make_schedule
from avatarctl.errors import AvatarError
from avatarctl.runs import open_run, resume_point

DEFAULTS = {
    "steps": 24, "log_every": 1, "validate_every": 4, "save_every": 3, "keep": 2, "keep_every": 0, "ema": 0.9,
    "lr": 0.01, "width": 16, "is_random": True, "nan_at": 0,
}  # fmt: skip


def network(width: int, is_random: bool) -> nn.Module:
    """Two layers, with dropout and batch norm between them where draws are wanted."""
    between = [nn.BatchNorm1d(width), nn.Dropout(0.3)] if is_random else [nn.ReLU()]
    return nn.Sequential(nn.Linear(6, width), *between, nn.Linear(width, 2))


def target(x):
    """What the network learns [B, 2]."""
    return torch.stack([x.sum(-1).sin(), x[:, 0] * x[:, 1]], -1)


def train(settings, run, after_step=lambda loop: None):
    """The stage's own loop."""
    model = network(settings.width, settings.is_random)
    optim = SimpleNamespace(lr=settings.lr, betas=(0.9, 0.99), weight_decay=0.01, clip=1.0)
    optimizer = make_optimizer(model.parameters(), optim)
    schedule = make_schedule(optimizer, SimpleNamespace(milestones=[8, 16], gamma=0.5))
    state = State(model=model, optimizer=optimizer, schedule=schedule)
    batches, jitter = run.noise("batches"), run.noise("jitter", per_rank=True)
    with Loop(run, settings, state, config={"width": settings.width}) as loop:
        first = loop.parallel(model[0])  # one layer by torch's DDP, the others by the loop's own averaging
        for x in loop.over(lambda step: batches.normal((16, 6))):
            model.train()
            wanted = target(x)
            if settings.is_random:
                x = x + 0.01 * jitter.normal(x.shape)
            loss = (model[1:](first(x)) - wanted).square().mean()
            if settings.nan_at == loop.step_number + 1:
                loss = loss * float("nan")
            loop.step({"total": loss})
            if loop.due("validate"):
                loop.validated({"error": validation(loop.averaged())}, best="error")
            after_step(loop)
    return model


@torch.no_grad()
def validation(model):
    """The error on inputs that never change."""
    model.eval()
    x = torch.linspace(-1, 1, 60).reshape(10, 6)
    return (model(x) - target(x)).square().mean()


def whole_run(resume=None, after_step=lambda loop: None, **changes):
    """Run, or go on with, the stage in the runs folder."""
    settings = (resume_point(resume, "train", "tiny").settings if resume else DEFAULTS) | changes
    with open_run(
        verb="train", target="tiny", settings=settings, resume=resume, device="cpu", seed=3, quiet=True
    ) as run:
        train(SimpleNamespace(**settings), run, after_step)


def main():
    """The same from the command line: settings as JSON, then the run to go on with."""

    def after_step(loop):
        print(loop.step_number, flush=True)
        time.sleep(float(os.environ.get("TINY_PAUSE", 0)))

    torch.set_num_threads(1)
    changes, *resume = sys.argv[1:]
    try:
        whole_run(resume[0] if resume else None, after_step, **json.loads(changes))
    except AvatarError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
