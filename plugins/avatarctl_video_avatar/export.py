"""The export target: the avatar's surface as meshes (spec 8)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from avatarctl.errors import SettingsError
from avatarctl.export import gltf, meshes
from avatarctl.export.gltf import Figure
from avatarctl.geometry.isosurface import Progress
from avatarctl.geometry.meshes import Mesh, largest
from avatarctl.runs.motions import motion_file, read_motion
from avatarctl_video_avatar import canonical, mesh_files, pipeline
from avatarctl_video_avatar.canonical import Skeleton
from avatarctl_video_avatar.extract import extract, extract_dense
from avatarctl_video_avatar.items import Dataset, Items, placed, pose_of
from avatarctl_video_avatar.model.rendering import Painted, Scene
from avatarctl_video_avatar.pipeline import Person
from avatarctl_video_avatar.sample import Pose
from avatarctl_video_avatar.settings_train import frames_of

if TYPE_CHECKING:
    from avatarctl.motion import Motion
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_export import Export, Kind

FOLDER = "meshes"
VIEW = "2"
"""The published view of extracted frames."""
USUAL: dict[Kind, tuple[str, ...]] = {
    "canonical": ("ply", "glb"),
    "frame": ("obj", "npy", "ply"),
    "motion": ("glb",),
}
"""Formats where none is named."""


@dataclass(frozen=True)
class Extracted:
    """The surface in a pose: faces look outwards, `painted` is what its vertices show."""

    mesh: Mesh
    painted: Painted


def run(settings: Export, run: Run) -> None:
    """Extract and write meshes in each of the poses that are asked for."""
    kinds = settings.pose or (["motion"] if settings.motion else ["canonical", "frame"])
    work = _Work(settings, run, pipeline.of_settings(settings, run))
    begun = time.perf_counter()
    parts = [work.of(kind) for kind in dict.fromkeys(kinds)]
    rows = [row for part in parts for row in part]
    run.report(rows, resolution=settings.resolution, seconds=time.perf_counter() - begun)


def extracted(
    scene: Scene,
    vertices: np.ndarray,
    resolution: int,
    *,
    level: float = 0.0,
    dense: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """The largest part of an avatar's surface in the pose of a scene.

    Args:
        vertices: Of the posed body, which the grid is laid around [V, 3].
        resolution: Samples along each side of it.
        level: Signed distance of the surface.
        dense: Evaluate all samples.

    Raises:
        CheckpointError: There is no surface.
    """
    device = scene.bones.device

    def field(places: np.ndarray) -> np.ndarray:
        values: np.ndarray = scene.field(torch.from_numpy(places).to(device)).cpu().numpy()
        return values

    search = extract_dense if dense else extract
    mesh = largest(search(field, vertices, resolution, level=level, progress=progress).turned())
    return Extracted(mesh, scene.painted(torch.from_numpy(mesh.vertices).float().to(device)))


class _Work:
    """What one export does, and what its parts share."""

    def __init__(self, settings: Export, run: Run, person: Person) -> None:
        self.settings, self.run, self.person = settings, run, person

    def of(self, kind: Kind) -> Iterator[dict[str, Any]]:
        """Write the meshes of a kind, and tell of each; what is missing is told before anything is made."""
        formats = tuple(dict.fromkeys(self.settings.to or USUAL[kind]))
        if kind != "frame" and (unfit := [name for name in formats if name == "npy"]):
            raise SettingsError(
                f"to: {', '.join(unfit)} is the record of recorded frames, but the pose is {kind}",
                hint="--pose frame --to npy",
            )
        if kind == "frame":
            return self._frames(formats, self._items())
        return self._canonical(formats) if kind == "canonical" else self._moving(formats, *self._motion())

    @cached_property
    def skeleton(self) -> Skeleton:
        return Skeleton.of(self.person.data.canonical[0])

    @cached_property
    def star(self) -> tuple[Extracted, Figure]:
        """The surface in star pose, alone and following the skeleton."""
        pose = canonical.star_pose(self.person)
        found = self._extracted(pose, refine=False, progress=self.run.progress)
        shares = canonical.shares_of(self.person, found.painted.points, pose)
        return found, canonical.figure_of(found.mesh, found.painted.colours, shares, self.skeleton)

    @property
    def refine(self) -> bool | None:
        """Whether poses are corrected; None leaves it to the training's steps."""
        # parity: the published extraction always does, whatever the step (spec 9, Q25).
        return True if self.settings.refine == "always" else None

    def _extracted(self, pose: Pose, refine: bool | None, progress: Progress | None) -> Extracted:
        given = self.settings
        return extracted(
            self.person.scene(pose, refine),
            pose.vertices.cpu().numpy(),
            given.resolution,
            level=given.level,
            dense=given.dense,
            progress=progress,
        )

    def _canonical(self, formats: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        found, figure = self.star
        mesh = found.mesh
        if self.settings.rest == "t":
            assert figure.weights is not None
            back = torch.linalg.inv(self.skeleton.star)
            mesh = mesh._replace(vertices=canonical.moved(mesh.vertices, figure.weights, back))
        for name in formats:
            if name == "glb":
                self._glb("canonical.glb", figure, None)
            else:
                self._save(f"canonical.{name}", mesh, found.painted)
        yield _row("canonical", mesh)

    def _frames(self, formats: tuple[str, ...], items: Items) -> Iterator[dict[str, Any]]:
        if self.refine and self.person.step < self.person.rendering.kick_in_iter:
            self.run.log.warning(
                "poses are corrected though the training did not get to it (step %d of %d), as published; "
                "--refine trained leaves them",
                self.person.step,
                self.person.rendering.kick_in_iter,
            )
        numbers: Iterable[int] = range(len(items))
        inner = self.run.progress if len(items) == 1 else None
        for index in numbers if inner else self.run.progress(numbers, "frames", len(items)):
            view, frame = items.place(index)
            pose = pose_of(self.person.data.body(frame), self.person.data.canonical[0])
            found = self._extracted(pose, self.refine, inner)
            stem = f"view{view}_frame{index}"  # parity: the place among the frames, not their number (spec 8)
            for name in formats:
                if name == "npy":
                    self.run.save(f"{FOLDER}/{stem}.npy", mesh_files.record(found.mesh, items.picture(index)))
                elif name == "glb":
                    vertices, faces = (torch.from_numpy(part) for part in found.mesh)
                    self._glb(f"{stem}.glb", Figure(vertices, faces, found.painted.colours.cpu()), None)
                else:
                    self._save(f"{stem}.{name}", found.mesh, found.painted)
            if self.settings.normals:
                pixels = mesh_files.normal_picture(found.mesh, items.picture(index).shot)
                self.run.save(f"{FOLDER}/{stem}_normal.png", pixels)
            yield _row(stem, found.mesh)

    def _moving(self, formats: tuple[str, ...], name: str, motion: Motion) -> Iterator[dict[str, Any]]:
        found, figure = self.star
        if "glb" in formats:
            self._glb(f"{name}.glb", figure, motion)
        assert figure.weights is not None
        for suffix in (one for one in formats if one != "glb"):
            frames = enumerate(self.skeleton.motions(motion))
            for number, motions in self.run.progress(frames, suffix, len(motion)):
                vertices = canonical.moved(found.mesh.vertices, figure.weights, motions)
                self._save(f"{name}_{number:06d}.{suffix}", Mesh(vertices, found.mesh.faces), found.painted)
        yield _row(name, found.mesh, len(motion))

    def _motion(self) -> tuple[str, Motion]:
        """The motion by name, of SMPL's joints with y up, corrected like extracted frames."""
        root_joint = self.person.data.canonical[0][0]
        if self.settings.motion is None:
            bodies = self.person.data.bodies.values()
            joints, offset = self.person.data.canonical[0], self.settings.offset
            fits = [placed(body, joints, self._dataset, offset) for body in bodies]
            name, motion = "recorded", canonical.motion_of(fits, root_joint, self.settings.fps)
        else:
            path = motion_file(self.settings.motion)
            name = Path(path or self.settings.motion).name.partition(".")[0]
            motion = read_motion(self.settings.motion).to_skeleton("smpl")
            motion = motion.to_up("y", torch.from_numpy(root_joint).float())
            if path is not None:
                self.run.input(path, "motion")
        corrected = self.refine or self.person.step >= self.person.rendering.kick_in_iter
        return name, canonical.refined(self.person.avatar, motion) if corrected else motion

    @property
    def _dataset(self) -> Dataset:
        named = self.settings.dataset
        return cast(Dataset, self.person.data.about.dataset if named == "auto" else named)

    def _items(self) -> Items:
        data = self.person.data
        view = self.settings.view or (VIEW if VIEW in data.views else (data.views or [VIEW])[0])
        # Two samples a ray: masks alone are wanted of the pictures.
        rendering = self.person.rendering.model_copy(update={"n_samples": 2})
        frames = frames_of(self.settings.frames)
        return Items(
            data,
            [view],
            frames,
            rendering,
            self.person.body,
            dataset=self._dataset,
            offset=self.settings.offset,
        )

    def _save(self, name: str, mesh: Mesh, painted: Painted) -> None:
        thing = mesh if name.endswith(".obj") else meshes.coloured(mesh, painted.colours)
        self.run.save(f"{FOLDER}/{name}", thing)

    def _glb(self, name: str, figure: Figure, motion: Motion | None) -> None:
        self.run.output(gltf.write_figure(figure, self.run.path(f"{FOLDER}/{name}"), motion), "mesh")


def _row(name: str, mesh: Mesh, frames: int = 1) -> dict[str, Any]:
    extent = " x ".join(f"{length:.2f}" for length in np.ptp(mesh.vertices, axis=0))
    counts = {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}
    return {"mesh": name, "frames": frames, **counts, "metres": extent}
