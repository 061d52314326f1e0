"""The infer target: pictures and films of an avatar, in recorded or new poses and from any camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError
from avatarctl.metrics.image import Lpips
from avatarctl.render.video import Film
from avatarctl.runs.motions import motion_file, read_motion
from avatarctl_video_avatar import pictures, pipeline
from avatarctl_video_avatar.body_fit import posed
from avatarctl_video_avatar.cameras import around
from avatarctl_video_avatar.driving import (
    AIST_ROOM,
    fits_of_aist,
    fits_of_motion,
    fits_of_recording,
    read_aist,
    up_axis,
)
from avatarctl_video_avatar.items import Items, placed, pose_of, sample_of
from avatarctl_video_avatar.model.rendering import Picture, picture
from avatarctl_video_avatar.pipeline import Person
from avatarctl_video_avatar.prepared import CAMERAS, HINT, Camera, Fit, FrameBody, Prepared
from avatarctl_video_avatar.preparing import bodies_of
from avatarctl_video_avatar.rays import rotation_of
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.scores import lpips_for, means, scores

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings import Avatar, Infer, Pictures

COLOURS = 255.0
SEEN = 0.1
"""Opacity below which nobody is seen."""


@dataclass(frozen=True)
class Mode:
    """Which pictures a mode shows, and whether true ones are shown beside them (spec 1.3)."""

    views: tuple[str, ...] | None
    """None: those of the training's validation, else all."""
    frames: tuple[int, int, int]
    """First, end and step."""
    is_compared: bool


MODES = {
    "val": Mode(("2",), (0, -1, 2), True),
    "nvs": Mode(("2",), (0, -1, 2), True),
    "unseen": Mode(None, (300, -1, 50), True),
    "test": Mode(("0",), (0, -1, 1), False),
    "odp": Mode(("0",), (0, -1, 1), False),
}
"""The published README's words, val and test, and those of the published code."""
NEW_POSES = "odp"


@dataclass(frozen=True)
class Shots:
    """Pictures to make: their samples come when they are asked for."""

    mode: str
    count: int
    samples: Iterator[Sample]
    is_compared: bool


def run(settings: Infer, run: Run) -> None:
    """Pictures of a recording beside the true ones, or of new poses and cameras."""
    moves = settings.motion is not None or settings.pose is not None
    if settings.mode == NEW_POSES and not moves:
        raise SettingsError(
            "mode: odp shows new poses, and there are none", hint="--motion FILE or --pose FILE"
        )
    person = pipeline.for_pictures(settings, run)
    if settings.camera != "dataset" or moves:
        mode = NEW_POSES if moves else settings.mode
        show(settings, run, person, Shots(mode, *driven(settings, person, run), False))
        return
    is_compared = MODES[settings.mode].is_compared
    shots = Shots(settings.mode, *recorded(settings, person, run), is_compared)
    show(settings, run, person, shots, lpips_for(person.weights, run) if is_compared else None)


def items_of(settings: Pictures, person: Person, run: Run) -> Items:
    """The pictures of the recording that a mode shows.

    Raises:
        SettingsError: The recording has no such view, or no such frames.
    """
    data, views = person.data, views_of(settings, person, run)
    try:
        return Items(
            data,
            views,
            _frames(settings, *MODES[settings.mode].frames),
            person.rendering,
            person.body,
            dataset=dataset_of(settings, data),
            offset=settings.offset,
            background=_background(settings),
            res_level=settings.resolution_level,
        )
    except SettingsError as error:
        raise SettingsError(
            f"mode {settings.mode}: {error.message}",
            hint=f"--start, --end and --step choose others: --start 0 --end {len(data.bodies)} takes all",
        ) from error


def views_of(settings: Pictures, person: Person, run: Run) -> list[str]:
    """The views that were asked for; else those of the mode that there are; else the last one.

    Raises:
        DataError: The recording has none.
        SettingsError: It lacks one that was asked for.
    """
    data, usual = person.data, MODES[settings.mode].views
    if not data.views:
        raise DataError(f"{data.folder}: no view in it, no VIEW/{CAMERAS}", hint=HINT)
    if settings.views:
        return pipeline.view_names(data, settings.views)
    if usual is None:
        usual = tuple(map(str, person.weights.config.get("validate_views") or data.views))
    names = [name for name in usual if name in data.views] or data.views[-1:]
    if names != list(usual):
        run.log.info("mode %s: views %s; --views chooses others", settings.mode, ", ".join(names))
    return names


