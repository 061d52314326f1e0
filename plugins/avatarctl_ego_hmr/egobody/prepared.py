"""Scene points that were prepared before: the published folders and files, read and written (spec 2.1, 3)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from avatarctl.checkpoints.arrays import read_npy
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import atomic
from avatarctl_ego_hmr.egobody.folder import Folder
from avatarctl_ego_hmr.pickles import dumped

Step = Literal["front", "cube-gt", "cube-predicted"]
FOLDERS: dict[Step, str] = {
    "front": "Egohmr_scene_preprocess_s1",
    "cube-gt": "Egohmr_scene_preprocess_cube_s2_from_gt",
    "cube-predicted": "Egohmr_scene_preprocess_cube_s2_from_pred",
}
"""Where the published scripts write; the released ones have `_release` behind the name."""
TAIL = 4
"""Components of an image's path that tell it from all others: RECORDING/CLOCK/PV/FILE."""
Points = Callable[[str], np.ndarray]
"""Of an image by its name: points [N, 3], metres."""


def cube_file(split: str, key: str) -> str:
    """Where the points of an image lie in the folder of a cube step."""
    _, recording, clock, _, name = key.split("/")
    return f"{split}/{recording}/{clock}/{PurePosixPath(name).stem}.npy"


def front_files(split: str) -> tuple[str, str]:
    """The two files of a split: which cloud an image uses, and the clouds."""
    return f"map_dict_{split}.pkl", f"pcd_verts_dict_{split}.pkl"


def front_points(files: Folder, split: str) -> Points:
    """Points in front of the camera, float64, in the master Kinect's axes.

    Raises:
        DataError: They were not prepared, or the files are not what the published script writes.
    """
    folder = folder_of(files, "front", split)
    mapping, clouds = (_dictionary(files, f"{folder}/{name}") for name in front_files(split))
    shown = files.root / folder

    def points(name: str) -> np.ndarray:
        source = mapping.get(_tail(name))
        cloud = clouds.get(_tail(source)) if isinstance(source, str) else None
        if cloud is None:
            raise DataError(f"{shown}: no points for {name}", hint=_prepare(files, "front", split))
        return _checked(cloud, f"{shown}: {source}")

    return points


def cube_points(files: Folder, step: Literal["cube-gt", "cube-predicted"], split: str) -> Points:
    """Points in a cube around the body, float64, in scene axes.

    Raises:
        DataError: They were not prepared.
    """
    folder = folder_of(files, step, split)

    def points(name: str) -> np.ndarray:
        file = f"{folder}/{cube_file(split, name)}"
        if file not in files:
            raise DataError(
                f"{files.root / file}: not found; expected the points around the body",
                hint=_prepare(files, step, split),
            )
        with files.local(file) as path:
            return _checked(read_npy(path, "scene points"), files.shown(file))

    return points


def write_clouds(path: Path, clouds: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write a pickled dictionary of arrays, protocol 2, holding one of them at a time."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
        for key, cloud in clouds:
            file.write(_body(key) + _body(cloud) + pickle.SETITEM)
        file.write(pickle.STOP)


def _body(value: object) -> bytes:
    """A value's pickle without its frame."""
    return dumped(value)[2:-1]


def folder_of(files: Folder, step: Step, split: str) -> str:
    """The folder that has a split: the user's own before the released one."""
    names = (FOLDERS[step], f"{FOLDERS[step]}_release")
    for name in names:
        if step == "front":
            is_there = all(f"{name}/{file}" in files for file in front_files(split))
        else:
            is_there = (files.root / name / split).is_dir() or any(
                member.startswith(f"{name}/{split}/") for member in files.members
            )
        if is_there:
            return name
    raise DataError(
        f"{files.root}: no scene points of split '{split}' in {names[0]} or {names[1]}",
        hint=_prepare(files, step, split),
    )


def _prepare(files: Folder, step: Step, split: str) -> str:
    return f"avatarctl prepare egobody {files.root} --step {step} --split {split}"


def _dictionary(files: Folder, name: str) -> dict[str, object]:
    with files.local(name) as path:
        content = load_pickle(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{files.shown(name)}: holds a {type(content).__name__}; expected one entry per image",
            hint="prepare or download it again",
        )
    # The published script cuts keys right only where the data lies three folders deep (Q2).
    return {_tail(str(key)): value for key, value in content.items()}


def _tail(name: str) -> str:
    return "/".join(PurePosixPath(name.replace("\\", "/")).parts[-TAIL:])


def _checked(points: object, where: str) -> np.ndarray:
    if not isinstance(points, np.ndarray) or points.dtype.kind != "f" or points.ndim != 2 or not len(points):
        raise DataError(f"{where}: no points [N, 3]", hint="prepare or download it again")
    if points.shape[1] != 3 or not np.isfinite(points).all():
        raise DataError(f"{where}: {list(points.shape)} numbers that are no points", hint="prepare it again")
    return points.astype(np.float64)
