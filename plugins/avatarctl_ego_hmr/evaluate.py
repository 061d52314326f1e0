"""The eval target: bodies of a split against its annotations, as published and corrected (spec 7)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.metrics import Column, Row, Table
from avatarctl_ego_hmr import pipeline
from avatarctl_ego_hmr.blocks import in_blocks
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.egobody.annotations import Annotations, annotation_file, key_of
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.infer import Work, needed, people_of, weights_of
from avatarctl_ego_hmr.model.visibility import in_picture
from avatarctl_ego_hmr.recordings import Recordings
from avatarctl_ego_hmr.recovered import read_recovered, read_results
from avatarctl_ego_hmr.scores import CONTACT, PUBLISHED_CONTACT, Errors, measure, place_errors, summary
from avatarctl_ego_hmr.synthetic.cached import office_people

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_evaluate import Evaluate

WINDOW = 16
"""Frames whose bodies are posed at once."""
JOINTS = 24
ESTIMATE, MEAN = "estimate", "mean pose"
COLUMNS = tuple(
    Column(key, title, "mm", 1000.0)
    for key, title in (
        ("g_mpjpe", "G-MPJPE"), ("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE"), ("v2v", "V2V"), ("std", "std"),
        ("apd", "APD"),
    )
)  # fmt: skip
CORRECTED = (
    Column("pa_mpjpe_corrected", "PA-MPJPE, visible alone", "mm", 1000.0),
    Column("apd_corrected", "APD, not halved", "mm", 1000.0),
)
PLACES = tuple(
    Column(key, title, "mm", 1000.0)
    for key, title in (
        ("g_mpjpe", "G-MPJPE"), ("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE"), ("g_v2v", "G-V2V"),
        ("v2v", "V2V"), ("pa_v2v", "PA-V2V"),
    )
)  # fmt: skip
ROOM = (
    Column("collision", "collision", "%", 100.0, 3),
    Column("contact", f"contact, {100 * PUBLISHED_CONTACT:.0f} cm", "%", 100.0, 1),
    Column("contact_corrected", f"contact, {100 * CONTACT:.0f} cm", "%", 100.0, 1),
)
WHICH = ("all", "visible", "hidden")
NOTE = "made-up people and open bodies: not comparable with published numbers"


@dataclass(frozen=True)
class Bodies:
    """Bodies of n frames, S samples of each; NaN where nothing is known of the room."""

    rows: np.ndarray
    """Their rows among the annotations [n]."""
    matrices: np.ndarray  # [n, S, 24, 3, 3]
    betas: np.ndarray  # [n, S, 10]
    transl: np.ndarray  # [n, 3]
    collision: np.ndarray  # [n, S]
    contact: np.ndarray  # [n, S]
    contact_corrected: np.ndarray  # [n, S]

    def room(self) -> dict[str, float]:
        """Means of the numbers of the room."""
        return {
            name: float(getattr(self, name).mean()) for name in ("collision", "contact", "contact_corrected")
        }


def run(settings: Evaluate, run: Run) -> None:
    """Score results, or what networks find."""
    is_made_up = settings.data is None
    root = settings.data or office_people(settings.people, run)
    settings = settings.model_copy(update={"data": root})
    data = EgoBody(root)
    run.input(data.files.source(annotation_file(data.files, settings.split)), "data")
    truth = data.annotations(settings.split)
    size = data.picture_size(truth.names[0])
    if settings.results is not None:
        kind = data.kind if settings.body == "auto" else settings.body
        people = People.load(run.bodies, kind, settings.body_models)
        bodies = read_bodies(run.input(settings.results, "results"), truth, settings.every)
        mean = None
    else:
        people, bodies, mean = inferred(settings, run, truth)
    methods = {ESTIMATE: bodies}
    if mean is not None:
        methods[MEAN] = still(bodies, mean)
    tables, numbers = (places if settings.places else poses)(settings, run, people, methods, truth, size)
    if is_made_up or data.kind == "open":
        tables = [replace(table, note=NOTE) for table in tables]
    publish(run, tables, numbers, f"{len(bodies.rows)} frames of {root}, split '{settings.split}'")


def inferred(settings: Evaluate, run: Run, truth: Annotations) -> tuple[People, Bodies, np.ndarray | None]:
    """The bodies that networks find, and the mean pose of their training [24, 3, 3]."""
    parts = needed(settings)
    weights = weights_of(settings, run, parts)
    people = people_of(settings, weights, run)
    if not settings.places:
        parts.append("collision")
    model = pipeline.load(weights, run.device, people=people, parts=parts, precision=run.precision)
    if model.collision is None and not settings.places:
        run.log.warning("no collision network: --collision FILE names one; collisions are not scored")
    found = Work(settings, run, model, Recordings(settings, run, people)).recovered()
    run.save("recovered.npz", found, "recovered")
    mean = None
    if model.diffusion is not None:
        mean = model.diffusion.matrices(torch.zeros(1, 144, device=model.device))[0].cpu().numpy()
    rows = rows_of(found.names, truth)
    gap = found.gap
    return (
        people,
        Bodies(
            rows=rows,
            matrices=found.matrices,
            betas=found.betas,
            transl=found.transl,
            collision=found.collision,
            contact=found.contact,
            contact_corrected=np.where(np.isnan(gap), np.nan, gap < CONTACT),
        ),
        mean,
    )


def rows_of(names: np.ndarray, truth: Annotations, data: str = "") -> np.ndarray:
    """The rows of frames among annotations.

    Args:
        data: The recordings that the frames are of, for a message; "" where none are known.

    Raises:
        DataError: A frame is of no annotation.
    """
    known = {truth.key(row): row for row in range(len(truth))}
    keys = [key_of(str(name)) for name in names]
    unknown = [key for key in keys if key not in known]
    if unknown:
        hint = f"name the folder and split that they are of: --data {data or 'FOLDER'} --split NAME"
        if not data:
            hint += "; pictures of one's own have no annotations"
        raise DataError(
            f"results: {len(unknown)} of {len(keys)} frames are not annotated ({unknown[0]}, ...)",
            hint=hint,
        )
    return np.array([known[key] for key in keys])


def read_bodies(path: Path, truth: Annotations, every: int) -> Bodies:
    """Published results, or bodies of infer.

    Raises:
        DataError: The file is something else, or of other frames.
    """
    if path.suffix.lower() not in (".pkl", ".pickle"):
        found = read_recovered(path)
        kept = rows_of(found.names, truth, found.data)
        gap = found.gap
        corrected = np.where(np.isnan(gap), np.nan, gap < CONTACT)
        bodies = Bodies(
            kept, found.matrices, found.betas, found.transl, found.collision, found.contact, corrected
        )
        return _part(bodies, np.arange(0, len(kept), every))
    results = read_results(path)
    if results.betas is None:
        raise DataError(
            f"{path}: holds translations alone", hint="name results of stage 2: results_seed_N.pkl"
        )
    if len(results.transl) != len(truth):
        raise DataError(
            f"{path}: {len(results.transl)} frames; the split has {len(truth)}",
            hint="name the split that they are of: --split NAME; results of a part have no frame names",
        )
    nothing = np.full(results.betas.shape[:2], np.nan)
    bodies = Bodies(
        np.arange(len(truth)),
        results.matrices,
        results.betas,
        results.transl,
        nothing if results.collision is None else results.collision,
        nothing if results.contact is None else results.contact,
        nothing,
    )
    return _part(bodies, np.arange(0, len(truth), every))


def _part(bodies: Bodies, rows: np.ndarray) -> Bodies:
    return Bodies(**{name: array[rows] for name, array in vars(bodies).items()})


def still(bodies: Bodies, mean: np.ndarray) -> Bodies:
    """The mean pose and shape of the training, upright in the camera, where stage 1 puts the bodies."""
    count = len(bodies.rows)
    nothing = np.full((count, 1), np.nan)
    return replace(
        bodies,
        matrices=np.tile(mean, (count, 1, 1, 1, 1)),
        betas=np.zeros((count, 1, 10), np.float32),
        collision=nothing,
        contact=nothing,
        contact_corrected=nothing,
    )


@dataclass(frozen=True)
class Pair:
    """Bodies of some frames, and what they were; joints [..., 24, 3] and vertices [..., V, 3], metres."""

    joints: Tensor
    vertices: Tensor
    true_joints: Tensor
    true_vertices: Tensor
    visible: Tensor
    visible_vertices: Tensor


def pairs(people: People, bodies: Bodies, truth: Annotations, size: tuple[int, int]) -> Iterator[Pair]:
    """The frames, a window at a time; samples are the second dimension of `joints` and `vertices`.

    Args:
        size: Width and height of the pictures, pixels.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()

    for first in range(0, len(bodies.rows), WINDOW):
        part = slice(first, first + WINDOW)
        rows = bodies.rows[part]
        was = people.annotated(
            tensor(truth.poses[rows]), tensor(truth.betas[rows]), torch.from_numpy(truth.gender[rows])
        ).moved(tensor(truth.transl[rows]))
        matrices, betas = tensor(bodies.matrices[part]), tensor(bodies.betas[part])
        count = matrices.shape[1]
        transl = tensor(bodies.transl[part]).repeat_interleave(count, dim=0)
        found = people.posed(matrices.flatten(0, 1), betas.flatten(0, 1)).moved(transl)
        focal = tensor(truth.fx[rows])
        centre = tensor(np.stack([truth.cx[rows], truth.cy[rows]], axis=1))
        joints = was.joints[:, :JOINTS]
        yield Pair(
            found.joints[:, :JOINTS].unflatten(0, (-1, count)),
            found.vertices.unflatten(0, (-1, count)),
            joints,
            was.vertices,
            in_picture(joints, focal, centre, size),
            in_picture(was.vertices, focal, centre, size),
        )