def dataset_of(settings: Avatar, data: Prepared) -> str:
    """Where a recording is from: as its preparation or the user says."""
    return data.about.dataset if settings.dataset == "auto" else settings.dataset


def _background(settings: Pictures) -> list[float]:
    return [value / COLOURS for value in settings.background]


def _frames(settings: Pictures, start: int, end: int | None, step: int) -> slice:
    """The frames that were asked for, else those given."""
    return slice(
        start if settings.start is None else settings.start,
        end if settings.end is None else settings.end,
        settings.step or step,
    )


def recorded(settings: Infer, person: Person, run: Run) -> tuple[int, Iterator[Sample]]:
    """How many pictures of the recording there are, and they."""
    items = items_of(settings, person, run)
    most = settings.frames or len(items)
    shown = [row for row, (_, _, number) in enumerate(items.places) if number < most]
    return len(shown), (items.picture(row) for row in shown)


def driven(settings: Infer, person: Person, run: Run) -> tuple[int, Iterator[Sample]]:
    """How many pictures of new poses or cameras there are, and they."""
    about = person.data.about
    room = AIST_ROOM if _is_aist(settings) else (about.pad, about.delta)
    fits = poses_of(settings, person, run)
    size, cameras = cameras_of(settings, person, list(fits.values()))

    def samples() -> Iterator[Sample]:
        for row, (name, fit) in enumerate(fits.items()):
            body = fit if isinstance(fit, FrameBody) else bodies_of({name: fit}, person.body, *room)[name]
            for view, several in cameras.items():
                yield _sample(settings, person, body, several[row], size, view, name)

    return len(fits) * len(cameras), samples()


def _is_aist(settings: Infer) -> bool:
    if settings.pose is None:
        return False
    if settings.pose_type == "auto":
        return not settings.pose.is_dir()
    return settings.pose_type == "aist++"


def poses_of(settings: Infer, person: Person, run: Run) -> dict[str, Fit]:
    """Fits by frame name; those of the recording itself are whole bodies.

    Raises:
        SettingsError: There are no such frames.
        DataError: A file holds no poses.
    """
    data, dataset = person.data, dataset_of(settings, person.data)
    joints = data.canonical[0]
    known = {name: placed(body, joints, dataset, settings.offset) for name, body in data.bodies.items()}
    betas = np.mean([body.betas for body in data.bodies.values()], axis=0)
    found: Mapping[str, Fit]
    if settings.motion is not None:
        if path := motion_file(settings.motion):
            run.input(path, "motion")
        motion = read_motion(settings.motion).resampled(settings.fps)
        several = list(known.values())
        found = _named(fits_of_motion(motion, joints[0], betas, several, is_placed=settings.placed))
        return _chosen(found, settings, None, settings.motion)
    if settings.pose is None:
        return _chosen(known, settings, -1, str(data.folder))
    run.input(settings.pose, "pose")
    if _is_aist(settings):
        motion = read_aist(settings.pose).resampled(settings.fps)
        # parity: the shape of the first frame, not the mean one (spec 6)
        found = _named(fits_of_aist(motion, next(iter(data.bodies.values())).betas))
    else:
        found = fits_of_recording(Prepared(settings.pose), betas)
    return _chosen(found, settings, -1, str(settings.pose))


def _named(fits: Sequence[Fit]) -> dict[str, Fit]:
    return {f"frame_{row:06d}": fit for row, fit in enumerate(fits)}


def _chosen(fits: Mapping[str, Fit], settings: Infer, end: int | None, source: str) -> dict[str, Fit]:
    """The frames that were asked for, else those before `end`."""
    frames = _frames(settings, 0, end, 1)
    names = list(fits)[frames][: settings.frames or None]
    if not names:
        raise SettingsError(
            f"frames {frames.start}:{frames.stop}:{frames.step} are none of the {len(fits)} of {source}",
            hint=f"--start 0 --end {len(fits)} takes all",
        )
    return {name: fits[name] for name in names}


