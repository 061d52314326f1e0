"""The infer target: what three trackers saw, to the motion of the whole body."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.checkpoints.arrays import archive_names
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.motion.headset import is_log, read_log
from avatarctl.motion.tracking import FPS, Tracking
from avatarctl.runs.motions import KINDS, motion_file
from avatarctl_sparse_tracking import features, pipeline, prepare_headset
from avatarctl_sparse_tracking.model.products import NumberFormat

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Evaluate, Infer

ALSO = ("headset log", "file of prepared features")
"""What is taken beside motions."""


@dataclass(frozen=True)
class Recording:
    """Tracker features `sparse` [N, 54] at a frame rate; `kind` says what the file was."""

    sparse: Tensor
    fps: float
    kind: str


def run(settings: Infer, run: Run) -> None:
    """Estimate the motion of one recording, or of trackers as they move."""
    if settings.recording is None:
        from avatarctl_sparse_tracking import live

        live.run(settings, run)
        return
    body = run.bodies.load("smplh", "male", settings.body_models)
    path = motion_file(str(settings.recording), ALSO, (*KINDS, "features"))
    if path is not None:
        run.input(path, "recording")
    recording = read(path or str(settings.recording), settings, body)
    run.log.info("%s: %s, %d frames", settings.recording, recording.kind, len(recording.sparse))
    model = load(settings, run, body)
    starts = model.seeded(run.seed) if settings.noise == "seeded" else None
    began = time.perf_counter()
    sparse = recording.sparse.float()
    sixd = model.sixd(sparse, starts, refine=settings.refine, batch_size=settings.batch_size)
    # parity: the networks take every rate for 60; the motion keeps its own, so that it plays at its speed.
    motion = model.place(sixd, sparse[:, features.HEAD_PLACE]).replace(fps=recording.fps)
    took = time.perf_counter() - began
    run.save("motion.npz", motion)
    if settings.video:
        run.save("video.mp4", run.render.motion(motion, body))
    run.report(
        input=recording.kind,
        frames=len(motion),
        seconds=round(motion.seconds, 3),
        ms_per_frame=round(1000 * took / len(motion), 3),
    )


def load(settings: Infer | Evaluate, run: Run, body: BodyModel) -> pipeline.Pipeline:
    """The networks that the settings name."""
    floats: NumberFormat = "bfloat16" if run.precision == "bf16" else "float32"
    return pipeline.load(
        run.weights(settings.weights, stage="refiner"),
        device=run.device,
        body=body,
        steps=settings.steps,
        number_format="int8" if settings.weights_format == "int8" else floats,
    )


def read(source: Path | str, settings: Infer, body: BodyModel) -> Recording:
    """The tracker features in a file, whose kind is found by its content, or of an embedded clip by its name.

    Raises:
        DataError: It is none of the kinds, broken, or too short.
    """
    if isinstance(source, str):
        prepare_headset.warn_of_unused(source, settings)
        return _of_motion(clips()[source].motion(), source, body)
    path = check_input_file(source, "a recording")
    if is_log(path):
        log = read_log(path)
        prepare_headset.warn(path, prepare_headset.findings_of(log, settings), settings)
        tracking = prepare_headset.tracking_of(log, settings)
        return Recording(tracking.features(), tracking.fps, "headset log")
    prepare_headset.warn_of_unused(path, settings)
    if _holds_features(path):
        return Recording(*features.read_recording(path), "prepared features")
    return _of_motion(Motion.read(path), path, body)


def _of_motion(motion: Motion, source: Path | str, body: BodyModel) -> Recording:
    """The tracker features of a motion's head and hands."""
    resampled = motion.resampled(FPS)
    if len(resampled) < 2:
        raise DataError(
            f"{source}: {len(motion)} frames at {motion.fps:g} a second; expected at least 2 at {FPS:g}",
            hint="take a longer recording",
        )
    tracking = Tracking.from_motion(resampled, body)
    return Recording(tracking.features(), tracking.fps, "head and hands of a motion")


def _holds_features(path: Path) -> bool:
    """Whether a file is an archive of features (.npz), or a torch file (the published features)."""
    names = archive_names(path)
    return "sparse.npy" in names or any(name.endswith("data.pkl") for name in names)
