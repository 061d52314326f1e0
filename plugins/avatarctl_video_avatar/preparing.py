"""A recording's prepared layout: bodies, dilated meshes, base shape, cameras and pictures (spec 2.9, 3.1).

Frames are independent and spread over processes. While a preparation lasts, finished bodies lie in the folder
`.preparing` beside the views, with a mark of what they are made of; the same preparation goes on from there.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.body import BodyModel
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.device.workers import results
from avatarctl.errors import DataError
from avatarctl.files import atomic, sweep, write_text
from avatarctl.geometry.isosurface import Progress
from avatarctl_video_avatar.body_fit import canonical, posed, star_vertices
from avatarctl_video_avatar.cube import cube_sdf, dilated
from avatarctl_video_avatar.prepared import (
    CAMERAS,
    MESHES,
    About,
    Fit,
    FrameBody,
    Kind,
    Prepared,
    Sex,
    Volume,
    write_bodies,
    write_picture,
    write_view,
)
from avatarctl_video_avatar.raw.recording import Recording, Shot

if TYPE_CHECKING:
    from avatarctl.runs import Run

UNFINISHED, MARK = ".preparing", "of.txt"
"""Folder of finished frames, and the file in it that says what they were made from."""
CHUNK = 32
"""Pictures that are written in a row; each row decodes its film from the beginning."""


@dataclass(frozen=True)
class _Frame:
    """A posed body, and the file for it and its dilated mesh."""

    path: Path
    vertices: np.ndarray
    joints: np.ndarray
    faces: np.ndarray
    pad: float
    delta: float

    def do(self) -> None:
        if self.path.is_file():
            return
        placed = _placed(self.vertices, self.joints, self.faces, self.pad, self.delta)
        with atomic(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **placed)


@dataclass(frozen=True)
class _Row:
    """Some pictures of a view by frame name, and the view's folder."""

    folder: Path
    shots: dict[str, Shot]

    def do(self) -> None:
        for name, shot in self.shots.items():
            for place, pixels in (("images", shot.image), ("masks", shot.mask)):
                path = self.folder / place / f"{name}.png"
                if not path.is_file():
                    write_picture(path, pixels())


def prepare(
    recording: Recording,
    out: Path,
    body_of: Callable[[Sex], BodyModel],
    kind: Kind,
    *,
    volume_size: int,
    run: Run | None,
    processes: int,
) -> None:
    """Write the prepared layout of a recording; what an ended preparation of the same has finished is kept.

    Args:
        body_of: The body model of a sex.
        volume_size: Samples along each side of the base shape's cube.
        processes: How many work at the same time.

    Raises:
        DataError: A picture or mask is broken, or `out` has views of another preparation.
    """
    body = body_of(recording.sex)
    unfinished = _begin(recording, out, _mark(recording, body, kind))
    rows = [
        _Row(out / view, dict(list(shots.items())[start : start + CHUNK]))
        for view, shots in recording.views.items()
        for start in range(0, len(shots), CHUNK)
    ]
    _do_all(_frames(recording, body, unfinished), "bodies", len(recording.fits), run, processes)
    _do_all(rows, f"rows of {CHUNK} pictures", len(rows), run, processes)
    for view, shots in recording.views.items():
        write_view(out / view, {name: shot.camera for name, shot in shots.items()})
    bodies = {
        name: FrameBody(**_arrays(fit), **read_npz(unfinished / f"{name}.npz"))
        for name, fit in recording.fits.items()
    }
    betas = recording.betas
    if betas is None:
        # parity: the mean of float32 numbers, though they may all be equal (spec 3.1, step 7)
        betas = np.mean([fit.betas for fit in recording.fits.values()], axis=0)
    # A base shape that is there already is made again (spec 9, Q4).
    progress = run.progress if run else None
    volume = star_volume(body, betas, volume_size, recording.pad, progress)
    about = About(kind, recording.dataset, recording.pad, recording.delta)
    write_bodies(out, bodies, canonical(body, betas), volume, about)
    shutil.rmtree(unfinished)