def cameras_of(
    settings: Infer, person: Person, fits: Sequence[Fit]
) -> tuple[tuple[int, int], dict[str, list[Camera]]]:
    """Rows and columns of whole pictures, and by name of the view a camera for each frame."""
    data = person.data
    if settings.camera == "dataset":
        if not data.views:
            raise DataError(f"{data.folder}: no view in it, no VIEW/{CAMERAS}", hint=HINT)
        usual = [name for name in MODES[NEW_POSES].views or () if name in data.views] or data.views[:1]
        names = pipeline.view_names(data, settings.views) if settings.views else usual
        first = {name: data.frames(name)[0] for name in names}
        height, width, _ = data.image(names[0], first[names[0]]).shape
        return (height, width), {name: [data.camera(name, first[name])] * len(fits) for name in names}
    size, recorded = (settings.size, settings.size), list(data.bodies.values())
    cameras = around(
        [_box(person, fit) for fit in fits],
        up_axis(recorded),
        size,
        turns=settings.turns if settings.camera == "orbit" else 0.0,
        start=settings.azimuth,
        facing=rotation_of(fits[0].Rh)[:, 2],  # SMPL looks along z
    )
    return size, {settings.camera: cameras}


def _box(person: Person, fit: Fit) -> np.ndarray:
    """Corners of a body in the world, metres [2, 3]."""
    vertices = fit.posed_vertices if isinstance(fit, FrameBody) else posed(person.body, [fit])[0][0]
    points = vertices @ rotation_of(fit.Rh).T + fit.Th
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _sample(
    settings: Infer,
    person: Person,
    body: FrameBody,
    camera: Camera,
    size: tuple[int, int],
    view: str,
    name: str,
) -> Sample:
    """A picture of a body, which stands where its Rh and Th say."""
    mesh = None
    if person.rendering.inner_sampling:
        mesh = (body.dilated_vertices, body.dilated_triangles)
        if not person.rendering.use_dilated:
            mesh = (body.posed_vertices, person.body.faces.numpy())
    return sample_of(
        pose_of(body, person.data.canonical[0]),
        camera,
        body,
        size,
        person.rendering,
        mesh,
        res_level=settings.resolution_level if settings.camera == "dataset" else 1,
        background=_background(settings),
        boxed=body.dilated_vertices if dataset_of(settings, person.data) == "selfrecon" else None,
        view=view,
        frame=name,
    )


def show(settings: Infer, run: Run, person: Person, shots: Shots, lpips: Lpips | None = None) -> None:
    """Write the pictures, a film of each view, and what the pictures measure."""
    frames: dict[str, list[Path]] = {}
    measured: list[dict[str, float]] = []
    empty: list[str] = []
    for sample in run.progress(shots.samples, "pictures", shots.count):
        found = rendered(person, sample, run.seed)
        stem = f"{shots.mode}/view{sample.shot.view}/{sample.shot.frame}"
        if float(found.opacity.max()) < SEEN:
            empty.append(stem)
        frames.setdefault(sample.shot.view, []).append(
            run.save(f"{stem}_rgb.png", pictures.to_bytes(pictures.shown(found)))
        )
        if shots.is_compared:
            run.save(f"{stem}_gt.png", pictures.to_bytes(pictures.truth(sample)))
            measured.append(scores(found, sample, lpips))
        if settings.normals == "camera":
            run.save(f"{stem}_normal.png", pictures.to_bytes(pictures.camera_normals(found, sample)))
        elif settings.normals == "published":
            normals = pictures.published_normals(found, sample, is_test=not shots.is_compared)
            run.save(f"{stem}_normal.png", pictures.to_bytes(normals))
    if settings.video:
        for view, files in frames.items():
            if len(files) > 1:
                run.save(f"{shots.mode}/view{view}.mp4", film_of(files, settings.fps))
    if empty:
        run.log.warning(
            "nobody is in view in %d of %d pictures, first in %s; --camera orbit follows the person",
            len(empty),
            shots.count,
            empty[0],
        )
    run.report(pictures=shots.count, **means(measured))


def rendered(person: Person, sample: Sample, seed: int) -> Picture:
    """A picture of an avatar; its jitter depends on view and frame alone."""
    noise = Noise.seeded(seed, f"{sample.shot.view}/{sample.shot.frame}")
    scene = person.scene(sample.pose)
    return picture(scene, sample.to(person.device), noise)


def film_of(files: Sequence[Path], fps: float) -> Film:
    """A film of picture files."""
    from PIL import Image

    def make() -> Iterator[np.ndarray]:
        for path in files:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB"))

    return Film(make, len(files), fps)
