"""What the demo shows: the film of truth beside estimate, a picture of it, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.metrics import Row, Table
from avatarctl.motion import Motion
from avatarctl.motion.tracking import FPS
from avatarctl.render import Actor, Film
from avatarctl.runs.page import Page
from avatarctl_sparse_tracking import plots
from avatarctl_sparse_tracking.baselines import KeptPose, head_of
from avatarctl_sparse_tracking.data import body_name
from avatarctl_sparse_tracking.evaluate import ESTIMATE, LAST_KNOWN, MEAN, Clip, Results
from avatarctl_sparse_tracking.heading import turn_of
from avatarctl_sparse_tracking.scores import COLUMNS

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Demo

TRUE_COLOUR, OUR_COLOUR = (0.72, 0.75, 0.78), (0.36, 0.61, 0.84)
FILM_FPS = 30.0
APART = 0.55
"""How far truth and estimate stand to either side in the picture, metres."""
LEAD = (
    "A headset and two controllers see where a head and two hands are. From that alone the body below was "
    "recovered, on motion capture held out of the training."
)


@dataclass(frozen=True)
class Shown:
    """A clip, its estimated motion, and each method's joint distances, centimetres [N, 22]."""

    clip: Clip
    estimate: Motion
    errors: dict[str, np.ndarray]

    def actors(self, body: BodyModel, frames: slice, apart: float = 0.0) -> tuple[Actor, Actor]:
        """The true body and the estimated one, moved apart to either side of how the head faces at first."""
        face = -turn_of(head_of(self.clip.sparse[frames][:1]))[0, 1]
        aside = (apart * float(face[1]), -apart * float(face[0]), 0.0)  # to its right: left in the picture
        other = (-aside[0], -aside[1], 0.0)
        return (
            Actor(self.clip.truth[frames], body, TRUE_COLOUR, offset=aside),
            Actor(self.estimate[frames], body, OUR_COLOUR, offset=other),
        )


def film(settings: Demo, run: Run, shown: Sequence[Shown], body: BodyModel) -> Film:
    """The first seconds of each clip in turn, truth beside estimate."""
    frames = slice(0, round(settings.seconds * FPS))
    films = [
        run.render.film(
            [[actor] for actor in one.actors(body, frames)],
            size=(settings.size, settings.size),
            fps=FILM_FPS,
            titles=[f"{one.clip.name}: true motion", "estimated from three trackers"],
        )
        for one in shown
    ]
    return Film(
        lambda: chain.from_iterable(one.frames() for one in films),
        sum(map(len, films)),
        FILM_FPS,
        lambda frames, _, total: run.progress(frames, "filming", total),
    )


def picture(settings: Demo, run: Run, shown: Sequence[Shown], body: BodyModel) -> Tensor:
    """The middle of the film of each clip, side by side, values 0 to 1 [H, W, 3]."""
    stills = []
    for one in shown:
        frame = min(round(settings.seconds * FPS), len(one.estimate)) // 2
        actors = one.actors(body, slice(frame, frame + 1), APART)
        stills.append(run.render.picture(actors, size=(settings.size, settings.size)))
    return torch.cat(stills, dim=1)


def page(
    run: Run, table: Table, shown: Sequence[Shown], results: Results, body: BodyModel, mean: KeptPose
) -> Page:
    """The report; video.mp4 and picture.png stand in the run folder."""
    made = Page("avatarctl demo: three trackers to a whole body", LEAD)
    made.video(run.path("video.mp4"), "Left: the true motion. Right: the estimate from three trackers.")
    made.section("How good it is", _verdict(results))
    made.table(table)
    made.text(
        f"Means over the clips below, on {body_name(body)}. Last known pose: that of the first frame, "
        f"kept; mean pose: {mean.source}. Both are turned and placed by the tracked head."
    )
    made.section("Clip by clip")
    rows = [Row(str(row["clip"]), _numbers(row), "plain") for row in results.clips]
    made.table(Table(COLUMNS, rows))
    made.plot(
        plots.over_time({one.clip.name: _over_joints(one) for one in shown}, FPS),
        "Distance between estimated and true joints, mean of the 22, frame by frame.",
    )
    made.plot(
        plots.by_joint(_by_joint(shown)),
        "Mean distance of each joint over all clips. Nothing tracks the legs: they are the hard part.",
    )
    made.picture(
        run.path("picture.png"), "Truth (grey) and estimate (blue), half way through the film of each clip."
    )
    made.section("What to do next")
    made.commands(_next(run))
    made.provenance(run)
    return made


def _verdict(results: Results) -> str:
    means = {name: tally.means()["mpjpe"] for name, tally in results.tallies.items()}
    return (
        f"Joints are {means[ESTIMATE]:.1f} cm off on average (MPJPE). Keeping the last known pose gives "
        f"{means[LAST_KNOWN]:.1f} cm, the mean pose {means[MEAN]:.1f} cm."
    )


def _numbers(row: dict[str, str | int | float]) -> dict[str, float]:
    return {column.key: float(row[column.key]) for column in COLUMNS}


def _over_joints(one: Shown) -> dict[str, np.ndarray]:
    return {name: errors.mean(1) for name, errors in one.errors.items()}


def _by_joint(shown: Sequence[Shown]) -> dict[str, np.ndarray]:
    """Means over all frames of all clips [22]."""
    return {name: np.concatenate([one.errors[name] for one in shown]).mean(0) for name in shown[0].errors}


def _next(run: Run) -> dict[str, str]:
    motion = run.path("motion.npz")
    return {
        "Your own headset recording": "avatarctl infer sparse RECORDING.txt --video",
        "Head and hands of any motion file (AMASS, BVH, SMPL)": "avatarctl infer sparse WALK.bvh --video",
        "This motion in other formats": f"avatarctl export sparse {motion} --to glb --to bvh --to pkl",
        "Scores on AMASS with the published weights": (
            "avatarctl prepare amass AMASS --store data/amass\n"
            "avatarctl eval sparse --store data/amass --weights FOLDER"
        ),
        "Training of your own": "avatarctl train sparse --help",
    }
