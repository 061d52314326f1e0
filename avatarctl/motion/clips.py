"""The embedded open motion clips."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from avatarctl.body import BodyModel
from avatarctl.motion import bvh
from avatarctl.motion.motion import Motion
from avatarctl.motion.retarget import retarget
from avatarctl.motion.rigs import find_rig

LISTED = "avatarctl inspect clips lists the embedded clips"


@dataclass(frozen=True)
class Clip:
    """One embedded clip: its file, what is done in it, and the take it was cut from."""

    name: str
    path: Path
    action: str
    take: str
    reference_is_first: bool
    seconds: float

    def motion(self, body: BodyModel | None = None) -> Motion:
        """The clip on the skeleton of a body of mean shape; the open one when left out."""
        source = bvh.read(self.path)
        rig = find_rig(self.path, source)
        return retarget(source, rig, reference_is_first=self.reference_is_first, body=body)


@cache
def clips() -> dict[str, Clip]:
    """The embedded clips by name."""
    folder = Path(str(resources.files("avatarctl") / "_data" / "motion"))
    listed = json.loads((folder / "index.json").read_text(encoding="utf-8"))["clips"]
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
