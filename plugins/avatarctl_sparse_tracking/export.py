"""The export target: an estimated motion in the formats that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.errors import DataError
from avatarctl.export import formats
from avatarctl.motion import Motion
from avatarctl.runs import folder, manifest

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Export


def run(settings: Export, run: Run) -> None:
    """Write the motion of a run or of a file in each format."""
    declared = run.declared_formats
    formats.check_names(settings.to, declared)
    source = motion_file(settings.source)
    run.input(source, "source")
    motion = Motion.read(source)
    body = run.bodies.load("smplh", "male", settings.body_models)
    for name in dict.fromkeys(settings.to):
        path = run.path(f"{formats.stem(source)}{formats.suffix(name, declared)}")
        formats.write(motion, body, name, path, declared, render=run.render)
        run.output(path, name)
    run.report(
        frames=len(motion), seconds=round(motion.seconds, 3), formats=", ".join(dict.fromkeys(settings.to))
    )


def motion_file(source: Path) -> Path:
    """The motion that a run made, or the file itself.

    Raises:
        DataError: It is a folder that is no run, or a run without a motion.
    """
    if not source.is_dir():
        return source
    outputs = manifest.read(folder.require_run(source)).outputs
    found = [source / str(item["path"]) for item in outputs if item.get("kind") == "motion"]
    found = [path for path in found if path.suffix == ".npz"] or found
    if not found:
        raise DataError(
            f"{source}: this run made no motion",
            hint="name a run of avatarctl infer sparse, or a motion file",
        )
    return found[0]
