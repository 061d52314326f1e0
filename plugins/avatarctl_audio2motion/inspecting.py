"""What `avatarctl inspect` says of a person's recorded conversations, and of generated motion."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from avatarctl.checkpoints.arrays import npy_header, read_npy
from avatarctl.errors import DataError
from avatarctl_audio2motion.conversations.dataset import FPS
from avatarctl_audio2motion.conversations.prepare import Outcome, Summary, split_scenes
from avatarctl_audio2motion.conversations.scenes import SceneFiles, find_scenes, person_of
from avatarctl_audio2motion.conversations.stats import FILE
from avatarctl_audio2motion.generated import FPS as GENERATED_FPS
from avatarctl_audio2motion.generated import WIDTHS, Generated
from avatarctl_audio2motion.settings_prepare import PrepareConversations


def recordings(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a person's folder, and the command that prepares it.

    Of motion only the length is read, and sound not at all: `prepare conversations` looks at everything.

    Raises:
        DataError: There is no scene in the folder, or a file is broken.
    """
    outcomes, missing = [], [] if (folder / FILE).is_file() else [FILE]
    for scene in find_scenes(folder):
        lacking = [path.name for path in scene.paths if not path.is_file()]
        outcomes.append(_outcome(scene, is_whole=not lacking))
        missing += lacking
    person = person_of(folder)
    frames = sum(int(one["frames"]) for one in outcomes)
    unseen = sum(int(one["missing"]) for one in outcomes)
    facts: dict[str, Any] = {
        "person": person,
        "scenes": len(outcomes),
        "length": f"{frames / FPS:,.1f} s, {frames:,} frames at {FPS} a second",
        "face": f"seen in {100 * (1 - unseen / max(frames, 1)):.1f} % of the frames",
    }
    if names := [str(one["scene"]) for one in outcomes if one["status"] == "face never seen"]:
        facts["face never seen"] = names
    try:
        split_scenes(outcomes, PrepareConversations(folder=folder), person)
        for row in Summary(outcomes).rows():
            facts[f"split {row['split']}"] = f"{int(row['frames']) / FPS:,.1f} s; scenes: {row['scenes']}"
    except DataError as error:
        facts["splits"] = error.message
    if missing:
        facts["missing"] = missing
    return facts, [f"avatarctl prepare conversations {shlex.quote(str(folder))}"]


def _outcome(scene: SceneFiles, *, is_whole: bool) -> Outcome:
    """A scene's line in the table of a preparation, from the lengths of its files."""
    body, missing = scene.paths[1], scene.paths[3]
    try:
        with body.open("rb") as file:
            shape, _ = npy_header(file)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{body}: not a readable .npy: {error}", hint="copy or download the scene again"
        ) from error
    frames = shape[0] if shape else 0
    unseen = min(read_npy(missing, "numbers of frames").size, frames) if missing.is_file() else 0
    status = "bad" if not is_whole else "face never seen" if unseen == frames else "ok"
    return {
        "scene": scene.name, "split": "", "status": status, "frames": frames, "missing": unseen, "note": "",
    }  # fmt: skip


def generated(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a generated.npz, and the command that takes it.

    Raises:
        DataError: It is broken.
    """
    made = Generated.read(path)
    facts: dict[str, Any] = {
        "person": made.about.get("person", "not stated"),
        "results": len(made),
        "seconds": round(made.frames / GENERATED_FPS, 2),
        "holds": [name for name in WIDTHS if getattr(made, name) is not None],
    }
    if made.body is None:
        return facts, []  # a motion needs body poses
    return facts, [f"avatarctl export audio2motion {shlex.quote(str(path))}"]
