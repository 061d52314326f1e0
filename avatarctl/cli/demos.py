"""`avatarctl demo all`: every installed demo in a process of its own, and one page for all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pydantic import Field

from avatarctl.config import StageSettings
from avatarctl.errors import AvatarError, SettingsError
from avatarctl.plugin.registry import Registry

if TYPE_CHECKING:
    from avatarctl.runs.run import Run

NAME = "all"
REPORT = "report.html"
LEAD = "What each installed system makes of open data, on this machine, without any download."


class DemoAll(StageSettings):
    """All demos, one after the other, and one report."""

    only: list[str] = Field(default_factory=list)
    """Demos to show; left out: all that are installed."""


def run(settings: DemoAll, run: Run) -> None:
    """Run the demos; those after one that fails are run too.

    Raises:
        SettingsError: A demo that was asked for is not installed.
        AvatarError: One failed; the page has the others.
    """
    from avatarctl.runs.page import Page

    names = chosen(settings.only)
    rows: list[dict[str, object]] = []
    failed, total = [], 0.0
    page = Page("avatarctl demo all", LEAD)
    for number, (name, summary) in enumerate(names.items(), start=1):
        run.log.info("demo %d of %d: %s", number, len(names), name)
        begun = time.perf_counter()
        code = subprocess.run(command(name, run), stdout=subprocess.DEVNULL, check=False).returncode
        took = round(time.perf_counter() - begun, 1)
        total += took
        rows.append({"demo": name, "seconds": took, "result": "failed" if code else str(run.path(name))})
        page.section(name, summary)
        if code:
            failed.append(name)
            page.text(f"It failed; its log is {run.path(name) / 'log.txt'}.")
            continue
        page.include(run.path(name) / REPORT, f"{name}, {took:.0f} s")
        run.output(run.path(name) / REPORT, "report")
    page.provenance(run)
    run.save(REPORT, page)
    run.report(rows, seconds=round(total, 1))
    if failed:
        raise AvatarError(
            f"{', '.join(failed)}: failed; {run.path(REPORT)} has the others",
            hint=f"avatarctl demo {failed[0]}",
        )


def chosen(only: list[str]) -> dict[str, str]:
    """Names and summaries of the demos.

    Raises:
        SettingsError: One that was asked for is not installed.
    """
    found = {target.name: target.summary for _, target in Registry.load([]).targets("demo")}
    found.pop(NAME, None)
    if unknown := [name for name in only if name not in found]:
        raise SettingsError(
            f"only: no demo '{unknown[0]}'; there is {', '.join(found)}", hint="avatarctl demo --help"
        )
    return {name: summary for name, summary in found.items() if not only or name in only}


def command(name: str, run: Run) -> list[str]:
    """The command line of a demo, into a folder inside the run's."""
    options: dict[str, Any] = {"--out": run.path(name), "--seed": run.seed, "--device": run.device}
    quiet = ["--quiet"] if run.quiet else []
    words = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "avatarctl", "demo", name, *words, *quiet]
