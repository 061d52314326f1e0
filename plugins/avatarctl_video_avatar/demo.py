"""The demo target: the avatar of a made-up person, seen from a new side, in new poses, and as a mesh."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatarctl.export import gltf
from avatarctl.render.video import Film
from avatarctl.runs.motions import read_motion
from avatarctl_video_avatar import canonical, pictures, pipeline, synthetic
from avatarctl_video_avatar.cameras import around
from avatarctl_video_avatar.canonical import Skeleton
from avatarctl_video_avatar.demo_report import Seen, page, table
from avatarctl_video_avatar.export import Extracted, extracted
from avatarctl_video_avatar.infer import driven, rendered
from avatarctl_video_avatar.items import Items
from avatarctl_video_avatar.mesh_pictures import mesh_picture
from avatarctl_video_avatar.model.rendering import Picture
from avatarctl_video_avatar.pipeline import Person
from avatarctl_video_avatar.prepared import MESHES
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.scores import scores
from avatarctl_video_avatar.settings import Infer
from avatarctl_video_avatar.settings_synthetic import PrepareSynthetic

if TYPE_CHECKING:
    from pathlib import Path

    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_demo import Demo

MADE = PrepareSynthetic()
"""The recording that the embedded weights were trained on."""
VIEWS, FRAMES = (3, 7), (8, 35)
"""Cameras that neither training nor tuning has seen; a frame of the training, and one after it."""
KINDS = ("pose of the training", "new pose")
FPS = 12.0
SIDES, SIDE = 6, 480
"""Pictures around the mesh, and their height in pixels."""
GAP = 4
"""White pixels between pictures."""


def run(settings: Demo, run: Run) -> None:
    """Make up the recording, show the avatar beside it, let it dance, and take its mesh."""
    begun = time.perf_counter()
    person = pipeline.for_pictures(Infer(data=recording(run), weights=settings.weights), run)
    seen = list(beside(person, run))
    run.save("views.png", stacked([one.panels for one in seen]))
    run.save("dance.mp4", film(settings, person, run))
    mesh = surface(settings, person, run)
    took = time.perf_counter() - begun
    run.save("report.html", page(run, settings, seen, mesh.mesh, person.step, took))
    shown = table(seen)
    run.report(shown.rich(), pictures={"rows": shown.plain()}, seconds=round(took, 1))


def recording(run: Run) -> Path:
    """What held-out cameras see of the made-up person, in the prepared layout."""
    folder = run.path(MADE.into.name)
    synthetic.write_made(folder, synthetic.Made.of(MADE), VIEWS, FRAMES, MADE.volume_size, run)
    run.output(folder / MESHES, "prepared")
    return folder


def beside(person: Person, run: Run) -> Iterator[Seen]:
    """The avatar from held-out cameras beside the true pictures, one frame after the other."""
    views = [str(view) for view in VIEWS]
    items = Items(person.data, views, slice(None), person.rendering, person.body)
    order = sorted(range(len(items)), key=lambda index: items.place(index)[1])
    for index in run.progress(order, "rendering views", len(order)):
        sample = items.picture(index)
        view, frame = items.place(index)
        found = rendered(person, sample, run.seed)
        truth, shown = pictures.truth(sample), pictures.shown(found)
        panels = [pictures.to_bytes(one) for one in (truth, shown, pictures.camera_normals(found, sample))]
        yield Seen(
            f"camera {view}, {KINDS[FRAMES.index(int(frame.rpartition('_')[2]))]}",
            scores(found, sample, None),
            scores(flat(sample), sample, None),
            panels,
        )


def flat(sample: Sample) -> Picture:
    """The true outline, filled with the mean colour of what is in it: what an avatar has to beat."""
    shot, rays = sample.shot, sample.rays
    inside = rays.alpha[:, None]
    mean = (rays.colours - (1 - inside) * sample.background).sum(dim=0) / inside.sum()
    image = (inside * mean + (1 - inside) * sample.background).view(shot.height, shot.width, 3)
    nothing = torch.zeros_like(image)
    return Picture(image, nothing, nothing, rays.alpha.view(shot.height, shot.width))


def film(settings: Demo, person: Person, run: Run) -> Film:
    """The avatar in poses of another clip, seen by a camera that goes around."""
    given = Infer(
        data=person.data.folder,
        motion=settings.motion,
        camera="orbit",
        size=settings.size,
        frames=settings.length,
        fps=FPS,
        background=[255, 255, 255],
    )
    count, samples = driven(given, person, run)

    def make() -> Iterator[np.ndarray]:
        for sample in samples:
            yield pictures.to_bytes(pictures.shown(rendered(person, sample, run.seed)))

    return Film(make, count, FPS, progress=run.progress)


def surface(settings: Demo, person: Person, run: Run) -> Extracted:
    """Write the mesh, which follows the clip, and pictures of it from all sides."""
    pose = canonical.star_pose(person)
    scene = person.scene(pose, refine=False)
    found = extracted(scene, pose.vertices.numpy(), settings.resolution, progress=run.progress)
    shares = canonical.shares_of(person, found.painted.points, pose)
    joints = person.data.canonical[0]
    figure = canonical.figure_of(found.mesh, found.painted.colours, shares, Skeleton.of(joints))
    motion = read_motion(settings.motion).to_skeleton("smpl")
    motion = motion.to_up("y", torch.from_numpy(joints[0]).float())
    run.output(gltf.write_figure(figure, run.path("avatar.glb"), motion), "mesh")
    run.save("mesh.png", turntable(found))
    return found


def turntable(found: Extracted) -> np.ndarray:
    """The mesh from all sides, coloured above and plain below."""
    size, up = (SIDE, SIDE), torch.tensor([0.0, 1.0, 0.0])
    box = np.stack([found.mesh.vertices.min(axis=0), found.mesh.vertices.max(axis=0)])
    ring = around([box] * SIDES, up.double().numpy(), size, turns=1.0)
    return stacked(
        [
            [mesh_picture(found.mesh, colours, camera, size, up) for camera in ring]
            for colours in (found.painted.colours, None)
        ]
    )


def stacked(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Rows of pictures of one size, cut to what they show, with white between them, uint8 [H, W, 3]."""
    every = np.stack([np.stack(row) for row in rows])  # [R, C, H, W, 3]
    is_shown = (every != every[:, :, :1, :1]).any(axis=(0, 1, 4))
    height, width = (
        slice(max(0, int(places[0]) - GAP), int(places[-1]) + GAP + 1)
        for places in (is_shown.any(axis=axis).nonzero()[0] for axis in (1, 0))
    )
    edges = ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0))
    padded = np.pad(every[:, :, height, width], edges, constant_values=255)
    joined: np.ndarray = np.concatenate(np.concatenate(padded.transpose(1, 0, 2, 3, 4), axis=2))
    return joined[:-GAP, :-GAP]
