"""A plugin in one file for the tests of the command line: `--plugin sample.py`."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from avatarctl import errors
from avatarctl.api import Stage, Target, hookimpl
from avatarctl.config import Argument, Group, StageSettings, WeightsPath


class Pace(Group):
    """How fast."""

    rate: Annotated[float, Field(gt=0)] = 1.0
    """Steps a second."""
    marks: list[int] = Field(default_factory=lambda: [1, 2])
    """Steps that are noted."""


class Echo(StageSettings):
    """Says back what it was given."""

    source: Argument[Path]
    """What to read."""
    part: Literal["upper", "lower", "no"] = "upper"
    """Body half."""
    batch_size: Annotated[int, Field(gt=0)] = 4
    """Items at once."""
    weights: WeightsPath = "latest"
    """Trained weights."""
    to: list[str] = Field(default_factory=lambda: ["glb"])
    """Formats."""
    video: bool = False
    """Also make a film."""
    limit: int | None = None
    """Only so many."""
    fail: str = ""
    """Name of an error to raise."""
    pace: Pace = Pace(rate=2.0)
    """Speed."""


class First(StageSettings):
    """The first step of the chain."""

    size: int = 1
    """How large."""


class Second(StageSettings):
    """The second step of the chain."""

    width: int = 1
    """How wide."""
    size: int = 2
    """How large."""


def echo(settings: Echo, run: Any) -> None:
    """Save what was given, or fail as asked."""
    if settings.fail in vars(errors):
        raise vars(errors)[settings.fail]("asked to fail", hint="do not ask")
    if settings.fail == "open":
        settings.source.open("w").close()
    if settings.fail == "socket":
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    if settings.fail:
        raise ValueError(settings.fail)
    run.save("said.txt", str(settings.source))
    run.report(rate=settings.pace.rate)


def step(settings: Any, run: Any) -> None:
    """Report a size."""
    run.report(size=settings.size)


@hookimpl
def avatarctl_targets() -> list[Target]:
    """One target with an argument, one with stages."""
    stages = (
        Stage(name="first", summary="the first step", run="sample:step", settings="sample:First"),
        Stage(name="second", summary="the second step", run="sample:step", settings="sample:Second"),
    )
    return [
        Target(
            verb="infer",
            name="echo",
            summary="says back what it was given",
            run="sample:echo",
            settings="sample:Echo",
            examples=("avatarctl infer echo a.txt --part lower",),
        ),
        Target(verb="train", name="chain", summary="two steps", stages=stages, aliases=("link",)),
        Target(
            verb="infer",
            name="gone",
            summary="its code is missing",
            run="sample:gone",
            settings="sample:First",
        ),
    ]