def errors_of(
    people: People, bodies: Bodies, truth: Annotations, size: tuple[int, int], *, mask_alignment: bool = True
) -> Errors:
    """Errors of all frames; arguments as in `pairs` and `measure`."""
    parts = (
        measure(
            pair.joints,
            pair.vertices,
            pair.true_joints,
            pair.true_vertices,
            pair.visible,
            pair.visible_vertices,
            mask_alignment=mask_alignment,
        )
        for pair in pairs(people, bodies, truth, size)
    )
    return Errors.joined(in_blocks(parts, Errors.joined))


Scored = tuple[list[Table], dict[str, float]]


def poses(
    settings: Evaluate,
    run: Run,
    people: People,
    methods: Mapping[str, Bodies],
    truth: Annotations,
    size: tuple[int, int],
) -> Scored:
    """The numbers of stage 2."""
    rows, corrected, numbers = [], [], dict[str, float]()
    for name, bodies in methods.items():
        errors = errors_of(people, bodies, truth, size, mask_alignment=settings.mask_alignment)
        found = summary(errors)
        kind = "ours" if name == ESTIMATE else "baseline"
        for which in WHICH:
            rows.append(Row(f"{name}, {which}", _of(found, which), kind))  # type: ignore[arg-type]
        if name == ESTIMATE:
            corrected = [Row(which, _of(found, which)) for which in WHICH]
            numbers = found | bodies.room()
            run.save("scores.csv", frames_csv(errors, bodies, truth))
    tables = [
        Table(COLUMNS, rows, "Joints and vertices, as published"),
        Table(CORRECTED, corrected, "The same where the published code errs"),
        Table(
            (*ROOM, Column("mpjpe_best", "MPJPE hidden, best", "mm", 1000.0)),
            [Row(ESTIMATE, numbers | {"mpjpe_best": numbers["mpjpe_best.hidden"]})],
            "The room, and the best of the samples",
        ),
    ]
    return tables, numbers


