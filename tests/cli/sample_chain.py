"""A plugin in one file for the tests of chains: two trainings, and a target that also runs alone."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from avatarctl.api import Link, Stage, Target, hookimpl
from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.errors import DataError


class Pace(Group):
    """How fast."""

    rate: Annotated[float, Field(gt=0)] = 1.0
    """Steps a second."""
    marks: list[int] = Field(default_factory=lambda: [1, 2])
    """Steps that are noted."""


class First(StageSettings):
    """The first step of the chain."""

    size: int = 1
    """How large."""


class Second(StageSettings):
    """The second step of the chain."""

    variants: ClassVar = {"mood": {"fast": {"size": 5, "pace": {"rate": 9.0}}}}
    width: int = 1
    """How wide."""
    size: int = 2
    """How large."""
    mood: str = "slow"
    """How it is done."""
    earlier: WeightsPath = "latest"
    """What the first step made."""
    pace: Pace = Pace(rate=2.0)
    """Speed."""


def step(settings: Any, run: Any) -> None:
    """Report a size."""
    if settings.size == 0:
        raise DataError("nothing has this size")
    run.report(size=settings.size)


@hookimpl
def avatarctl_targets() -> list[Target]:
    """A chain, and a target with a run function and a stage."""
    code = {"run": "sample_chain:step", "settings": "sample_chain:First"}
    first = Stage(name="first", summary="the first step", **code)
    second = Stage(name="second", summary="the second", run=code["run"], settings="sample_chain:Second")
    return [
        Target(
            verb="train",
            name="chain",
            summary="two steps",
            stages=(first, second),
            chain=(
                Link(name="one", stage="first"),
                Link(name="two", stage="second", options={"mood": "fast"}, inputs={"earlier": "one"}),
            ),
        ),
        Target(verb="eval", name="both", summary="all of it, or a step", stages=(second,), **code),
    ]
