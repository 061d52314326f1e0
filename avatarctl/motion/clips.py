"""The embedded open motion clips."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One embedded clip: its file, what is done in it, and the take it was cut from."""

    name: str
    path: Path
    action: str
    take: str
    reference_is_first: bool
    seconds: float


@cache
def clips() -> dict[str, Clip]:
    """The embedded clips by name."""
    folder = Path(str(resources.files("avatarctl") / "_data" / "motion"))
    listed = json.loads((folder / "index.json").read_text())["clips"]
    found = [
        Clip(
            name=entry["clip"].removesuffix(".bvh.gz"),
            path=folder / entry["clip"],
            action=entry["action"],
            take=f"{entry['upstream']}/{entry['upstream_file']}",
            reference_is_first=entry["reference"] == "first_frame",
            seconds=entry["seconds"],
        )
        for entry in listed
    ]
    return {clip.name: clip for clip in sorted(found, key=lambda clip: clip.name)}
