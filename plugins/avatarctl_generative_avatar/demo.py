"""The demo target: new people in the poses of photos, from all sides, mixed, dancing, and as a mesh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.export import gltf
from avatarctl.render.video import Film
from avatarctl.runs.motions import motion_file, read_motion
from avatarctl_generative_avatar import labels, pipeline
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import TRANSL
from avatarctl_generative_avatar.demo_report import Seen, page, table
from avatarctl_generative_avatar.export import figure_of
from avatarctl_generative_avatar.mesh import Surface, mesh_picture
from avatarctl_generative_avatar.panels import panels
from avatarctl_generative_avatar.pictures import grid
from avatarctl_generative_avatar.pipeline import People, Person
from avatarctl_generative_avatar.settings import Infer, Sampling
from avatarctl_generative_avatar.synthetic_people import Shot, Studio, photo

if TYPE_CHECKING:
    from avatarctl.motion import Motion
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_demo import Demo

UNSEEN = 1_000_000
"""Seeds of made-up photos from here on are not those of trainings."""
TURNING, DANCING, STEPS, SIDES = 4, 2, 8, 6
"""People that turn and that dance, steps from one to another, pictures around the mesh."""
FPS = 12.0
SAMPLING = Sampling(depth_resolution=18, depth_resolution_importance=18)
"""About as dense as the embedded weights were trained with."""
ROWS = ("photo", "person", "normals")
"""Of the sheet, from above."""


def run(settings: Demo, run: Run) -> None:
    """Make up people, and show them."""
    begun, motion = time.perf_counter(), motion_of(settings, run)
    given = Infer(weights=settings.weights, truncation=settings.truncation, sampling=SAMPLING)
    people = pipeline.of_settings(given, run)
    shots = photos(settings.number, run)
    persons = peopled(settings, people, shots, run)
    seen = list(beside(persons, shots, run))
    run.save("people.png", grid([getattr(one, row) for row in ROWS for one in seen], len(seen)))
    run.save("views.mp4", turntable(settings, persons[:TURNING], run))
    between = [shown(one, one.label)[0] for one in persons[0].towards(persons[1], STEPS)]
    run.save("blend.png", grid(between, STEPS))
    run.save("dance.mp4", dance(motion, persons[:DANCING], settings, run))
    surface = mesh(settings, persons[0], motion, run)
    took = time.perf_counter() - begun
    run.save("report.html", page(run, settings, seen, len(surface.faces), took))
    found = table(seen)
    run.report(found.rich(), poses={"rows": found.plain()}, seconds=round(took, 1))


def motion_of(settings: Demo, run: Run) -> Motion:
    """What they dance.

    Raises:
        DataError: There is no such motion.
    """
    if path := motion_file(settings.motion):
        run.input(path, "motion")
    return read_motion(settings.motion)


def photos(number: int, run: Run) -> list[Shot]:
    """What made-up photos show that no training has seen."""
    studio = Studio()
    return [studio.shot(UNSEEN + run.seed, index) for index in range(number)]


def peopled(settings: Demo, people: People, shots: Sequence[Shot], run: Run) -> list[Person]:
    """New people in the poses of photos."""
    z, _ = pipeline.drawn(len(shots), run.seed, people.generator.sizes.z_dim, 1)
    look = pipeline.Look(seed=run.seed)
    return [
        people.person(one[None], shot.label[None], settings.truncation, look, index)
        for index, (one, shot) in enumerate(zip(z, shots, strict=True))
    ]


def beside(persons: Sequence[Person], shots: Sequence[Shot], run: Run) -> Iterator[Seen]:
    """People beside the photos whose poses they take."""
    pairs = zip(persons, shots, strict=True)
    for person, shot in run.progress(pairs, "rendering people", len(shots)):
        picture, normals = shown(person, person.label)
        truth, facing = photo(shot, len(picture))
        yield Seen(truth, picture, normals, facing.min(axis=2) < 255)


def shown(person: Person, one: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Picture and normals of a person in a pose [1, 111], uint8 [H, W, 3] each."""
    side = person.people.generator.sizes.img_resolution
    found = panels(person.pictures(one, wants_normals=True), ("rgb", "normal"), side)
    return found["rgb"], found["normal"]


def turntable(settings: Demo, persons: Sequence[Person], run: Run) -> Film:
    """People seen from all around."""
    degrees = torch.arange(settings.views) * (360 / settings.views)
    return film(persons, [labels.turned(one.label, degrees) for one in persons], run)


def dance(motion: Motion, persons: Sequence[Person], settings: Demo, run: Run) -> Film:
    """People in one motion."""
    shown, body = motion.resampled(FPS)[: settings.length], persons[0].people.template.body
    return film(persons, [labels.of_motion(shown, one.label.cpu(), body) for one in persons], run)


def film(persons: Sequence[Person], given: Sequence[Tensor], run: Run) -> Film:
    """People side by side.

    Args:
        given: How each of them stands in the frames [F, 111].
    """
    side = persons[0].people.generator.sizes.img_resolution

    def make() -> Iterator[np.ndarray]:
        several = [person.frames(poses) for person, poses in zip(persons, given, strict=True)]
        for made in zip(*several, strict=True):
            yield np.concatenate([panels(one, ("rgb",), side)["rgb"] for one in made], axis=1)

    return Film(make, len(given[0]), FPS, progress=run.progress)


def mesh(settings: Demo, person: Person, motion: Motion, run: Run) -> Surface:
    """Write a person's surface, which follows the motion, and pictures of it from all sides."""
    surface, template = person.surface(settings.voxels, progress=run.progress), person.people.template
    at_rest = replace(surface, vertices=surface.vertices - TRANSL)
    run.output(gltf.write_figure(figure_of(at_rest, template), run.path("person.glb"), motion), "mesh")
    around = labels.turned(person.label, torch.arange(SIDES) * (360 / SIDES)).split(1)
    pictures = [shown(person, one)[0] for one in around]
    side = len(pictures[0])
    shapes = [mesh_picture(pipeline.skinned(surface, Posing(template, one)), side) for one in around]
    run.save("mesh.png", grid([*pictures, *shapes], SIDES))
    return surface
