"""The export target: new people as meshes, with skeleton and motion, and what they came from (spec 8)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatarctl.export import gltf, meshes
from avatarctl.export.gltf import Bones, Figure
from avatarctl.runs.motions import motion_file, read_motion
from avatarctl_generative_avatar import label, pipeline
from avatarctl_generative_avatar import people as people_files
from avatarctl_generative_avatar.deform.template import TRANSL, Template
from avatarctl_generative_avatar.mesh import Surface, extract
from avatarctl_generative_avatar.people import Origin
from avatarctl_generative_avatar.pipeline import Person

if TYPE_CHECKING:
    from avatarctl.geometry.isosurface import Progress
    from avatarctl.motion import Motion
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_export import Export, Pose

MESHES = "meshes"


def run(settings: Export, run: Run) -> None:
    """Extract and write each person in each of the poses that are asked for."""
    moving = None if settings.motion is None else _motion(settings.motion, run)
    kept = people_files.chosen(settings, run)
    people = pipeline.of_settings(settings, run)
    begun = time.perf_counter()
    persons = pipeline.sample(settings, people, run, kept)
    origin = pipeline.origin_of(settings, people, run, kept)
    work = _Work(settings, run, moving, origin, is_alone=len(persons) == 1)
    shown = persons if work.is_alone else run.progress(persons, "people", len(persons))
    rows = [row for person in shown for row in work.of(person)]
    run.report(rows, voxels=settings.voxels, seconds=time.perf_counter() - begun)


def surface_of(
    person: Person,
    voxels: int,
    pose: Pose = "canonical",
    *,
    published: bool = False,
    progress: Progress | None = None,
) -> Surface:
    """A person's surface in metres with y up: at rest its skeleton stands where SMPL's does.

    Args:
        voxels: Samples along each side of the box around the body.
        published: As the published code has it, in its axes: posed ones have y down.

    Raises:
        CheckpointError: There is no surface.
    """
    people, is_canonical = person.people, pose == "canonical"
    found = extract(
        people.generator,
        person.kept_planes,
        people.template,
        person.label,
        voxels,
        canonical=is_canonical,
        published=published,
        chunk=people.rendering.chunk,
        box_warp=people.rendering.box_warp,
        progress=progress,
    )
    if published:
        return found
    vertices = found.vertices - TRANSL if is_canonical else found.vertices * [1.0, -1.0, -1.0]
    return replace(found, vertices=vertices)


def figure_of(surface: Surface, template: Template) -> Figure:
    """A surface at rest, from `surface_of`, that follows the mean shape's skeleton."""
    joints = template.body.rest_joints.cpu()
    vertices, faces = torch.from_numpy(surface.vertices), torch.from_numpy(surface.faces)
    return Figure(vertices, faces, surface.colours, Bones("smpl", joints), surface.weights)


def _motion(words: str, run: Run) -> tuple[str, Motion]:
    """A motion by its name."""
    motion, path = read_motion(words), motion_file(words)
    if path is not None:
        run.input(path, "motion")
    return Path(path or words).name.partition(".")[0], motion


@dataclass(frozen=True)
class _Work:
    """What one export does for each person; `moving` is a motion by its name."""

    settings: Export
    run: Run
    moving: tuple[str, Motion] | None
    origin: Origin
    is_alone: bool

    def of(self, person: Person) -> Iterator[dict[str, Any]]:
        """Write a person's meshes, and tell of each."""
        stem = f"{person.number:05d}"
        for name, thing in origin_of(person, self.settings, self.origin).items():
            self.run.save(f"{people_files.FOLDER}/{stem}.{name}", thing)
        for pose in dict.fromkeys(self.settings.pose):
            found = surface_of(
                person,
                self.settings.voxels,
                pose,
                published=self.settings.published_mesh,
                # Of one person, samples show how far it is; of many, people do.
                progress=self.run.progress if self.is_alone else None,
            )
            for name in dict.fromkeys(self.settings.to):
                if name == "glb":
                    self._save_glb(found, person, pose)
                else:
                    painted = meshes.coloured(found.mesh, found.colours)
                    self.run.save(f"{MESHES}/{stem}_{pose}.{name}", painted)
            yield _row(stem, pose, found)

    def _save_glb(self, surface: Surface, person: Person, pose: Pose) -> None:
        stem, motion = f"{person.number:05d}_{pose}", None
        if pose == "label" or self.settings.published_mesh:
            vertices, faces = map(torch.from_numpy, surface.mesh)
            figure = Figure(vertices, faces, surface.colours)
        else:
            figure = figure_of(surface, person.people.template)
            if self.moving is not None:
                name, motion = self.moving
                stem = f"{person.number:05d}_{name}"
        path = self.run.path(f"{MESHES}/{stem}.glb")
        self.run.output(gltf.write_figure(figure, path, motion), "mesh")


def origin_of(person: Person, settings: Export, origin: Origin) -> dict[str, Any]:
    """What a person was made from: arrays `npz`, and `json` that says the same of the label in words."""
    one = person.label.cpu()
    words = {
        "weights": str(person.people.weights.path),
        "seed": origin.seed,
        "number": person.number,
        "truncation": origin.truncation,
        "noise": settings.noise,
        "label": {
            "cam2world": label.cam2world(one)[0].tolist(),
            "intrinsics": label.intrinsics(one)[0].tolist(),
            "scale": float(label.scale(one)),
            "transl": label.transl(one)[0].tolist(),
            "poses": label.poses(one)[0].tolist(),
            "betas": label.betas(one)[0].tolist(),
        },
    }
    arrays = people_files.arrays_of_one(person.ws[0], one[0], person.number, origin)
    return {"npz": arrays, "json": words}


def _row(person: str, pose: Pose, surface: Surface) -> dict[str, Any]:
    extent = " x ".join(f"{length:.2f}" for length in np.ptp(surface.vertices, axis=0))
    counts = {"vertices": len(surface.vertices), "faces": len(surface.faces)}
    return {"person": person, "pose": pose, **counts, "metres": extent}
