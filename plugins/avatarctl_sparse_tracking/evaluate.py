"""The eval target: every clip of a prepared split, scored as published, beside two baselines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Group
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import NUM_BODY
from avatarctl.data.store import Split, Store
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle, sixd_from_matrix
from avatarctl.metrics import Column, Row, Table, Tally
from avatarctl.metrics.pose import joint_distances
from avatarctl.motion import Motion
from avatarctl.motion.tracking import FPS
from avatarctl.runs.inputs import several
from avatarctl_sparse_tracking import baselines, features, pipeline, published
from avatarctl_sparse_tracking.baselines import KeptPose
from avatarctl_sparse_tracking.data import body_name, open_store
from avatarctl_sparse_tracking.infer import load
from avatarctl_sparse_tracking.scores import (
    COLUMNS,
    MORE,
    WHOLE,
    Posture,
    Scheme,
    raw_corrected,
    raw_scores,
    reported,
)

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.sampling import Starts
    from avatarctl_sparse_tracking.settings import Evaluate, Scored

ESTIMATE, LAST_KNOWN, MEAN = "estimate", "last known pose", "mean pose"
METHODS = (ESTIMATE, LAST_KNOWN, MEAN)
CHAIN = "the whole chain"
Cells = dict[str, str | int | float]
"""A clip's line of scores.csv."""


@dataclass(frozen=True)
class Clip:
    """What the trackers saw, `sparse` [N, 54], and the true motion of the same N frames.

    `fps` is the rate that the frames were captured at; the published evaluation takes it for 60.
    """

    name: str
    sparse: Tensor
    truth: Motion
    fps: float = FPS
    subset: str = ""

    @property
    def sixd(self) -> Tensor:
        """The true local 6D rotations [N, 132]."""
        return sixd_from_matrix(matrix_from_axis_angle(self.truth.body_poses(NUM_BODY))).flatten(1)


@dataclass(frozen=True)
class Method:
    """How a clip is estimated, the pose that knows nothing, and how both are scored.

    `sixd` gives a clip's local 6D rotations [N, 132]; `what` says in a few words what it runs.
    """

    sixd: Callable[[Clip], Tensor]
    mean: KeptPose
    body: BodyModel
    scheme: Scheme = WHOLE
    what: str = CHAIN

    @staticmethod
    def by(
        model: pipeline.Pipeline,
        mean: KeptPose,
        body: BodyModel,
        starts: Starts | None = None,
        *,
        refine: bool = True,
        batch_size: int = 1024,
        what: str = CHAIN,
    ) -> Method:
        """The whole chain of networks; arguments as `Pipeline.sixd`."""

        def sixd(clip: Clip) -> Tensor:
            return model.sixd(clip.sparse, starts, refine=refine, batch_size=batch_size)

        return Method(sixd, mean, body, what=what)

    def estimates(self, clip: Clip) -> dict[str, Motion]:
        """The clip's motion by the networks and by both baselines, all placed by the tracked head."""
        head, rest = baselines.head_of(clip.sparse), self.body.rest_joints[:NUM_BODY].cpu()
        found = {
            ESTIMATE: self.sixd(clip),
            LAST_KNOWN: baselines.last_known(clip.sixd[:1], head).follow(head),
            MEAN: self.mean.follow(head),
        }
        return {
            name: pipeline.place(sixd, clip.sparse[:, features.HEAD_PLACE], rest)
            for name, sixd in found.items()
        }

    def compare(self, clip: Clip, estimates: Mapping[str, Motion]) -> Compared:
        """The numbers of each estimate of a clip."""
        truth = self.scheme.posture(clip.truth, self.body)
        found = {name: self.scheme.posture(motion, self.body) for name, motion in estimates.items()}
        return Compared(
            {name: reported(raw_scores(one, truth, self.scheme)) for name, one in found.items()},
            reported(raw_corrected(found[ESTIMATE], truth, self.scheme, fps=clip.fps)),
            {name: _distances(one, truth, self.scheme) for name, one in found.items()},
        )


def _distances(found: Posture, truth: Posture, scheme: Scheme) -> np.ndarray:
    distances = joint_distances(found.places, truth.places, scheme.posed)
    array: np.ndarray = (100 * distances).numpy()
    return array


@dataclass(frozen=True)
class Compared:
    """A clip's published `numbers` by method, the estimate's `corrected` ones, and joint distances.

    `distances` are those of the joints that the scheme poses, centimetres [N, J].
    """

    numbers: dict[str, dict[str, float]]
    corrected: dict[str, float]
    distances: dict[str, np.ndarray]


