"""The demo target: real motion capture as three trackers see it, to the whole body, beside the truth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from avatarctl.body import BodyModel
from avatarctl.errors import SettingsError
from avatarctl.export import formats
from avatarctl.geometry.rotations import matrix_from_axis_angle, sixd_from_matrix
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import FPS, Tracking
from avatarctl_sparse_tracking import amass, baselines, pipeline
from avatarctl_sparse_tracking.baselines import KeptPose
from avatarctl_sparse_tracking.demo_report import Shown, film, page, picture
from avatarctl_sparse_tracking.evaluate import ESTIMATE, Clip, Method, Results

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Demo

THINNED = 10
"""Every so many frames of a training clip count for the mean pose."""
EXPORTS = ("bvh", "glb")


def run(settings: Demo, run: Run) -> None:
    """Estimate held-out clips, compare, and write motions, film and report."""
    names = choose(settings.clips)
    body = run.bodies.load("smplh", "male")
    model = pipeline.load(
        run.weights(settings.weights, target="sparse", stage="refiner"), device=run.device, body=body
    )
    method = Method.by(model, training_mean(body), body, model.seeded(run.seed))
    results, began = Results(), time.perf_counter()
    shown = [show(name, method, results) for name in run.progress(names, "estimating")]
    took = time.perf_counter() - began
    save_motion(run, shown[0].estimate, body)
    run.save("video.mp4", film(settings, run, shown, body))
    run.save("picture.png", picture(settings, run, shown, body))
    table, _ = results.tables("estimate", "open clips", body.is_open)
    run.save("report.html", page(run, table, shown, results, body, method.mean))
    run.report(
        table.rich(),
        about={
            "clips": names,
            "frames": sum(len(one.estimate) for one in shown),
            "estimating_s": round(took, 1),
        },
        **{name.replace(" ", "_"): tally.means() for name, tally in results.tallies.items()},
    )


def choose(wanted: Sequence[str]) -> list[str]:
    """One held-out clip of each kind: the first whose name starts with the word.

    Raises:
        SettingsError: There is none of a kind.
    """
    held_out = amass.read_list("open_test")
    found = []
    for word in wanted:
        names = [name for name in held_out if name.startswith(word)]
        if not names:
            raise SettingsError(
                f"clips: no held-out clip is called '{word}'; there is {', '.join(held_out)}",
                hint="avatarctl demo --clips walk --clips salsa",
            )
        found.append(names[0])
    return list(dict.fromkeys(found))


def training_mean(body: BodyModel) -> KeptPose:
    """The mean pose of the embedded training clips."""
    sixd, heads = [], []
    for name in amass.read_list("open_train"):
        motion = clips()[name].motion()[::THINNED]
        sixd.append(sixd_from_matrix(matrix_from_axis_angle(motion.body_poses())).flatten(1))
        heads.append(Tracking.from_motion(motion, body).rotations[:, 0].float())
    return baselines.mean_of(torch.cat(sixd), torch.cat(heads), f"the mean of {len(sixd)} training clips")


def show(name: str, method: Method, results: Results) -> Shown:
    """Estimate an embedded clip from perfect trackers on head and wrists; its scores count in the results."""
    motion = clips()[name].motion().resampled(FPS)
    clip = Clip(name, Tracking.from_motion(motion, method.body).features().float(), motion[1:])
    estimates = method.estimates(clip)
    compared = method.compare(clip, estimates)
    results.add(clip, compared)
    return Shown(clip, estimates[ESTIMATE], compared.distances)


def save_motion(run: Run, motion: Motion, body: BodyModel) -> None:
    """The motion for SMPL tools, for animation tools, and for browsers and engines."""
    run.save("motion.npz", motion)
    for name in EXPORTS:
        formats.write(motion, body, name, run.path(f"motion.{name}"))
        run.output(run.path(f"motion.{name}"), "motion")
