"""The eval target: pictures beside the true ones, in two conventions, the surface beside meshes (spec 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError
from avatarctl.metrics import Column, Row, Table
from avatarctl_video_avatar import geometry_scores, pictures, pipeline
from avatarctl_video_avatar.export import extracted
from avatarctl_video_avatar.geometry_scores import Ground, in_world
from avatarctl_video_avatar.infer import MODES, items_of, rendered
from avatarctl_video_avatar.items import Items, placed, pose_of
from avatarctl_video_avatar.meshes import read_mesh
from avatarctl_video_avatar.model.rendering import Picture
from avatarctl_video_avatar.pipeline import Person
from avatarctl_video_avatar.rays import rotation_of
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.scores import lpips_for, means, scores, scores_neuralbody

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_evaluate import Evaluate

COLUMNS = (
    Column("psnr", "PSNR", "dB"),
    Column("ssim", "SSIM", "", 1.0, 4),
    Column("lpips", "LPIPS", "", 1.0, 4),
)
GEOMETRY = {
    "arah": (
        Column("chamfer_cm2", "chamfer", "cm²", 1.0, 4),
        Column("normal_consistency", "normals", "", 1.0, 4),
    ),
    "sampled": (Column("chamfer_m2", "chamfer", "m²", 1.0, 6),),
}
FRAMES: dict[str, tuple[int, ...]] = {
    "313": (0, 30),
    "315": (0, 30, 60, 90, 120, 150, 180, 210, 240, 300, 330, 360, 390),
    "377": (30, 90, 120),
    "386": (150, 180, 270),
    "387": (150,),
    "390": (720,),
    "392": (30,),
    "393": (0, 60, 120, 150, 180, 210, 240),
    "394": (0, 30, 60, 90, 120, 150, 180, 210, 240, 270),
}
"""Frames of ARAH's evaluation by subject (spec 7.3)."""
NOTE = "open body, made-up recording: not comparable with published numbers"


def run(settings: Evaluate, run: Run) -> None:
    """Score pictures, and the surface where there are meshes to compare it with."""
    if not MODES[settings.mode].is_compared:
        raise SettingsError(f"mode: {settings.mode} has no true pictures", hint="--mode val or --mode unseen")
    person = pipeline.for_pictures(settings, run)
    items = items_of(settings, person, run)
    meshes = None if settings.geometry is None else Meshes.of(settings, run, person)
    tables = [of_pictures(settings, run, person, items)]
    if meshes is not None:
        tables.append(of_surface(settings, run, person, items, meshes))
    publish(run, person, tables, f"{len(items)} pictures of {person.data.folder}, mode '{settings.mode}'")


def of_pictures(settings: Evaluate, run: Run, person: Person, items: Items) -> Table:
    """PSNR, SSIM and LPIPS, means over all pictures."""
    lpips = lpips_for(person.weights, run, settings.lpips, settings.backbone)
    published, others, shown = [], [], _spread(len(items), settings.pictures)
    for index in run.progress(range(len(items)), "pictures", len(items)):
        sample = items.picture(index)
        found = rendered(person, sample, run.seed)
        published.append(scores(found, sample, lpips))
        others.append(scores_neuralbody(found, sample, lpips))
        if index in shown:
            view, frame = items.place(index)
            run.save(f"pictures/view{view}_{frame}.png", beside(found, sample))
    rows = [
        Row("published (rectangle of the box)", means(published)),
        Row("NeuralBody (pixels of the box)", means(others)),
    ]
    note = "" if lpips is not None else "LPIPS needs its network: --lpips"
    return Table(COLUMNS, rows, "Pictures", note)


def beside(picture: Picture, sample: Sample) -> np.ndarray:
    """Prediction and truth side by side, uint8 [H, 2 W, 3]."""
    pair = [pictures.to_bytes(pixels) for pixels in (pictures.shown(picture), pictures.truth(sample))]
    return np.concatenate(pair, axis=1)


