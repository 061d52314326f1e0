"""Who is seen in each frame of EgoBody: box, keypoints, SMPL body and camera (spec 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl, sixd_from_matrix
from avatarctl_ego_hmr.bodies import FEMALE, MALE
from avatarctl_ego_hmr.egobody.folder import Folder

FOLDERS = ("annotation_egocentric_smpl_npz", "smpl_spin_npz")
"""The names that published readers know the same files under (Q3)."""
SHAPES: dict[str, tuple[int | None, ...]] = {
    "center": (2,), "scale": (), "pose": (69,), "shape": (10,), "global_orient_pv": (3,), "transl_pv": (3,),
    "cx": (), "cy": (), "fx": (), "fy": (), "valid_keypoints": (25, 3), "3d_joints_pv": (None, 3),
}  # fmt: skip
"""Sizes of each array after the frames; the last has 24 joints or more."""
GENDERS = {"m": MALE, "f": FEMALE}
JOINTS = 24
KEY = 5
"""Path components of an image's name: egocentric_color/RECORDING/CLOCK/PV/FILE.jpg."""
HINT = f"take {FOLDERS[0]} as published"


@dataclass(frozen=True)
class Annotations:
    """The frames of a split; camera axes are those of the picture, metres and pixels, float64."""

    names: list[str]
    """The image of each frame as the file names it."""
    centre: np.ndarray
    """Centre of the box, pixels [n, 2]."""
    scale: np.ndarray
    """Its side / 200 pixels [n]."""
    poses: np.ndarray
    """Axis-angle, root first [n, 24, 3]."""
    betas: np.ndarray
    """Shape of the body of this gender [n, 10]."""
    transl: np.ndarray
    """In camera axes [n, 3]."""
    cx: np.ndarray
    cy: np.ndarray
    fx: np.ndarray
    fy: np.ndarray
    keypoints: np.ndarray
    """BODY_25: x, y, confidence [n, 25, 3]."""
    joints: np.ndarray
    """SMPL joints in camera axes [n, 24, 3]."""
    gender: np.ndarray
    """0 male, 1 female, int64 [n]."""

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The image's name from `egocentric_color` on: the last five components."""
        return key_of(self.names[index])

    def recording(self, index: int) -> str:
        """The recording that a frame is of."""
        return self.key(index).split("/")[1]

    def timestamp(self, index: int) -> str:
        """When it was taken, as transforms are named: the file's name up to the first underscore."""
        return timestamp_of(self.key(index))


def key_of(name: str) -> str:
    """The last five components of an image's path."""
    return "/".join(PurePosixPath(name.replace("\\", "/")).parts[-KEY:])


def timestamp_of(name: str) -> str:
    """The timestamp in an image's path."""
    return PurePosixPath(name).name.split("_", 1)[0]


def annotation_file(files: Folder, split: str) -> str:
    """The annotation file of a split, in the folder that there is.

    Raises:
        DataError: It is in neither.
    """
    found = find_annotations(files, split)
    if found is None:
        raise files.missing(_name(FOLDERS[0], split))
    return found


def find_annotations(files: Folder, split: str) -> str | None:
    """The annotation file of a split; None where there is none."""
    return next((name for folder in FOLDERS if (name := _name(folder, split)) in files), None)


def _name(folder: str, split: str) -> str:
    return f"{folder}/egocapture_{split}_smpl.npz"


def read_annotations(files: Folder, split: str) -> Annotations:
    """The annotations of a split.

    Raises:
        DataError: The file is missing, or an array in it is, has another length or shape, or numbers that are
            not finite.
    """
    name = annotation_file(files, split)
    with files.local(name) as path:
        return annotations_in(path, files.shown(name))


def read_names(files: Folder, split: str) -> list[str]:
    """The image of each frame of a split, which is all that is read of it.

    Raises:
        DataError: As `read_annotations`, where the images are concerned.
    """
    name = annotation_file(files, split)
    with files.local(name) as path:
        return _images(files.shown(name), _read(path, files.shown(name), ("imgname",))["imgname"])


