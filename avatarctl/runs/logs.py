"""log.txt: everything the console got, and debug lines; a full disk never takes the run down."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avatarctl.files import write_failure
from avatarctl.runs.folder import LOG

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class FileLog(logging.FileHandler):
    """A file handler that gives up silently; the failure shows where results are written."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""


def _is_ours(record: logging.LogRecord) -> bool:
    """Other packages' chatter stays out."""
    return record.levelno >= logging.WARNING or record.name.startswith("avatarctl")


def _ours() -> list[logging.Logger]:
    """The loggers of the core and of the plugins that speak, whose levels those below them follow."""
    known = {
        "avatarctl",
        *(name for name in logging.root.manager.loggerDict if name.startswith("avatarctl_")),
    }
    return [logging.getLogger(name) for name in sorted(known) if "." not in name]


@contextmanager
def logged(folder: Path) -> Iterator[FileLog]:
    """Copy log records to the folder's log.txt until the block ends."""
    try:
        handler = FileLog(folder / LOG, encoding="utf-8")
    except OSError as error:
        raise write_failure(folder / LOG, error) from error
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.setLevel(logging.DEBUG)
    handler.addFilter(_is_ours)
    root, before = logging.getLogger(), {logger: logger.level for logger in _ours()}
    for logger in before:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for logger, level in before.items():
            logger.setLevel(level)
        handler.close()
