"""What `avatarctl inspect` says of a prepared recording."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from PIL import Image

from avatarctl.errors import DataError
from avatarctl_video_avatar import synthetic
from avatarctl_video_avatar.prepared import HINT, MARK, SUBJECT, Prepared

BODIES = {"smpl": "SMPL", "open": "open body"}
VERBS = ("train", "infer", "eval", "export")


def recording(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a prepared recording, and the commands that take it.

    Raises:
        DataError: A file is missing or broken.
    """
    data = Prepared(folder)
    pictures = {view: _names(folder / view / "images") for view in data.views}
    own, size = (folder / SUBJECT).is_file(), len(data.volume.grid)
    facts: dict[str, Any] = {
        "subject": data.name,
        "data set": data.about.dataset if own else f"no {SUBJECT} says it; taken as {data.about.dataset}",
        "bodies": f"{BODIES[data.kind]}, {len(data.canonical[1])} vertices",
        "frames": _span(sorted(data.bodies)),
        "cameras": f"{len(pictures)}: {', '.join(pictures)}" if pictures else "none",
        "pictures": _counts([len(names) for names in pictures.values()]),
        "size": _sizes(folder, pictures),
        "base shape": f"{size} x {size} x {size} signed distances, "
        f"{data.volume.bbmin:.3f} to {data.volume.bbmax:.3f} m",
        **_splits(folder),
    }
    if normals := _names(folder / "normals"):
        facts["normals"] = f"{len(normals)} pictures"
    if missing := _missing(data, pictures):
        facts["missing"] = "; ".join(missing)
    place = shlex.quote(str(folder))
    return facts, [f"avatarctl {verb} video-avatar --data {place}" for verb in VERBS]


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.png"))


def _span(names: list[str]) -> str:
    return f"{len(names)}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")


def _counts(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{high} of each camera" if low == high else f"{low} to {high} of a camera"


def _sizes(folder: Path, pictures: dict[str, list[str]]) -> str:
    """Columns and rows of the first picture of each camera."""
    views: dict[str, list[str]] = {}
    for view, names in pictures.items():
        if names:
            views.setdefault(_size(folder / view / "images" / f"{names[0]}.png"), []).append(view)
    if len(views) < 2:
        return next(iter(views), "-")
    return ", ".join(f"{size} (camera {', '.join(there)})" for size, there in views.items())


def _size(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            return f"{picture.width} x {picture.height} pixels"
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: not a readable picture ({error})", hint=HINT) from error


def _splits(folder: Path) -> dict[str, str]:
    """Views and frames of the splits of a made-up recording."""
    split = synthetic.marked(folder).get("split") if (folder / MARK).is_file() else None
    rows = synthetic.rows_of(split) if split else []
    return {f"split {row['split']}": f"views {row['views']}, frames {row['frames']}" for row in rows}


def _missing(data: Prepared, pictures: dict[str, list[str]]) -> list[str]:
    """What pictures lack beside them, by camera and kind."""
    lines = []
    for view, names in pictures.items():
        beside = {
            "mask": _names(data.folder / view / "masks"),
            "camera": data.cameras(view),
            "body": data.bodies,
        }
        for what, there in beside.items():
            if lacking := [name for name in names if name not in there]:
                more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                lines.append(f"{what} of camera {view}, {lacking[0]}{more}")
    return lines
