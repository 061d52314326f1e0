"""The demo target: made-up people in the photo of an office, found again, in pictures, film and report."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarctl_ego_hmr import export
from avatarctl_ego_hmr.demo_report import GUIDED, MEAN, UNGUIDED, Scores, page
from avatarctl_ego_hmr.egobody.annotations import Annotations
from avatarctl_ego_hmr.evaluate import Bodies, errors_of, read_bodies, rows_of, still
from avatarctl_ego_hmr.gallery import Gallery
from avatarctl_ego_hmr.infer import Work, load, people_of, weights_of
from avatarctl_ego_hmr.pictures import TRUTH, Stage, with_box
from avatarctl_ego_hmr.recordings import Recordings
from avatarctl_ego_hmr.recovered import FILE, read_recovered
from avatarctl_ego_hmr.settings import Infer, Networks, Sampling
from avatarctl_ego_hmr.synthetic.prepare import begin, finish, make_all, write_mark
from avatarctl_ego_hmr.synthetic.recordings import Recording

if TYPE_CHECKING:
    from avatarctl.render.video import Film
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.bodies import People
    from avatarctl_ego_hmr.pipeline import Pipeline
    from avatarctl_ego_hmr.settings import Demo

OFFICE, FREE = "office", "recovered_unguided.npz"
PICTURE = (720, 1280)
"""Rows and columns of the pictures that people are drawn into."""
FRAMES, FPS, ASPECT = 60, 15.0, 4 / 3
"""The film: frames, frames a second, width over height; pictures of the room are as wide."""
GAP = 6
"""White pixels between panels."""


def run(settings: Demo, run: Run) -> None:
    """Put people into the office, find them with and without guidance, and show both."""
    weights = weights_of(settings, run)
    people = people_of(settings, weights, run)
    store = office(run.path(OFFICE), settings.people, run)
    options = infer_settings(settings, store)
    model = load(options, weights, people, run)
    is_guided = model.guide(options) is not None
    recordings = Recordings(options, run, people)
    data, truth = recordings.data, recordings.items.people
    began = time.perf_counter()
    found = find(Work(options, run, model, recordings), truth, FILE)
    took = time.perf_counter() - began
    bodies = {GUIDED if is_guided else UNGUIDED: found}
    if is_guided:
        free = options.model_copy(update={"guidance": "none"})
        bodies[UNGUIDED] = find(Work(free, run, model, recordings), truth, FREE)
    people = people.to("cpu")
    scores = scored(bodies | mean_body(model, found), people, truth, data.picture_size(truth.names[0]))
    gallery = Gallery(read_recovered(run.path(FILE)), people, data, settings.renderer)
    Show(settings, run, gallery, truth).save()
    run.save("report.html", page(run, scores, settings, took))
    run.report(scores.table().rich(), **scores.numbers(), seconds=round(took, 2))


def office(store: Path, people: int, run: Run) -> Path:
    """Recordings in EgoBody's layout of people in the real photo of the office, one picture of each.

    People and poses are of the test split, which the toy networks have never seen.
    """
    about = {"demo": True, "people": people, "seed": run.seed}
    if begin(store, about, replace=True):
        return store
    # Odd recordings of the test split have the photo behind; the other splits have to be there.
    recordings = [Recording(str(store), split, 0, 1, PICTURE, run.seed) for split in ("train", "val")]
    for number in range(people):
        recordings.append(Recording(str(store), "test", 2 * number + 1, 1, PICTURE, run.seed))
    for _ in run.progress(make_all(recordings, 1), "placing people", len(recordings)):
        pass
    finish(store, recordings)
    write_mark(store, about, is_finished=True)
    return store


def infer_settings(settings: Demo, store: Path) -> Infer:
    """What infer would be told about the office."""
    shared = {name: getattr(settings, name) for kind in (Networks, Sampling) for name in kind.model_fields}
    return Infer(data=store, split="test", **shared)


def find(work: Work, truth: Annotations, name: str) -> Bodies:
    """The bodies of all people, which are saved under a name."""
    path = work.run.save(name, work.recovered(), "recovered")
    return read_bodies(path, truth, every=1)


def mean_body(model: Pipeline, found: Bodies) -> dict[str, Bodies]:
    """The mean pose of the training where the bodies were found: what is to be beaten."""
    if model.diffusion is None:
        return {}
    pose = model.diffusion.matrices(torch.zeros(1, 144, device=model.device))[0]
    return {MEAN: still(found, pose.cpu().numpy())}


def scored(methods: dict[str, Bodies], people: People, truth: Annotations, size: tuple[int, int]) -> Scores:
    """The numbers of each method.

    Args:
        size: Width and height of the pictures, pixels.
    """
    errors = {name: errors_of(people, bodies, truth, size) for name, bodies in methods.items()}
    return Scores(errors, {name: bodies.room() for name, bodies in methods.items()}, methods)


@dataclass(frozen=True)
class Show:
    """People of a gallery, found and true, and where their pictures go."""

    settings: Demo
    run: Run
    gallery: Gallery
    frames: Annotations

    def save(self) -> None:
        """Draw and write all pictures, the film and the scene."""
        rows = range(len(self.gallery))
        run, truth = self.run, [self.true_body(row) for row in rows]
        drawn = [self.over_photo(row, truth[row]) for row in run.progress(rows, "drawing", len(rows))]
        run.save("picture.png", stacked(drawn))
        run.save("room.png", stacked([self.in_room(row, truth[row]) for row in rows]))
        named = [(f"true_{stem}", body) for stem, body in zip(self.gallery.stems, truth, strict=True)]
        scene = export.scene(self.gallery, list(rows), "scene", named)
        run.save("people.glb", scene.export(file_type="glb", include_normals=True), "mesh")
        if self.settings.turntable:
            run.save("turntable.mp4", self.film())

    def true_body(self, row: int) -> Tensor:
        """In scene axes, metres [V, 3]."""
        index = rows_of(self.gallery.found.names[row : row + 1], self.frames)
        poses, betas, transl = (
            torch.from_numpy(array[index]).float()
            for array in (self.frames.poses, self.frames.betas, self.frames.transl)
        )
        gender = torch.from_numpy(self.frames.gender[index])
        body = self.gallery.people.annotated(poses, betas, gender).moved(transl)
        return self.gallery.moved(row, "scene", body.vertices[0])

    def true_stage(self, row: int, body: Tensor) -> Stage:
        """The true body in the room."""
        room, faces = self.gallery.room(row), self.gallery.people.neutral.faces
        return Stage.of(body[None], faces, room, [TRUTH], backend=self.gallery.backend)

    def over_photo(self, row: int, body: Tensor) -> list[np.ndarray]:
        """The picture with the box, the bodies that were found over it, and the true one."""
        photo, camera, found = self.gallery.photo(row), self.gallery.camera(row), self.gallery.found
        marked = with_box(photo, found.box_centre[row].tolist(), float(found.box_size[row]))
        panels = [marked, self.gallery.stage(row).over(photo, camera)]
        panels.append(self.true_stage(row, body).over(photo, camera))
        height = self.settings.size
        width = round(height * photo.shape[1] / photo.shape[0])
        return [np.asarray(Image.fromarray(panel).resize((width, height))) for panel in panels]

    def in_room(self, row: int, body: Tensor) -> list[np.ndarray]:
        """The bodies that were found and the true one, seen from one side."""
        stage, true, camera = self.gallery.stage(row), self.true_stage(row, body), self.gallery.camera(row)
        view = self.together([self.first_body(row), body]).side(camera, self.size)
        return [one.seen_by(camera).picture(view, self.size, is_open=True) for one in (stage, true)]

    def first_body(self, row: int) -> Tensor:
        """The first sample in scene axes, metres [V, 3]."""
        return self.gallery.moved(row, "scene", self.gallery.body(row, [0]).vertices[0])

    def together(self, bodies: list[Tensor]) -> Stage:
        """Bodies in scene axes [V, 3], none of them paler than others, in the room."""
        room, faces, backend = self.gallery.room(0), self.gallery.people.neutral.faces, self.gallery.backend
        stage = Stage.of(torch.stack(bodies), faces, room, opacity=1.0, backend=backend)
        return stage.seen_by(self.gallery.camera(0))

    def film(self) -> Film:
        """The first body of each person in the room, from several sides."""
        stage = self.together([self.first_body(row) for row in range(len(self.gallery))])

        def progress(frames: Iterable[Any], _: str, total: int) -> Iterable[Any]:
            return self.run.progress(frames, "drawing turntable.mp4", total)

        camera = self.gallery.camera(0)
        return stage.turntable(camera, self.size, length=FRAMES, fps=FPS, progress=progress)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of pictures of the room."""
        return self.settings.size, round(self.settings.size * ASPECT)


def stacked(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Rows of panels of one size with white between them, uint8 [H, W, 3]."""
    padded = [
        np.concatenate([np.pad(panel, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for panel in row], 1)
        for row in rows
    ]
    return np.concatenate(padded)[:-GAP, :-GAP]
