"""The core's own targets, through the same hooks as any plugin's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.api import Target, hookimpl

if TYPE_CHECKING:
    from avatarctl.export.settings import ExportMotion
    from avatarctl.runs import Run


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="export",
        name="motion",
        summary="a motion file as glb, bvh, npz or pkl",
        run="avatarctl.builtin:export_motion",
        settings="avatarctl.export.settings:ExportMotion",
        examples=("avatarctl export motion motion.npz --to glb --to bvh",),
    )


def export_motion(settings: ExportMotion, run: Run) -> None:
    """Write a motion in each format, on the body of its family and gender."""
    from avatarctl.export import formats
    from avatarctl.motion import Motion

    formats.check_names(settings.to, run.declared_formats)
    run.input(settings.motion, "motion")
    motion = Motion.read(settings.motion)
    family: str = settings.family
    if family == "auto":
        family = "smplx" if motion.skeleton == "smplx" else "smplh"
    body = run.bodies.load(family, motion.gender, settings.body_models)
    stem = Path(settings.motion.name.removesuffix(".gz")).stem
    for name in run.progress(dict.fromkeys(settings.to), "exporting"):
        path = run.path(f"{stem}{formats.suffix(name, run.declared_formats)}")
        formats.write(motion, body, name, path, run.declared_formats)
        run.output(path, name)
    run.report(frames=len(motion), seconds=round(motion.seconds, 3), fps=motion.fps, joints=body.num_joints)
