"""Run folders: where they lie, how a new one is numbered, and the lock that keeps a second process out."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from avatarctl.errors import DataError, UsageError
from avatarctl.files import write_failure

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
SETTINGS = "settings.yaml"
LOG = "log.txt"
METRICS = "metrics.json"
STEPS = "metrics.jsonl"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
WEIGHTS = "weights.safetensors"
CHAIN = "chain.json"
"""In the folder of a chain of trainings: how it began."""
PAPERS = (MANIFEST, SETTINGS, LOG, LOCK)
"""What every run folder holds, whatever was made in it."""
ELSEWHERE = "elsewhere.txt"
"""Beside the numbered runs of a kind: the folders of trainings that were made with --out, one a line."""


def root() -> Path:
    """The folder that holds all runs: AVATARCTL_RUNS, else ./runs."""
    return Path(os.environ.get("AVATARCTL_RUNS") or "runs")


def kind(verb: str, target: str, stage: str = "") -> str:
    """Folder name of a kind of run: verb-target or verb-target-stage."""
    return "-".join(word for word in (verb, target, stage) if word)


def create(verb: str, target: str, stage: str = "", out: str | Path | None = None) -> Path:
    """A new run folder: `out`, or the first free number of this kind of run.

    It is empty, but for the papers of a run that ended without making anything.

    Raises:
        UsageError: `out` is a folder with something in it.
        DataError: The folder cannot be made.
    """
    if out is not None:
        return _given(out, {"verb": verb, "target": target, "stage": stage})
    parent = root() / kind(verb, target, stage)
    number = 1
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = set(os.listdir(parent))
        while True:
            folder = parent / f"{number:03d}"
            number += 1
            if folder.name in taken:
                continue
            # mkdir fails when another process took the number since, so two runs never share one.
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise write_failure(parent, error) from error


def _given(out: str | Path, what: dict[str, str]) -> Path:
    if not str(out).strip():
        raise UsageError("--out: found an empty name, expected a folder", hint="name one, or leave --out out")
    folder = Path(out)
    if folder.is_dir() and any(name != LOCK for name in os.listdir(folder)) and not _came_to_nothing(folder):
        resume = f", or --resume {folder}" if _can_go_on(folder, what) else ""
        raise UsageError(
            f"--out {folder}: the folder exists and is not empty", hint=f"name another folder{resume}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"--out {folder}: a file of this name exists", hint="name another folder") from error
    except OSError as error:
        raise write_failure(folder, error) from error
    return folder


def _came_to_nothing(folder: Path) -> bool:
    """Whether a folder holds the papers of a run that ended early and made nothing, and nothing else."""
    about, papers = _about(folder), {folder / name for name in PAPERS}
    if about.get("status") not in ("failed", "interrupted", "preempted") or about.get("outputs"):
        return False
    return all(path in papers or (path.is_dir() and not path.is_symlink()) for path in folder.rglob("*"))


def _can_go_on(folder: Path, what: dict[str, str]) -> bool:
    """Whether --resume takes a folder for a run of this kind."""
    if (folder / CHAIN).is_file():
        return what["stage"] == "all"
    about = _about(folder)
    is_whole = about.get("status") == "finished" and not (folder / CHECKPOINTS / "last.pt").is_file()
    return about.get("what") == what and not is_whole


def _about(folder: Path) -> dict[str, Any]:
    """The manifest in a folder as it is; empty where there is none that can be read."""
    try:
        return _parse((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def clear(folder: Path) -> None:
    """Take the papers of a run that came to nothing out of a folder that `create` gave."""
    for name in PAPERS:
        if name != LOCK:
            (folder / name).unlink(missing_ok=True)


def note_elsewhere(folder: Path, verb: str, target: str, stage: str = "") -> None:
    """Write down where a training made with --out is, so that it is found like the numbered ones.

    The training goes on where that is not possible.
    """
    parent, place = root() / kind(verb, target, stage), folder.resolve()
    if place.parent.parent == root().resolve():
        return
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with (parent / ELSEWHERE).open("a", encoding="utf-8") as file:
            file.write(f"{place}\n")
    except OSError as error:
        log.warning(
            "%s: cannot be written (%s): --resume last and latest will not find %s",
            parent / ELSEWHERE,
            error.strerror,
            folder,
        )


def elsewhere(parent: Path) -> list[Path]:
    """The folders of a kind of run that are written down beside its numbered ones, oldest first.

    Raises:
        DataError: The record cannot be read.
    """
    path = parent / ELSEWHERE
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="delete it") from error
    return [Path(line) for line in dict.fromkeys(lines) if line]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run folder until the block ends; the lock of a process that died is taken over.

    Raises:
        UsageError: Another process works in the folder.
        DataError: The folder cannot be written.
    """
    path = folder / LOCK
    _take(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _take(path: Path) -> None:
    try:
        handle = _exclusive(path)
    except OSError as error:
        raise write_failure(path, error) from error
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        owner = _parse(file.read())
        if _is_alive(owner):
            raise UsageError(
                f"{path.parent}: another process works in this run folder "
                f"(process {owner.get('pid')} on {owner.get('host')})",
                hint=f"wait for it, or delete {path} when that process is gone",
            )
        try:
            file.seek(0)
            file.truncate()
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "began": _began(os.getpid())}, file)
            file.flush()
        except OSError as error:
            raise write_failure(path, error) from error


def is_worked_on(folder: Path) -> bool:
    """Whether a process holds the run folder; not after one was killed."""
    try:
        return _is_alive(_parse((folder / LOCK).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def _exclusive(path: Path) -> int:
    """A handle of the lock file that no other process reads or writes until it is closed."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        except (ImportError, OSError):
            return handle
        with suppress(FileNotFoundError):
            # The owner may have deleted the file between the two calls; then what is held here is nobody's.
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)


def _parse(text: str) -> dict[str, Any]:
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_alive(owner: dict[str, Any]) -> bool:
    """Whether the process that wrote a lock may still run; on another machine nobody knows, so yes."""
    pid = owner.get("pid")
    if not isinstance(pid, int):
        return False
    if owner.get("host") != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return owner.get("began") in (None, _began(pid))


def _began(pid: int) -> str | None:
    """When a process began, in clock ticks, so that a reused number is told apart; None where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def is_run(folder: Path) -> bool:
    """Whether a folder is a run folder."""
    return (folder / MANIFEST).is_file() and (folder / SETTINGS).is_file()


def require_run(folder: Path) -> Path:
    """`folder` when it is a run folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder", hint="avatarctl runs lists them")
    if not is_run(folder):
        raise DataError(f"{folder}: is no run folder (no {MANIFEST})", hint="avatarctl runs lists them")
    return folder