def _of(found: Mapping[str, float], which: str) -> dict[str, float]:
    return {name.partition(".")[0]: value for name, value in found.items() if name.endswith(f".{which}")}


def places(
    settings: Evaluate,
    run: Run,
    people: People,
    methods: Mapping[str, Bodies],
    truth: Annotations,
    size: tuple[int, int],
) -> Scored:
    """The numbers of stage 1: the likeliest pose, and where the body is."""
    found: dict[str, list[float]] = {}
    for pair in pairs(people, methods[ESTIMATE], truth, size):
        each = place_errors(pair.joints[:, 0], pair.vertices[:, 0], pair.true_joints, pair.true_vertices)
        for name, values in each.items():
            found.setdefault(name, []).extend(values.tolist())
    numbers = {name: float(np.mean(values)) for name, values in found.items()}
    return [Table(PLACES, [Row(ESTIMATE, numbers)], "Stage 1, as published")], numbers


def frames_csv(errors: Errors, bodies: Bodies, truth: Annotations) -> str:
    """Each frame's numbers, millimetres, means over its samples."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "visible_joints", "g_mpjpe", "mpjpe", "pa_mpjpe", "collision", "contact"])
    every = (errors.joints_global, errors.joints, errors.joints_aligned)
    means = [1000 * one.mean(dim=(1, 2)) for one in every]
    for number, row in enumerate(bodies.rows):
        shown = [f"{float(values[number]):.2f}" for values in means]
        room = [f"{values[number].mean():.5f}" for values in (bodies.collision, bodies.contact)]
        writer.writerow([truth.key(int(row)), int(errors.visible[number].sum()), *shown, *room])
    return text.getvalue()


def publish(run: Run, tables: list[Table], numbers: Mapping[str, float], lead: str) -> None:
    """The tables on the terminal and as report.html, the numbers in the run's report."""
    from rich.console import Group

    from avatarctl.runs.page import Page

    page = Page("ego-hmr: scores", lead)
    for table in tables:
        page.section(table.title)
        page.table(table)
    page.text("Hidden joints are those outside of the picture. Lower is better, but for std and APD.")
    page.provenance(run)
    run.save("report.html", page)
    run.report(Group(*(table.rich() for table in tables)), metres=dict(numbers))
