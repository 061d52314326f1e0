"""The eval target: every clip of a prepared split, scored as published, beside two baselines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Group
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import NUM_BODY
from avatarctl.data.store import Split, Store
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle, sixd_from_matrix
from avatarctl.metrics import Row, Table, Tally
from avatarctl.motion import Motion
from avatarctl.motion.tracking import FPS
from avatarctl.runs.page import Page
from avatarctl_sparse_tracking import baselines, features, pipeline, plots, published
from avatarctl_sparse_tracking.baselines import KeptPose
from avatarctl_sparse_tracking.data import body_name, open_store
from avatarctl_sparse_tracking.scores import COLUMNS, MORE, Posture, scores

if TYPE_CHECKING:
    from avatarctl.device.noise import Noise
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Evaluate

ESTIMATE, LAST_KNOWN, MEAN = "estimate", "last known pose", "mean pose"
WORST = 10
"""Clips listed in the report."""


@dataclass(frozen=True)
class Clip:
    """What the trackers saw, `sparse` [N, 54], and the true motion of the same N frames."""

    name: str
    sparse: Tensor
    truth: Motion


@dataclass(frozen=True)
class Method:
    """How a clip is estimated: the networks, their options, and the pose that knows nothing."""

    model: pipeline.Pipeline
    mean: KeptPose
    noise: Noise | None = None
    refine: bool = True
    batch_size: int = 1024

    def estimates(self, clip: Clip) -> dict[str, Motion]:
        """The clip's motion by the networks and by both baselines, all placed by the tracked head."""
        head = baselines.head_of(clip.sparse)
        true_sixd = sixd_from_matrix(matrix_from_axis_angle(clip.truth.body_poses(NUM_BODY)[:1])).flatten(1)
        found = {
            ESTIMATE: self.model.sixd(
                clip.sparse, self.noise, refine=self.refine, batch_size=self.batch_size
            ),
            LAST_KNOWN: baselines.last_known(true_sixd, head).follow(head),
            MEAN: self.mean.follow(head),
        }
        return {
            name: self.model.place(sixd, clip.sparse[:, features.HEAD_PLACE]) for name, sixd in found.items()
        }


@dataclass
class Results:
    """Running means by method, and the rows of every clip."""

    tallies: dict[str, Tally] = field(
        default_factory=lambda: {name: Tally() for name in (ESTIMATE, LAST_KNOWN, MEAN)}
    )
    clips: list[dict[str, str | int | float]] = field(default_factory=list)

    def add(self, clip: Clip, numbers: dict[str, dict[str, float]]) -> None:
        """Count a clip: the scores of each method."""
        for name, tally in self.tallies.items():
            tally.add(numbers[name])
        beside = {f"mpjpe of {name}": numbers[name]["mpjpe"] for name in (LAST_KNOWN, MEAN)}
        self.clips.append({"clip": clip.name, "frames": len(clip.truth), **numbers[ESTIMATE], **beside})

    def csv(self) -> str:
        """One line a clip."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.clips[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.clips)
        return text.getvalue()

    def tables(self, name: str, protocol: str, is_open_body: bool) -> tuple[Table, Table]:
        """The means beside the baselines and the published figures, and those that papers leave out.

        Args:
            name: What to call the estimate.
        """
        labels = {ESTIMATE: name}
        ours = [
            Row(labels.get(method, method), tally.means(), "ours" if method == ESTIMATE else "baseline")
            for method, tally in self.tallies.items()
        ]
        note = published.note(protocol, is_open_body)
        return Table(COLUMNS, [*ours, *published.rows(protocol)], note=note), Table(MORE, ours)


def run(settings: Evaluate, run: Run) -> None:
    """Score the clips of a store's split."""
    body = run.bodies.load("smplh", "male", settings.body_models)
    store = open_store(settings.store, body)
    run.input(settings.store, "store")
    split = store.split(settings.split)
    if not len(split):
        raise DataError(
            f"{settings.store}: split '{settings.split}' has no clips",
            hint=f"choose from {', '.join(store.splits)}",
        )
    method = Method(
        pipeline.load(run.weights(settings.weights, stage="refiner"), device=run.device, body=body),
        baselines.mean_pose(store),
        run.noise("sampling"),
        settings.refine,
        settings.batch_size,
    )
    count = min(len(split), settings.limit or len(split))
    results = Results()
    for clip in run.progress(clips_of(split, count), "scoring", total=count):
        truth = Posture.of(clip.truth, body)
        found = {name: Posture.of(motion, body) for name, motion in method.estimates(clip).items()}
        results.add(clip, {name: scores(posture, truth) for name, posture in found.items()})
    run.save("scores.csv", results.csv())
    _report(settings, run, store, body, method, results)


def clips_of(split: Split, count: int) -> Iterator[Clip]:
    """The first clips of a prepared split."""
    for index in range(count):
        poses, trans = (torch.tensor(split.clip(name, index)) for name in ("poses", "trans"))
        truth = Motion(poses=poses.reshape(-1, NUM_BODY, 3), root=trans, fps=FPS)
        truth = truth.checked(f"split '{split.name}', clip {split.names[index]}", "prepare the store again")
        yield Clip(split.names[index], torch.tensor(split.clip("sparse", index)), truth)


def _report(
    settings: Evaluate, run: Run, store: Store, body: BodyModel, method: Method, results: Results
) -> None:
    protocol = str(store.attributes["protocol"])
    skipped = results.tallies[ESTIMATE].skipped()
    if skipped:
        words = ", ".join(f"{name} of {count}" for name, count in skipped.items())
        run.log.warning("clips of fewer than 4 frames have no jitter; left out of the means: %s", words)
    tables = results.tables(Path(settings.weights).name, protocol, body.is_open)
    frames = sum(int(row["frames"]) for row in results.clips)
    run.save("report.html", _page(run, tables, results, protocol, body, method))
    run.report(
        Group(*(table.rich() for table in tables)),
        protocol=protocol,
        split=settings.split,
        clips=len(results.clips),
        frames=frames,
        body=body_name(body),
        mean_pose=method.mean.source,
        scores=results.tallies[ESTIMATE].means(),
        skipped=skipped,
        baselines={name: results.tallies[name].means() for name in (LAST_KNOWN, MEAN)},
    )


def _page(
    run: Run, tables: Iterable[Table], results: Results, protocol: str, body: BodyModel, method: Method
) -> Page:
    count = len(results.clips)
    page = Page(
        "sparse-tracking: scores", f"{count} clips, protocol {protocol}, scored on {body_name(body)}."
    )
    page.section("Means over clips", f"Each clip counts once. Mean pose: {method.mean.source}.")
    for table in tables:
        page.table(table)
    page.section("Clip by clip")
    page.plot(
        plots.by_clip(results.clips, LAST_KNOWN),
        "Clips from the best to the worst; scores.csv has all numbers.",
    )
    page.text(f"The worst {min(WORST, count)}:")
    page.table(worst(results.clips))
    page.provenance(run)
    return page


def worst(clips: Iterable[dict[str, str | int | float]]) -> Table:
    """The clips with the largest position errors."""
    ordered = sorted(clips, key=lambda row: -float(row["mpjpe"]))[:WORST]
    numbers = [{column.key: float(row[column.key]) for column in COLUMNS} for row in ordered]
    return Table(
        COLUMNS,
        [Row(str(row["clip"]), values, "plain") for row, values in zip(ordered, numbers, strict=True)],
    )
