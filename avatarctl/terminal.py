"""The two consoles, the log lines on stderr, and progress with and without a terminal."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
LINE_SECONDS = 10.0
"""Time between two progress lines where there is no terminal."""

log = logging.getLogger(__name__)
_consoles: dict[str, Console] = {}
_levels = {"console": logging.INFO}


def out() -> Console:
    """Results: stdout."""
    return _console("out")


def err() -> Console:
    """Everything else: stderr."""
    return _console("err")


def _console(name: str) -> Console:
    if name not in _consoles:
        _consoles[name] = _pipe_class()(stderr=name == "err", highlight=False, soft_wrap=False)
    return _consoles[name]


@cache
def _pipe_class() -> type[Console]:
    # rich is a quarter of what a listing page costs: whoever prints plain lines does without it.
    from rich.console import Console

    class Pipe(Console):
        """A console whose reader may go away (`| head`): the work goes on, the words go nowhere."""

        def on_broken_pipe(self) -> None:
            """Send what is still written to the null device."""
            _nobody_reads(self.file.fileno())

    return Pipe


def _nobody_reads(descriptor: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def line(*parts: tuple[str, str]) -> None:
    """One line on stdout, as it is.

    Args:
        parts: Words and their style; into a pipe or file they go without it, and without loading rich.
    """
    if not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")):
        try:
            sys.stdout.write("".join(words for words, _ in parts) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _nobody_reads(sys.stdout.fileno())
        return
    from rich.text import Text

    out().print(Text.assemble(*parts), soft_wrap=True)


def columns() -> int:
    """Width of stdout in characters: COLUMNS, the terminal's, or 80."""
    return shutil.get_terminal_size().columns


class ConsoleLog(logging.Handler):
    """Log records as lines on stderr; other packages are heard from warnings on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; details of an exception belong to log.txt, or to -v."""
        if record.levelno < _levels["console"]:
            return
        if record.levelno < logging.WARNING and not record.name.startswith("avatarctl"):
            return
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[0] and _levels["console"] <= logging.DEBUG:
                message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
            style = {logging.DEBUG: "dim", logging.WARNING: "yellow"}.get(record.levelno, "")
            if record.levelno >= logging.ERROR:
                style = "red"
            err().print(message, style=style or None, markup=False, highlight=False, soft_wrap=True)
        except Exception:
            self.handleError(record)


_handler = ConsoleLog()


def setup(quiet: bool = False, verbose: int = 0, package: str = "avatarctl") -> None:
    """New consoles for the present stdout and stderr, and the log lines that the user wants to see.

    Args:
        quiet: Warnings only.
        verbose: From 1 on, debug lines too.
        package: The plugin that runs, whose log lines are seen as the core's are.
    """
    _consoles.clear()
    _levels["console"] = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    for name in ("avatarctl", package):
        logging.getLogger(name).setLevel(min(_levels["console"], logging.INFO))


def progress(iterable: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar on a terminal and a line every ten seconds elsewhere.

    Args:
        what: The work, for the bar's label.
        total: Number of items; left out: the length of `iterable`, where it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if _levels["console"] > logging.INFO:
        yield from iterable
    elif err().is_terminal:
        yield from _bar(iterable, what, total)
    else:
        yield from _lines(iterable, what, total)


def _bar(iterable: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as bar:
        yield from bar.track(iterable, total=total, description=what)


def _lines(iterable: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    begun = line = time.monotonic()
    for count, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - line >= LINE_SECONDS:
            line = now
            rate = count / (now - begun)
            left = f"/{total}" if total else ""
            eta = f"  eta {duration((total - count) / rate)}" if total else ""
            log.info("%s %d%s  %.3g it/s%s", what, count, left, rate, eta)


def duration(seconds: float) -> str:
    """Seconds as 3m04s or 2h05m."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"


def is_first_process() -> bool:
    """Whether this is the process that talks to the user: rank 0 under torchrun, or the only one."""
    return os.environ.get("RANK", "0") in ("", "0")


def is_verbose() -> bool:
    """Whether debug lines and tracebacks are wanted on the console."""
    return _levels["console"] <= logging.DEBUG
