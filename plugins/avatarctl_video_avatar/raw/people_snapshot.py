"""People-Snapshot as published (spec 2.5): a film, camera.pkl, masks.hdf5, reconstructed_poses.hdf5."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl_video_avatar.prepared import JOINTS, Camera, Fit, Sex
from avatarctl_video_avatar.raw import places
from avatarctl_video_avatar.raw.annots import HINT, fit, numbers
from avatarctl_video_avatar.raw.film import BROKEN, Film, FilmMask, FilmPicture
from avatarctl_video_avatar.raw.recording import Recording, Shot

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PreparePeopleSnapshot

PAD, DELTA = 0.05, 0.03
CAMERA, MASKS, POSES = "camera.pkl", "masks.hdf5", "reconstructed_poses.hdf5"
VIEW = "0"
MOST_FRAMES, MOST_PIXELS = 1_000_000, 16_384
"""A film with more of them, or a side with more of them, is a broken file."""
UNTURNED = 1e-4
"""Largest rotation vector of the camera that is taken for none."""


def folder(settings: PreparePeopleSnapshot) -> Path:
    """The person's raw folder."""
    return places.find(settings, CAMERA, [settings.subject] if settings.subject else [])


def read(settings: PreparePeopleSnapshot) -> Recording:
    """The recording in a raw folder.

    Raises:
        DataError: Anything is missing or broken.
    """
    root = folder(settings)
    film = _film(root)
    size, camera = _camera(root / CAMERA)
    count, found = _masks(root / MASKS)
    if size is not None and size != found:
        raise DataError(
            f"{root / MASKS}: masks of {found[1]} x {found[0]} pixels; {root / CAMERA} says "
            f"{size[1]} x {size[0]}", hint=HINT,
        )  # fmt: skip
    poses = _poses(root / POSES, count)
    rows = places.frames(count, settings, root / MASKS, keeps_last=True)
    places.views(settings, [VIEW], root)
    names = [f"frame_{index:06d}" for index in range(len(rows))]
    shots = {
        name: Shot(FilmPicture(film, row, found), FilmMask(root / MASKS, row, settings.allow_empty), camera)
        for name, row in zip(names, rows, strict=True)
    }
    fits = {name: poses(row) for name, row in zip(names, rows, strict=True)}
    name = settings.subject or root.resolve().name
    return Recording(
        name,
        fits,
        {VIEW: shots},
        settings.sex or sex_of(name, root),
        PAD,
        DELTA,
        "people-snapshot",
        fits[names[0]].betas,
    )


def sex_of(name: str, root: Path) -> Sex:
    """What a person's name begins with.

    Raises:
        DataError: It begins otherwise.
    """
    sexes: tuple[Sex, ...] = ("female", "male")
    for sex in sexes:
        if name.lower().startswith(sex):
            return sex
    raise DataError(
        f"{root}: the name '{name}' does not tell the sex", hint="type --sex male or --sex female"
    )


def _film(root: Path) -> Film:
    films = sorted(root.glob("*.mp4"))
    if len(films) != 1:
        found = ", ".join(path.name for path in films[:3]) or "none"
        raise DataError(f"{root}: films: found {found}; expected one .mp4", hint=HINT)
    return Film(films[0])


def _camera(path: Path) -> tuple[tuple[int, int] | None, Camera]:
    """Rows and columns of the pictures where the file says them, and the camera."""
    content = load_pickle(path)
    keys = {"camera_c": 2, "camera_f": 2, "camera_t": 3, "camera_rt": 3, "camera_k": 5}
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing", hint=HINT)
    found = {key: numbers(content[key], count, f"{path}: {key}") for key, count in keys.items()}
    if np.abs(found["camera_rt"]).max() > UNTURNED:
        raise DataError(
            f"{path}: camera_rt is {found['camera_rt'].round(4).tolist()}; expected zeros", hint=HINT
        )
    if found["camera_f"].min() <= 0:
        raise DataError(f"{path}: camera_f: {found['camera_f'].tolist()}; expected lengths > 0", hint=HINT)
    intrinsics, extrinsics = np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32)
    intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2] = found["camera_f"], found["camera_c"]
    extrinsics[:3, 3] = found["camera_t"]
    size = None
    if "height" in content and "width" in content:
        height, width = (numbers(content[key], 1, f"{path}: {key}") for key in ("height", "width"))
        size = int(height[0]), int(width[0])
    return size, Camera(intrinsics, extrinsics, found["camera_k"])


def _masks(path: Path) -> tuple[int, tuple[int, int]]:
    """How many masks there are, and their rows and columns."""
    with _opened(path) as file:
        masks = _dataset(file, path, "masks")
        shape = masks.shape
        is_sane = len(shape) == 3 and all(shape) and shape[0] <= MOST_FRAMES and max(shape[1:]) <= MOST_PIXELS
        if not is_sane or masks.dtype.kind not in "biuf":
            raise DataError(
                f"{path}: masks: {masks.dtype} {list(shape)}; expected numbers [frames, rows, columns]",
                hint=HINT,
            )
        return shape[0], shape[1:]


def _poses(path: Path, count: int) -> Callable[[int], Fit]:
    """The body of a frame by its number."""
    with _opened(path) as file:
        found = {key: _dataset(file, path, key) for key in ("betas", "pose", "trans")}
        shapes = {key: dataset.shape for key, dataset in found.items()}
        if len(shapes["pose"]) != 2 or shapes["pose"][1] != 3 * JOINTS:
            raise DataError(
                f"{path}: pose: {list(shapes['pose'])}; expected [frames, 72] (24 joints of SMPL)", hint=HINT
            )
        if len(shapes["trans"]) != 2 or shapes["betas"] != (10,):
            raise DataError(
                f"{path}: trans {list(shapes['trans'])}, betas {list(shapes['betas'])}; expected [frames, 3] "
                "and [10]",
                hint=HINT,
            )
        held = min(shapes["pose"][0], shapes["trans"][0])
        if held < count:
            raise DataError(
                f"{path}: no body for frame {held}; there are {held}, and {count} masks", hint=HINT
            )
        pose, trans, betas = found["pose"][:count], found["trans"][:count], found["betas"][()]

    def body(row: int) -> Fit:
        still = np.concatenate([np.zeros(3), pose[row, 3:]])
        return fit(still, pose[row, :3], trans[row], betas, where=f"{path}: frame {row}")

    return body


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file; whatever a broken one makes its readers raise becomes one line."""
    check_input_file(path, "an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except BROKEN as error:
        raise DataError(f"{path}: not a readable HDF5 file ({str(error)[:120]})", hint=HINT) from error


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise DataError(
            f"{path}: {name}: missing; there are {', '.join(map(str, list(file)[:6])) or 'none'}", hint=HINT
        )
    return item
