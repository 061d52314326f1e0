"""What `avatarctl inspect` says of a collection of photos."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from avatarctl_generative_avatar.photo_files import PhotoFiles, normals_of, pixels

VERBS = ("train", "eval")


def collection(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a zip or a folder of photos, and the commands that take it.

    Raises:
        DataError: It holds no photos, or the first photo or the labels are broken.
    """
    files = PhotoFiles(path)
    names = files.pictures()
    rows, columns = pixels(files.read(names[0]), f"{path}: {names[0]}").shape[:2]
    facts: dict[str, Any] = {
        "photos": len(names),
        "normals": _share(sum(normals_of(name) in files.names for name in names), len(names)),
        "size": f"{columns} x {rows} pixels (the first photo)",
    }
    entries = files.entries()
    facts["labels"] = _share(sum(name in entries for name in names), len(names))
    place = shlex.quote(str(path))
    return facts, [f"avatarctl {verb} generative-avatar --data {place}" for verb in VERBS]


def _share(count: int, whole: int) -> str:
    if count in (0, whole):
        return "of all photos" if count else "none"
    return f"of {count} of {whole} photos"