@dataclass
class Results:
    """Running means by method, the rows of every clip, and what the plots need."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in METHODS})
    corrected: Tally = field(default_factory=Tally)
    clips: list[Cells] = field(default_factory=list)
    curves: list[dict[str, np.ndarray]] = field(default_factory=list)
    """For each clip, by method: mean distance of the joints in each frame, cm [N]."""
    joints: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in METHODS})
    """By method, for each clip: mean distance of each joint, cm [J]."""

    def add(self, clip: Clip, found: Compared) -> None:
        """Count a clip."""
        for name, tally in self.tallies.items():
            tally.add(found.numbers[name])
            self.joints[name].append(found.distances[name].mean(0))
        self.corrected.add(found.corrected)
        self.curves.append({name: distances.mean(1) for name, distances in found.distances.items()})
        beside = {f"mpjpe of {name}": found.numbers[name]["mpjpe"] for name in (LAST_KNOWN, MEAN)}
        mended = {f"{name} corrected": value for name, value in found.corrected.items()}
        about: Cells = {"clip": clip.name, "subset": clip.subset, "frames": len(clip.truth), "fps": clip.fps}
        self.clips.append({**about, **found.numbers[ESTIMATE], **mended, **beside})

    def by_joint(self) -> dict[str, np.ndarray]:
        """By method: mean distance of each joint, cm [J]; every clip counts once."""
        return {name: np.mean(clips, axis=0) for name, clips in self.joints.items()}

    def ordered(self) -> list[int]:
        """The clips from the smallest position error to the largest."""
        return sorted(range(len(self.clips)), key=lambda clip: float(self.clips[clip]["mpjpe"]))

    def csv(self) -> str:
        """One line a clip."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.clips[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.clips)
        return text.getvalue()

    def published_means(self) -> dict[str, float]:
        """The estimate's means as published: one clip without a number leaves none."""
        tally = self.tallies[ESTIMATE]
        return {**tally.means(), **dict.fromkeys(tally.skipped(), float("nan"))}

    def tables(
        self, name: str, protocol: str, is_open_body: bool, beside: list[Row] | None = None
    ) -> tuple[Table, Table]:
        """The means beside the baselines and the published figures, and those that papers leave out.

        Args:
            name: What to call the estimate.
            beside: The published rows; those of the protocol when left out.
        """
        labels = {ESTIMATE: name}
        ours = [
            Row(labels.get(method, method), tally.means(), "ours" if method == ESTIMATE else "baseline")
            for method, tally in self.tallies.items()
        ]
        rows = published.rows(protocol) if beside is None else beside
        note = published.note(protocol, is_open_body) if rows or protocol == "S2" else published.NONE
        return Table(COLUMNS, [*ours, *rows], note=note), Table(MORE, ours)

    def corrections(self) -> Table | None:
        """The estimate's published numbers beside sound ones, where the two differ; None where none does."""
        theirs, sound = self.published_means(), self.corrected.means()
        titles = {column.key: column for column in (*COLUMNS, *MORE)}
        rows = []
        for name, value in sound.items():
            if not np.isclose(value, theirs[name], rtol=1e-6, atol=0.0):
                column = titles[name]
                values = {"published": theirs[name] * column.scale, "corrected": value * column.scale}
                rows.append(Row(f"{column.title}, {column.unit}", values, "plain"))
        columns = (Column("published", "published"), Column("corrected", "corrected"))
        return Table(columns, rows, note=self._why([row.name for row in rows])) if rows else None

    def _why(self, names: list[str]) -> str:
        """What was corrected."""
        words = ["Rotations: published subtracts vectors; corrected is the angle between rotations."]
        if self.tallies[ESTIMATE].skipped():
            words.append("Jitter: one clip of fewer than 4 frames makes published NaN; corrected skips it.")
        if any(row["fps"] != FPS for row in self.clips):
            words.append("Velocities, jitter: published takes every rate for 60; corrected the clip's own.")
        if any(name.startswith("MPJPE") for name in names):
            words.append("Half a body: published counts joints outside it too; corrected leaves them out.")
        return " ".join(words)