def annotations_in(path: Path, shown: str) -> Annotations:
    """The annotations in a file.

    Args:
        shown: Where it is, for messages.

    Raises:
        DataError: As `read_annotations`.
    """
    arrays = _read(path, shown, ("imgname", "gender", *SHAPES))
    images = _images(shown, arrays["imgname"])
    numbers = {key: _numbers(shown, key, arrays[key], images) for key in SHAPES}
    root_and_body = np.concatenate([numbers["global_orient_pv"], numbers["pose"]], axis=1)
    return Annotations(
        names=images,
        centre=numbers["center"],
        scale=numbers["scale"],
        poses=root_and_body.reshape(-1, JOINTS, 3),
        betas=numbers["shape"],
        transl=numbers["transl_pv"],
        cx=numbers["cx"],
        cy=numbers["cy"],
        fx=numbers["fx"],
        fy=numbers["fy"],
        keypoints=numbers["valid_keypoints"],
        joints=numbers["3d_joints_pv"][:, :JOINTS],
        gender=_genders(shown, arrays["gender"], images),
    )


def statistics(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of poses as 6D rotations, float32 [144] each (spec 3.6).

    Args:
        poses: Axis-angle of all training frames, without augmentation [n, 24, 3].
    """
    matrices = matrix_from_axis_angle_smpl(torch.from_numpy(poses.astype(np.float32)))
    sixd = sixd_from_matrix(matrices, "interleaved").flatten(1).double().numpy()
    mean, std = sixd.mean(axis=0), sixd.std(axis=0)
    std[:6], std[6:] = std[:6].mean(), std[6:].mean()
    return mean.astype(np.float32), std.astype(np.float32)


def _read(path: Path, shown: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = read_npz(path, names)
    missing = [key for key in names if key not in arrays]
    if missing:
        raise DataError(f"{shown}: {', '.join(missing)}: missing", hint=HINT)
    return arrays


def _images(shown: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "US":
        found = f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{shown}: imgname: found {found}; expected one name per frame", hint=HINT)
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in array]
    for name in names:
        if key_of(name).count("/") != KEY - 1:
            raise DataError(
                f"{shown}: imgname: found '{name}'; expected egocentric_color/RECORDING/CLOCK/PV/FILE.jpg",
                hint=HINT,
            )
    return names


def _numbers(shown: str, name: str, array: np.ndarray, images: list[str]) -> np.ndarray:
    """An array as float64, when it has a row of the right shape for each image."""
    if array.ndim and len(array) != len(images):
        raise DataError(f"{shown}: {name}: {len(array)} rows; imgname has {len(images)}", hint=HINT)
    wanted = (len(images), *SHAPES[name])
    fits = array.ndim == len(wanted) and all(
        want in (None, size) for want, size in zip(wanted, array.shape, strict=True)
    )
    if name == "3d_joints_pv":
        fits = fits and array.shape[1] >= JOINTS
    if not fits or array.dtype.kind not in "fiu":
        sizes = ", ".join(f"{JOINTS} or more" if size is None else str(size) for size in wanted)
        found = f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{shown}: {name}: found {found}; expected numbers [{sizes}]", hint=HINT)
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{shown}: {name}: row {row} ({key_of(images[row])}): numbers that are not finite", hint=HINT
        )
    return array.astype(np.float64)


def _genders(shown: str, array: np.ndarray, images: list[str]) -> np.ndarray:
    words = [word.decode("latin1") if isinstance(word, bytes) else str(word) for word in array.reshape(-1)]
    if len(words) != len(images):
        raise DataError(f"{shown}: gender: {len(words)} rows; imgname has {len(images)}", hint=HINT)
    for row, word in enumerate(words):
        if word not in GENDERS:
            raise DataError(
                f"{shown}: gender: row {row} ({key_of(images[row])}): found '{word[:20]}'; expected m or f",
                hint=HINT,
            )
    return np.array([GENDERS[word] for word in words], np.int64)
