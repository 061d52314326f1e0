"""From the words for a motion to the motion: a file, a run that made one, or an embedded clip by its name."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import LISTED, clips
from avatarctl.plugin.registry import did_you_mean
from avatarctl.runs import manifest
from avatarctl.runs.folder import is_run
from avatarctl.runs.index import find as find_run

OF_RUN = "motion.npz"
SUFFIXES = (".npz", ".bvh", ".pkl")
KINDS = ("motion", "npz", "bvh", "pkl")
"""Kinds of outputs that are motions: those of export are called after their format."""


def read_motion(words: str) -> Motion:
    """The motion of a file, of a run, or of an embedded clip by its name.

    Raises:
        DataError: It is none of them.
    """
    path = motion_file(words)
    return clips()[words].motion() if path is None else Motion.read(path)


def motion_file(words: str, also: Sequence[str] = (), kinds: Collection[str] = KINDS) -> Path | None:
    """The file that a motion's name means; None for a clip. Of a folder it is motion.npz, or its only motion.

    Args:
        also: Other kinds of files that the caller takes, for the message.
        kinds: Kinds of a run's outputs that the caller takes.

    Raises:
        DataError: It is no file, no run with one motion, and no clip.
    """
    given = words
    if words.startswith("run:"):
        words = str(find_run(words))
    path = Path(words).expanduser()
    if words in clips() and not path.is_file():
        return None
    if path.is_dir():
        return _of_folder(path, kinds)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        expected = ", a ".join([*also, "motion file"])
        raise DataError(
            f"{path}: not found; expected a {expected}, run:NAME/N or an embedded clip", hint="check the path"
        )
    kinds = ", no ".join([*also, "motion file", "run"])
    raise DataError(
        f"'{given}' is no {kinds} and no embedded clip{did_you_mean(words, clips())}",
        hint=f"{LISTED}; or name a file (.npz, .bvh, .pkl), or run:NAME/N",
    )


def _of_folder(path: Path, kinds: Collection[str]) -> Path:
    """The motion in a folder: motion.npz, else the only one of these kinds that the run made, or there is."""
    if (path / OF_RUN).is_file():
        return path / OF_RUN
    if is_run(path):
        outputs = manifest.read(path).outputs
        found = [path / str(item["path"]) for item in outputs if item.get("kind") in kinds]
    else:
        found = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(one.name for one in path.iterdir())[:6]) or "nothing"
    hint = (
        f"name one: {shlex.join(map(str, found[:3]))}"
        if found
        else "name a motion file, or a run that made one"
    )
    raise DataError(f"{path}: no {OF_RUN} in it; there is {there}", hint=hint)
