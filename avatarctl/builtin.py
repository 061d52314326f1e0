"""The core's own targets, through the same hooks as any plugin's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avatarctl.api import Target, hookimpl
from avatarctl.errors import UsageError

if TYPE_CHECKING:
    from avatarctl.export.settings import ExportCheckpoint, ExportMotion, ExportVmc
    from avatarctl.runs import Run


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="export",
        name="motion",
        summary="a motion file as glb, bvh, npz, pkl, film or Blender script",
        run="avatarctl.builtin:export_motion",
        settings="avatarctl.export.settings:ExportMotion",
        examples=(
            "avatarctl export motion motion.npz --to glb --to bvh",
            "avatarctl export motion walk_2 --to npz",
        ),
    )
    yield Target(
        verb="export",
        name="checkpoint",
        summary="trained weights as safetensors, or in a published layout",
        run="avatarctl.builtin:export_checkpoint",
        settings="avatarctl.export.settings:ExportCheckpoint",
        examples=("avatarctl export checkpoint outputs --to safetensors -o converted",),
    )
    yield Target(
        verb="export",
        name="vmc",
        summary="a motion, or its trackers, sent live in the VMC protocol",
        run="avatarctl.builtin:export_vmc",
        settings="avatarctl.export.settings:ExportVmc",
        needs=("live",),
        examples=("avatarctl export vmc walk_2", "avatarctl export vmc motion.npz --send body --loop"),
    )
    yield Target(
        verb="demo",
        name="all",
        summary="every demo, one after the other, and one report",
        run="avatarctl.cli.demos:run",
        settings="avatarctl.cli.demos:DemoAll",
        examples=("avatarctl demo all --out demos", "avatarctl demo all --only sparse-tracking"),
    )


def export_motion(settings: ExportMotion, run: Run) -> None:
    """Write a motion in each format, on the body of its family and gender."""
    from avatarctl.export import formats
    from avatarctl.runs.motions import motion_file, read_motion

    formats.check_names(settings.to, run.declared_formats)
    words = str(settings.motion)
    source = motion_file(words)
    if source is not None:
        run.input(source, "motion")
    motion = read_motion(words)
    family: str = settings.family
    if family == "auto":
        family = "smplx" if motion.skeleton == "smplx" else "smplh"
    body = run.bodies.load(family, motion.gender, settings.body_models)
    for name in dict.fromkeys(settings.to):
        stem = words if source is None else formats.stem(source)
        path = run.path(f"{stem}{formats.suffix(name, run.declared_formats)}")
        formats.write(motion, body, name, path, run.declared_formats, render=run.render)
        run.output(path, name)
    run.report(frames=len(motion), seconds=round(motion.seconds, 3), fps=motion.fps, joints=body.num_joints)


def export_checkpoint(settings: ExportCheckpoint, run: Run) -> None:
    """Write weights in each layout, into the run's folder, which other commands take for weights."""
    from avatarctl.export import checkpoints
    from avatarctl.runs.folder import WEIGHTS

    checkpoints.check_names(settings.to, run.declared_weights)
    if settings.weights == "latest":
        raise UsageError(
            "WEIGHTS: latest of which training?", hint="avatarctl runs lists them; name run:NAME/N"
        )
    weights = run.weights(settings.weights)
    for part in weights.unclear:
        weights.part(part)  # which says why it cannot be had
    for name in dict.fromkeys(settings.to):
        for path in checkpoints.write(weights, name, run.path(WEIGHTS), run.declared_weights):
            run.output(path, "weights")
    tensors = [tensor for own in weights.parts.values() for tensor in own.values()]
    run.report(
        read=weights.kind,
        parts=", ".join(weights.parts),
        tensors=len(tensors),
        numbers=sum(tensor.numel() for tensor in tensors),
    )


def export_vmc(settings: ExportVmc, run: Run) -> None:
    """Send a motion, or its trackers, at its rate."""
    from avatarctl.export import replay
    from avatarctl.motion import vmc
    from avatarctl.runs.motions import motion_file

    path = motion_file(settings.clip, also=("headset log",))
    if path is not None:
        run.input(path, "clip")
    body = run.bodies.load("smplh", "male")
    count, fps, frame = replay.frames(path or settings.clip, settings.send, body)
    fps *= settings.speed
    port = settings.port or (vmc.PERFORMER if settings.send == "trackers" else vmc.MARIONETTE)
    with vmc.sending(settings.host, port) as send:
        where = f"{settings.host}:{port}"
        run.log.info("%s of %s go to %s, %g frames a second", settings.send, settings.clip, where, fps)
        run.stop.is_deferred = True
        sent, late = replay.replay(
            count, fps, frame, send, loop=settings.loop, is_stopped=lambda: run.stop.signal
        )
        run.stop.is_deferred = False
    run.report(frames=sent, seconds=round(sent / fps, 3), latest_ms=round(1000 * late, 2))