@dataclass(frozen=True)
class Meshes:
    """What the surface is compared with: a mesh by the frame's place, and the ground that cuts both."""

    paths: dict[int, Path]
    ground: Ground | None

    @staticmethod
    def of(settings: Evaluate, run: Run, person: Person) -> Meshes:
        """Those of the settings, found before anything is computed.

        Raises:
            DataError: A mesh or a plane is missing.
            SettingsError: The recording has no such frame.
        """
        assert settings.geometry is not None
        run.input(settings.geometry, "geometry")
        ground = None
        if settings.ground is not None:
            ground = geometry_scores.read_ground(run.input(settings.ground, "ground"), person.data.name)
        frames = frames_of(settings, person)
        return Meshes(
            {number: geometry_scores.truth_of(settings.geometry, number) for number in frames}, ground
        )


def of_surface(settings: Evaluate, run: Run, person: Person, items: Items, meshes: Meshes) -> Table:
    """Distances between the surface and given meshes, means over frames."""
    data, measured = person.data, []
    names, count = list(data.bodies), len(meshes.paths)
    for number, path in run.progress(meshes.paths.items(), "surfaces", count):
        body = data.bodies[names[number]]
        pose = pose_of(body, data.canonical[0])
        # parity: meshes are extracted with corrected poses whatever the step (spec 9, Q25)
        found = extracted(person.scene(pose, True), body.posed_vertices, settings.resolution)
        fit = placed(body, data.canonical[0], items.dataset, items.offset)
        ours = in_world(found.mesh, rotation_of(fit.Rh).T, np.asarray(fit.Th, np.float64))
        truth = read_mesh(path)
        if settings.geometry_protocol == "arah":
            measured.append(geometry_scores.arah(ours, truth, meshes.ground))
        else:
            measured.append(geometry_scores.sampled(ours, truth, Noise.seeded(run.seed, f"surface/{number}")))
    columns = GEOMETRY[settings.geometry_protocol]
    return Table(columns, [Row(f"{count} frames", means(measured))], "Surface")


def frames_of(settings: Evaluate, person: Person) -> list[int]:
    """Places of the frames whose surface is compared.

    Raises:
        SettingsError: The recording has no such frame.
        DataError: No mesh is of a frame.
    """
    assert settings.geometry is not None
    count, usual = len(person.data.bodies), FRAMES.get(geometry_scores.subject_number(person.data.name), ())
    if settings.geometry_frames is not None:
        wrong = [number for number in settings.geometry_frames if number >= count]
        if wrong or not settings.geometry_frames:
            raise SettingsError(
                f"geometry_frames: {wrong[0] if wrong else 'none'}: the recording has {count} frames",
                hint="--geometry-frames 0 (counted from 0)",
            )
        return settings.geometry_frames
    if usual and max(usual) < count:
        return list(usual)
    found = [number for number in range(count) if _has_truth(settings, number)]
    if not found:
        raise DataError(
            f"{settings.geometry}: no mesh for any of the {count} frames",
            hint="the mesh of frame f has a name that ends with f + 1, such as 000031.ply",
        )
    return found


def _has_truth(settings: Evaluate, number: int) -> bool:
    assert settings.geometry is not None
    try:
        geometry_scores.truth_of(settings.geometry, number)
    except DataError:
        return False
    return True


def _spread(count: int, wanted: int) -> set[int]:
    """So many of the places at most, evenly spread."""
    if not count or not wanted:
        return set()
    return {int(place) for place in np.linspace(0, count - 1, min(wanted, count)).round()}


def publish(run: Run, person: Person, tables: Sequence[Table], lead: str) -> None:
    """The tables on the terminal and as report.html, the numbers in the run's report."""
    from rich.console import Group

    from avatarctl.runs.page import Page

    if person.data.kind == "open":
        tables = [replace(table, note="; ".join(filter(None, (table.note, NOTE)))) for table in tables]
    page = Page("video-avatar: scores", lead)
    for table in tables:
        page.section(table.title)
        page.table(table)
    page.provenance(run)
    run.save("report.html", page)
    numbers = {row.name.split(" (")[0]: dict(row.values) for table in tables for row in table.rows}
    run.report(Group(*(table.rich() for table in tables)), **dict(tables[0].rows[0].values), each=numbers)