def bodies_of(
    fits: Mapping[str, Fit], body: BodyModel, pad: float, delta: float, progress: Progress | None = None
) -> dict[str, FrameBody]:
    """Posed bodies with their dilated meshes, by frame name."""
    bodies, faces = {}, body.faces.numpy()
    for name, fit in progress(fits.items(), "bodies", len(fits)) if progress else fits.items():
        vertices, joints = (array[0] for array in posed(body, [fit]))
        bodies[name] = FrameBody(**_arrays(fit), **_placed(vertices, joints, faces, pad, delta))
    return bodies


def star_volume(
    body: BodyModel, betas: np.ndarray, size: int, pad: float, progress: Progress | None = None
) -> Volume:
    """The base shape: signed distances to a body in star pose (spec 3.1, step 8)."""
    star = star_vertices(body, *canonical(body, betas))
    return cube_sdf(star, body.faces.numpy(), size, pad, progress)


def _arrays(fit: Fit) -> dict[str, np.ndarray]:
    return {field.name: getattr(fit, field.name) for field in fields(Fit)}


def _placed(
    vertices: np.ndarray, joints: np.ndarray, faces: np.ndarray, pad: float, delta: float
) -> dict[str, np.ndarray]:
    """What a `FrameBody` has beside the fit."""
    surface, triangles = dilated(vertices, faces, pad, delta)
    return {
        "posed_vertices": vertices,
        "joints": joints,
        "dilated_vertices": surface,
        "dilated_triangles": triangles,
    }


def _frames(recording: Recording, body: BodyModel, folder: Path) -> Iterator[_Frame]:
    faces = body.faces.numpy()
    for name, fit in recording.fits.items():
        vertices, joints = posed(body, [fit])
        yield _Frame(folder / f"{name}.npz", vertices[0], joints[0], faces, recording.pad, recording.delta)


def _mark(recording: Recording, body: BodyModel, kind: Kind) -> str:
    """What bodies and pictures are made from, in one line."""
    words = (recording.name, recording.dataset, recording.sex, recording.pad, recording.delta, kind)
    digest = hashlib.sha256(repr(words).encode())
    for tensor in (body.template, body.shape_directions, body.pose_directions, body.regressor, body.weights):
        digest.update(tensor.numpy().tobytes())
    for name, fit in recording.fits.items():
        digest.update(name.encode() + b"".join(array.tobytes() for array in _arrays(fit).values()))
    for view, shots in recording.views.items():
        digest.update(repr((view, list(shots))).encode())
    return digest.hexdigest()


def _begin(recording: Recording, out: Path, mark: str) -> Path:
    """The folder of finished frames; unless it is of the same preparation, what `out` has is cleared."""
    unfinished = out / UNFINISHED
    path = unfinished / MARK
    if path.is_file() and path.read_text("utf-8").strip() == mark:
        sweep(out)
        return unfinished
    _check_others(recording, out)
    shutil.rmtree(unfinished, ignore_errors=True)
    (out / MESHES).unlink(missing_ok=True)
    for view in recording.views:
        for picture in (*(out / view / "images").glob("*.png"), *(out / view / "masks").glob("*.png")):
            picture.unlink()
    write_text(path, mark + "\n")
    return unfinished


def _check_others(recording: Recording, out: Path) -> None:
    """Refuse a folder with other views of other bodies, whose pictures would get the new ones.

    Raises:
        DataError: There are such views.
    """
    others = sorted({path.parent.name for path in out.glob(f"*/{CAMERAS}")} - recording.views.keys())
    if not others:
        return
    bodies = Prepared(out).bodies if (out / MESHES).is_file() else {}
    same = bodies.keys() == recording.fits.keys() and all(
        np.array_equal(array, getattr(bodies[name], key))
        for name, fit in recording.fits.items()
        for key, array in _arrays(fit).items()
    )
    if not same:
        raise DataError(
            f"{out}: views {', '.join(others[:6])} are there, prepared with other frames or bodies",
            hint=f"choose another folder with --into, or remove {out}",
        )


def _do_all(tasks: Iterable[_Frame | _Row], what: str, count: int, run: Run | None, processes: int) -> None:
    """Do all tasks.

    Raises:
        DataError: A task failed, or a process was killed.
    """
    again = "type the same command again, with --processes 1 if it recurs; finished frames are kept"
    done = results(_do, tasks, min(processes, count), again=again)
    for _ in run.progress(done, what, count) if run else done:
        pass


def _do(task: _Frame | _Row) -> None:
    task.do()
