"""Listing pages and failure pages, drawn from plain data."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterable, Mapping

from avatarctl import terminal
from avatarctl.errors import AvatarError
from avatarctl.plugin.registry import Registry, one_line
from avatarctl.plugin.target import ALL, VERBS, Target

NAME = "bold cyan"
WIDEST = 110
"""Pages are no wider than this, however wide the terminal is."""


class Crash(Exception):
    """A run function raised what is no `AvatarError`: a bug of a plugin, told with its name and the log."""

    def __init__(self, about: str, issues: str, log: str) -> None:
        super().__init__(about)
        self.about, self.issues, self.log = about, issues, log


def root(registry: Registry, own: Mapping[str, str]) -> None:
    """Verbs, targets and own commands; nothing to scroll."""
    say("avatarctl: digital humans from one command")
    say("")
    say("usage  avatarctl VERB TARGET [OPTIONS]")
    say("")
    for verb in VERBS:
        rows = [(target.name, target.summary) for _, target in registry.targets(verb)]
        _block(verb, rows)
    say("")
    _block("other", list(own.items()))
    say("")
    say("try    avatarctl demo")
    say("       avatarctl VERB TARGET --help")
    not_loaded(registry)


def verb(name: str, registry: Registry) -> None:
    """One verb's targets with their stages."""
    say(f"{name}: {VERBS[name]}")
    say("")
    say(f"usage  avatarctl {name} TARGET [OPTIONS]")
    say("")
    targets = registry.targets(name)
    for _, target in targets:
        rows([(target.name, target.summary)])
        rows([(f"--stage {stage}", summary) for stage, summary in stage_rows(target)], indent=2)
    if not targets:
        say("no plugin has a target for it")
    say("")
    say(f"try    avatarctl {name} {targets[0][1].name if targets else 'TARGET'} --help")
    not_loaded(registry)


def stage_rows(target: Target) -> list[tuple[str, str]]:
    """The stages of a target, and its chain."""
    found = [(stage.name, stage.summary) for stage in target.stages]
    if target.chain:
        found.append((ALL, f"one after the other: {', '.join(link.name for link in target.chain)}"))
    return found


def not_loaded(registry: Registry) -> None:
    """One yellow line when something of a plugin did not load."""
    broken = [plugin.name for plugin in registry.broken()]
    if broken:
        line = f"not loaded: {', '.join(broken)} (avatarctl plugins says why)"
        terminal.err().print(line, style="yellow", markup=False, soft_wrap=True)


def say(line: str, style: str = "") -> None:
    """One line on stdout, as it is."""
    terminal.line((line, style))


def _block(head: str, items: list[tuple[str, str]]) -> None:
    """Lines `head  name  summary`, the head on the first one, each cut to the width."""
    for index, (name, summary) in enumerate(items):
        left = width() - 9 - max(16, len(name)) - 1
        summary = summary if len(summary) <= left else summary[: max(left - 1, 0)] + "…"
        terminal.line((f"{head if index == 0 else '':9}", ""), (f"{name:16} ", NAME), (summary, ""))


def rows(items: Iterable[tuple[str, str]], indent: int = 0) -> None:
    """Lines `name  summary`; a summary that is too long goes on under itself."""
    items = list(items)
    column = max((len(name) for name, _ in items), default=0)
    column = indent + max(column, 18 - indent) + 2
    for name, summary in items:
        lines = wrapped(summary, width() - column)
        gap = " " * (column - indent - len(name))
        terminal.line((" " * indent, ""), (name, NAME), (gap + lines[0], ""))
        for more in lines[1:]:
            say(" " * column + more)


def wrapped(text: str, columns: int) -> list[str]:
    """The lines of a text at a width; at least one."""
    import textwrap

    return textwrap.wrap(text, max(columns, 8), break_long_words=False, break_on_hyphens=False) or [""]


def width() -> int:
    """Columns of a page."""
    return min(terminal.columns(), WIDEST)


def failure(error: AvatarError, *, with_trace: bool = False) -> None:
    """What was found, and what to type next; on stderr.

    Args:
        with_trace: With -v, also where it was found.
    """
    is_stop = error.exit_code in (75, 130)
    message = str(error.message).removeprefix("stopped ") if is_stop else str(error.message)
    _labelled("stopped" if is_stop else "error", "yellow" if is_stop else "bold red", message)
    if error.hint:
        _labelled("resume" if is_stop else "try", "bold", error.hint)
    if with_trace:
        _trace(error)


def bug(error: Exception) -> int:
    """The page of a failure that no user caused; returns its exit code."""
    cause = error.__cause__ if isinstance(error, Crash) and error.__cause__ is not None else error
    line = one_line(cause)
    if isinstance(error, Crash):
        message = (
            f"{error.about} failed: {line}\nthis is a bug of the plugin; the traceback is in {error.log}"
        )
        hint = f"report it with that file: {error.issues}" if error.issues else "report it with that file"
    else:
        message = (
            f"avatarctl failed: {line}\nthis is a bug of avatarctl; the traceback is in {_trace_file(error)}"
        )
        hint = "report it with that file"
    failure(AvatarError(message, hint=hint))
    _trace(cause)
    return 1


def _trace(error: BaseException) -> None:
    """The traceback, where -v asks for it."""
    if terminal.is_verbose():
        trace = "".join(traceback.format_exception(error))
        terminal.err().print(trace, markup=False, soft_wrap=True)


def _trace_file(error: Exception) -> str:
    """A new file with the traceback, for failures outside a run."""
    handle, path = tempfile.mkstemp(prefix="avatarctl-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    return path


def _labelled(label: str, style: str, text: str) -> None:
    from rich.text import Text

    for index, line in enumerate(text.splitlines() or [""]):
        head = f"{label if index == 0 else '':{max(7, len(label) + 2)}}"
        terminal.err().print(Text.assemble((head, style), line), soft_wrap=True)
