"""From the words for a motion to the motion: a file, a run that made one, or an embedded clip by its name."""

from __future__ import annotations

from pathlib import Path

from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.runs.index import find as find_run

OF_RUN = "motion.npz"


def read_motion(words: str) -> Motion:
    """The motion of a file, of a run, or of an embedded clip by its name.

    Raises:
        DataError: It is none of them.
    """
    path = motion_file(words)
    if path is not None:
        return Motion.read(path)
    if words in clips():
        return clips()[words].motion()
    raise DataError(
        f"'{words}' is no motion file, no run and no embedded clip ({', '.join(list(clips())[:4])}, ...)",
        hint="name a .npz, .bvh or .pkl of a motion, or run:NAME/N",
    )


def motion_file(words: str) -> Path | None:
    """The file that a motion's name means; None for a clip.

    Raises:
        DataError: It is the name of a run that is not there or has no motion, or of a missing file.
    """
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
        raise DataError(f"{path}: not found", hint="check the path")
    return None
