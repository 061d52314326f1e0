"""What `avatarctl inspect` says of EgoBody's files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from avatarctl_ego_hmr.bodies import FEMALE, MALE
from avatarctl_ego_hmr.egobody.annotations import FOLDERS, annotations_in


def annotation(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about an annotation file, and the commands that take its data set.

    Raises:
        DataError: It is broken.
    """
    found = annotations_in(path, str(path))
    recordings = {found.recording(index) for index in range(len(found))}
    genders = ((MALE, "male"), (FEMALE, "female"))
    seen = (found.keypoints[..., 2] > 0).sum(axis=1)
    facts = {
        "people": f"{len(found):,}, one a picture",
        "recordings": f"{len(recordings)}: {_listed(sorted(recordings))}",
        "bodies": ", ".join(f"{int((found.gender == number).sum()):,} {word}" for number, word in genders),
        "keypoints": f"{seen.mean():.1f} of {found.keypoints.shape[1]} detected on average",
    }
    return facts, _commands(path)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _commands(path: Path) -> list[str]:
    """The commands for the folder of the data set, where the file lies in one."""
    folder = path.absolute().parent
    if folder.name not in FOLDERS:
        return []
    place = shlex.quote(str(path.parent.parent if len(path.parts) > 2 else folder.parent))
    data = [f"avatarctl {verb} ego-hmr --data {place}" for verb in ("infer", "eval")]
    stages = [f"avatarctl train ego-hmr --stage {stage} --data {place}" for stage in ("scene", "diffusion")]
    return [f"avatarctl prepare egobody {place}", *stages, *data]
