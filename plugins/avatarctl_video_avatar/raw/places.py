"""Where a person's raw folder is, which frames and cameras of it are taken, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.errors import AvatarError, DataError

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import Prepare

SHOWN = 12
"""Most lines of an error message."""
ARAH = ("cam_params.json", "models")
"""What ARAH's scripts write beside the folders of cameras."""
ARAH_HINT = "take the raw data set itself; of ARAH's DATASET.md only the way to the raw data holds here"


class Faults:
    """What is wrong in a raw folder, told together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.missing: dict[Path, list[str]] = {}

    def needs(self, *paths: Path) -> None:
        """Note the files that are not there."""
        for path in paths:
            if not path.is_file():
                self.missing.setdefault(path.parent, []).append(path.name)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a failure, and go on after the block."""
        try:
            yield
        except AvatarError as error:
            self.lines.append(error.message)

    def close(self) -> None:
        """Raise what was noted.

        Raises:
            DataError: Anything was.
        """
        lines = [
            f"{folder / names[0]}: not found"
            + (f" (and {len(names) - 1} more there)" if len(names) > 1 else "")
            for folder, names in self.missing.items()
        ]
        lines += dict.fromkeys(self.lines)
        if lines:
            more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            raise DataError(
                "\n".join(lines[:SHOWN] + more),
                hint=f"complete {self.folder}, or choose with --views, --start, --end what is there",
            )


def find(settings: Prepare, marker: str, below: Sequence[str]) -> Path:
    """A person's raw folder: the one that was named, or one below it.

    Args:
        marker: The file by which it is known.
        below: Places below the named folder where it may be.

    Raises:
        DataError: None has the marker.
    """
    root = settings.raw
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", hint="name the raw folder of the person")
    places = [root, *(root / name for name in below)]
    for place in places:
        if (place / marker).is_file():
            return place
    for place in places:
        if is_arah(place):
            raise DataError(
                f"{place}: is in ARAH's own layout ({ARAH[0]}, {ARAH[1]}/NNNNNN.npz), which is not read; "
                f"expected {marker}",
                hint=ARAH_HINT,
            )
    there = sorted(path.name for path in root.iterdir())
    looked = f"; looked in {', '.join(below)} too" if below else ""
    raise DataError(
        f"{root}: no {marker} in it (there: {', '.join(there[:6]) or 'nothing'}{', ...' * (len(there) > 6)})"
        f"{looked}",
        hint="name one person's folder as it was published, or the folder above it and --subject",
    )


def is_arah(folder: Path) -> bool:
    """Whether a folder is one that ARAH's scripts wrote."""
    models = folder / ARAH[1]
    return (folder / ARAH[0]).is_file() or (models.is_dir() and any(models.glob("[0-9]*.npz")))


def frames(count: int, settings: Prepare, path: Path, *, keeps_last: bool) -> range:
    """The frames that are taken.

    Args:
        count: How many there are.
        path: Where they are listed, for the message.
        keeps_last: An end of -1 takes all of them.

    Raises:
        DataError: They are out of range.
    """
    start, end = settings.start, settings.end
    # parity: -1 leaves out the last frame of some data sets and none of others (spec 3.1, Q1)
    stop = count if keeps_last and end == -1 else end
    if not -count <= stop <= count or start >= count:
        wrong = f"--start {start}" if start >= count else f"--end {end}"
        raise DataError(
            f"{path}: {wrong} is out of range; there are {count} frames", hint=f"frames are 0 to {count - 1}"
        )
    taken = range(count)[start : stop : settings.step]
    if not taken:
        raise DataError(
            f"{path}: no frame of {count} is left from --start {start} to --end {end}",
            hint="an end of -1 leaves out the last frame" if end == -1 else "choose a later --end",
        )
    return taken


def views(settings: Prepare, names: Sequence[str], path: Path) -> list[str]:
    """The cameras that are taken.

    Raises:
        DataError: One of them does not exist.
    """
    wanted = settings.views or list(names)
    strange = [name for name in wanted if name not in names]
    if strange:
        shown = ", ".join(names) if len(names) <= SHOWN else f"{names[0]} to {names[-1]}"
        raise DataError(
            f"{path}: no camera '{strange[0]}'; there are {shown or 'none'}",
            hint="--views takes one of them, and can be repeated",
        )
    return list(dict.fromkeys(wanted))