@dataclass(frozen=True)
class Data:
    """What is scored on: the body, a prepared store, its split, and how many of its clips."""

    body: BodyModel
    store: Store
    split: Split
    count: int

    @staticmethod
    def of(settings: Scored, run: Run) -> Data:
        """From the settings.

        Raises:
            DataError: The store is of another protocol or skeleton, or the split has no clips.
        """
        body = run.bodies.load("smplh", "male", settings.body_models)
        store = open_store(settings.store, body)
        run.input(settings.store, "store")
        protocol = store.attributes["protocol"]
        if settings.protocol not in ("any", protocol):
            raise DataError(
                f"{settings.store}: protocol: prepared for '{protocol}', expected {settings.protocol}",
                hint=f"avatarctl prepare amass AMASS --protocol {settings.protocol} --store FOLDER, "
                "or --protocol any",
            )
        split = store.split(settings.split)
        if not len(split):
            others = [name for name in store.splits if len(store.split(name))]
            raise DataError(
                f"{settings.store}: split '{settings.split}' has no clips",
                hint=f"choose from {', '.join(others)}" if others else "prepare the store again",
            )
        return Data(body, store, split, min(len(split), settings.limit or len(split)))

    @property
    def protocol(self) -> str:
        """The setting that the store was prepared for."""
        return str(self.store.attributes["protocol"])

    def clips(self) -> Iterator[Clip]:
        """The first clips of the split."""
        rates, subsets = self.split.column("fps"), self.split.column("subset")
        for index in range(self.count):
            poses, trans, sparse = (
                torch.tensor(self.split.clip(name, index)) for name in ("poses", "trans", "sparse")
            )
            truth = Motion(poses=poses.reshape(-1, NUM_BODY, 3), root=trans, fps=FPS)
            name = self.split.names[index]
            truth = truth.checked(f"split '{self.split.name}', clip {name}", "prepare the store again")
            yield Clip(name, sparse, truth, float(rates[index]), str(subsets[index]))

    def notes(self) -> list[str]:
        """What a reader of the scores must know of the clips."""
        found = [str(self.store.attributes["note"])] if self.store.attributes.get("note") else []
        whole = published.TEST_CLIPS.get(self.protocol, 0) if self.split.name == "test" else 0
        if self.count < max(whole, len(self.split)):
            found.append(
                f"{self.count} of {max(whole, len(self.split))} clips of the split were scored"
                + (f"; the store has {len(self.split)}" if self.count < len(self.split) < whole else "")
            )
        return found


def run(settings: Evaluate, run: Run) -> None:
    """Score the whole chain on the clips of a store's split."""
    data = Data.of(settings, run)
    model = load(settings, run, data.body)
    what = CHAIN if settings.refine and model.refiner is not None else f"{CHAIN} without refiner"
    method = Method.by(
        model,
        baselines.mean_pose(data.store),
        data.body,
        model.seeded(run.seed),
        refine=settings.refine,
        batch_size=settings.batch_size,
        what=what,
    )
    score(run, data, method, settings.weights)


def score(run: Run, data: Data, method: Method, weights: str) -> None:
    """Score a method on the clips, and write scores.csv and report.html.

    Args:
        weights: How the user named the weights.
    """
    from avatarctl_sparse_tracking.evaluate_report import page

    results = Results()
    for clip in run.progress(data.clips(), "scoring", total=data.count):
        results.add(clip, method.compare(clip, method.estimates(clip)))
    run.save("scores.csv", results.csv())
    skipped = results.tallies[ESTIMATE].skipped()
    if skipped:
        words = ", ".join(f"{name} of {count}" for name, count in skipped.items())
        run.log.warning("clips of fewer than 4 frames have no jitter; left out of the means: %s", words)
    for line in data.notes():
        run.log.warning("%s", line)
    beside: list[Row] | None = None if method.scheme is WHOLE else []
    tables = [*results.tables(_short(weights), data.protocol, data.body.is_open, beside)]
    tables += [table for table in [results.corrections()] if table]
    run.save("report.html", page(run, data, method, results, tables))
    run.report(
        Group(*(table.rich() for table in tables)),
        evaluated=method.what,
        protocol=data.protocol,
        split=data.split.name,
        clips=data.count,
        frames=sum(int(row["frames"]) for row in results.clips),
        body=body_name(data.body),
        mean_pose=method.mean.source,
        scores=results.tallies[ESTIMATE].means(),
        corrected=results.corrected.means(),
        skipped=skipped,
        baselines={name: results.tallies[name].means() for name in (LAST_KNOWN, MEAN)},
    )


def _short(weights: str) -> str:
    """Weights as a row of a table calls them: the ends of paths."""
    names = []
    for one in several(weights):
        is_bare = one.endswith((".tar", ".pt", ".pth")) or Path(one).name.isdecimal()
        parts = Path(one).parts[-2 if is_bare else -1 :]
        names.append(one if one.startswith("run:") else "/".join(parts).removesuffix(".safetensors"))
    return " + ".join(names)
