"""From the words for a motion to the motion: a file, a run that made one, or an embedded clip by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import LISTED, clips
from avatarctl.plugin.registry import did_you_mean
from avatarctl.runs.index import find as find_run

OF_RUN = "motion.npz"


def read_motion(words: str) -> Motion:
    """The motion of a file, of a run, or of an embedded clip by its name.

    Raises:
        DataError: It is none of them.
    """
    path = motion_file(words)
    return clips()[words].motion() if path is None else Motion.read(path)


def motion_file(words: str, also: Sequence[str] = ()) -> Path | None:
    """The file that a motion's name means; None for a clip.

    Args:
        also: Other kinds of files that the caller takes, for the message.

    Raises:
        DataError: It is no file, no run with a motion, and no clip.
    """
    given = words
    if words.startswith("run:"):
        words = str(find_run(words))
    path = Path(words).expanduser()
    if words in clips() and not path.is_file():
        return None
    if path.is_dir():
        if not (path / OF_RUN).is_file():
            there = ", ".join(sorted(one.name for one in path.iterdir())[:6]) or "nothing"
            raise DataError(
                f"{path}: no {OF_RUN} in it; there is {there}",
                hint="name a motion file, or a run that made one",
            )
        return path / OF_RUN
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
