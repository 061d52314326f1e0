"""Find runs: by the words a user types, the newest of a kind, all of them, and the chain that led to one."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from avatarctl.errors import AvatarError, DataError, UsageError
from avatarctl.runs import chain as chain_of_trainings
from avatarctl.runs import manifest
from avatarctl.runs.folder import CHECKPOINTS, WEIGHTS, elsewhere, is_run, is_worked_on, kind, root
from avatarctl.runs.manifest import Manifest

log = logging.getLogger(__name__)
Accept = Callable[[Mapping[str, Any]], bool]
"""Whether a run with these settings will do."""


def runs() -> list[tuple[Path, Manifest]]:
    """All runs under the runs folder, and trainings made with --out, that can be read, oldest first."""
    return _read(_folders())


def _read(folders: Iterable[Path]) -> list[tuple[Path, Manifest]]:
    found = []
    for folder in folders:
        try:
            found.append((folder, read(folder)))
        except AvatarError as error:
            log.warning("left out: %s", error.message)
    return sorted(found, key=lambda pair: (pair[1].started, str(pair[0])))


def read(folder: Path) -> Manifest:
    """The manifest of a run; one whose process was killed was interrupted, though nobody could write it."""
    about = manifest.read(folder)
    if about.status == "running" and not is_worked_on(folder):
        about.status, about.error = "interrupted", "its process was killed"
    return about


def _folders() -> Iterator[Path]:
    base = root()
    if base.is_dir():
        for parent in sorted(path for path in base.iterdir() if path.is_dir()):
            yield from _of_kind(parent)


def _of_kind(parent: Path) -> Iterator[Path]:
    for path in [*sorted(parent.iterdir()), *elsewhere(parent)]:
        if chain_of_trainings.is_chain(path):
            yield from chain_of_trainings.read(path).runs()
        elif is_run(path):
            yield path


def find(what: str | Path) -> Path:
    """The run folder meant by "train-sparse-vqvae/003", "run:NAME/N", "last", a kind (its newest), or a path.

    A chain of trainings means the last of its runs.

    Raises:
        DataError: There is no such run.
    """
    words = str(what).removeprefix("run:").rstrip("/")
    if words == "last":
        every = runs()
        if not every:
            raise DataError(f"there is no run in {root()} yet", hint="avatarctl --help lists what can be run")
        return every[-1][0]
    for folder in (root() / words, Path(words)):
        if is_run(folder):
            return folder
        if last := last_of_chain(folder):
            return last
    name, _, number = words.rpartition("/")
    if number.isdecimal() and is_run(folder := root() / name / f"{int(number):03d}"):
        return folder
    if words and (root() / words).is_dir():
        of_kind = _read(_of_kind(root() / words))
        if of_kind:
            return of_kind[-1][0]
    names = [name_of(folder) for folder in _folders()]
    near = get_close_matches(words, names, n=1, cutoff=0.4)
    raise DataError(
        f"there is no run '{words}' in {root()}" + (f", did you mean {near[0]}?" if near else ""),
        hint="avatarctl runs lists them",
    )


def name_of(folder: Path) -> str:
    """What a run is called: its path below the runs folder, the whole path where it is not there."""
    return folder.relative_to(root()).as_posix() if folder.is_relative_to(root()) else str(folder)


def last_of_chain(folder: Path) -> Path | None:
    """The last run of a chain of trainings; none where the folder holds none."""
    runs = chain_of_trainings.read(folder).runs() if chain_of_trainings.is_chain(folder) else []
    return runs[-1] if runs else None


def newest(verb: str, target: str, stage: str = "") -> Path:
    """The newest run of a kind, however it ended.

    Raises:
        UsageError: There is none.
    """
    what = {"verb": verb, "target": target, "stage": stage}
    found = [folder for folder, about in runs() if about.what == what]
    if not found:
        raise UsageError(
            f"there is no run of {kind(verb, target, stage)} in {root()} yet",
            hint="start one first, or name the folder of one: --resume FOLDER",
        )
    return found[-1]


def latest(
    verb: str, target: str, stage: str = "", accept: Accept | None = None, instead: Iterable[str] = ()
) -> Path:
    """The newest finished run of a kind whose settings are accepted.

    Args:
        instead: Names of weights that are there without a run, for the hint.

    Raises:
        DataError: There is none; the message says what was passed over.
    """
    what = {"verb": verb, "target": target, "stage": stage}
    passed: list[str] = []
    for folder, about in reversed(runs()):
        if about.what != what:
            continue
        if about.status != "finished":
            passed.append(f"{folder} ({about.status})")
        elif accept is not None and not accept(about.settings):
            passed.append(f"{folder} (other settings)")
        else:
            return folder
    words = f" --stage {stage}" if stage else ""
    looked = f"; passed over {', '.join(passed[:4])}" if passed else ""
    raise DataError(
        f"latest: there is no finished run of {kind(verb, target, stage)} in {root()}{looked}",
        hint=f"avatarctl {verb} {target}{words}, or name weights: {', '.join([*instead, 'a file'])}",
    )


def weights_file(folder: Path) -> Path:
    """The weights of a run: the final file, else the best, else the last checkpoint, else the exported files.

    The latter are given as the folder itself.

    Raises:
        DataError: The run has none yet.
    """
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    for name in ("best", "last"):
        if checkpoint := pointed(folder, name):
            return checkpoint
    about = manifest.read(folder)
    if any(item.get("kind") == "weights" for item in about.outputs):
        return folder
    if about.status == "failed":
        raise DataError(
            f"{folder}: holds no weights: it is a run of {about.kind} that failed ({about.error})",
            hint="avatarctl runs lists others",
        )
    raise DataError(f"{folder}: holds no weights yet", hint="let the training write a checkpoint first")


def pointed(folder: Path, name: str) -> Path | None:
    """The checkpoint that best.pt or last.pt points to, when both files are there."""
    pointer = folder / CHECKPOINTS / f"{name}.pt"
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))
        checkpoint = folder / CHECKPOINTS / os.path.basename(str(content["file"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{pointer}: found no JSON with 'file' ({error})", hint="delete it") from error
    return checkpoint if checkpoint.is_file() else None


def chain(folder: Path) -> list[tuple[int, str, str]]:
    """The runs and files that led to a run: (depth, path, note), the run itself first."""
    lines: list[tuple[int, str, str]] = []
    outputs = {item.get("hash"): str(made) for made, about in runs() for item in about.outputs}

    def visit(place: Path, depth: int, seen: frozenset[str]) -> None:
        about = read(place)
        lines.append((depth, str(place), f"{about.kind}, {about.status}"))
        for item in about.inputs:
            made = str(item.get("run") or outputs.get(item.get("hash"), ""))
            if made and made not in seen and is_run(Path(made)):
                visit(Path(made), depth + 1, seen | {made})
            else:
                lines.append((depth + 1, str(item["path"]), str(item.get("hash", ""))))

    visit(folder, 0, frozenset({str(folder)}))
    return lines
