"""What raw data sets of several cameras share: `annots.npy` with cameras and pictures, and fitted bodies.

The files are pickles inside .npy; they are read without running anything of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any

import numpy as np

from avatarctl.checkpoints.arrays import npy_header
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl_video_avatar.prepared import JOINTS, Camera, Fit
from avatarctl_video_avatar.raw.pictures import Mask, Picture
from avatarctl_video_avatar.raw.places import Faults
from avatarctl_video_avatar.raw.recording import Shot

ANNOTS = "annots.npy"
MILLIMETRES = 1000.0
"""Of a metre: the unit of camera translations."""
SKEW = 1e-2
"""How far a rotation may be from one; some are stored with three decimals."""
HINT = "copy or download the file again, from the data set's own release"
CONVENTION = (
    "these files hold poses with a zero root, and Rh, Th about the origin apart; global_orient and transl of "
    "SMPL are something else"
)


@dataclass(frozen=True)
class Annots:
    """Cameras, and the pictures of each frame."""

    path: Path
    cams: Mapping[str, Any]
    pictures: list[list[str]]
    """Of each frame, paths of all cameras, relative to the folder."""

    @property
    def num_cameras(self) -> int:
        """Cameras with a calibration and with pictures."""
        return min([len(self.cams["K"]), *map(len, self.pictures)])

    def camera(self, index: int) -> Camera:
        """A camera by its number, translations turned to metres."""
        try:
            K, R, T, D = (self.cams[key][index] for key in "KRTD")
        except (IndexError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: camera {index} is missing in K, R, T or D", hint=HINT) from error
        return camera(K, R, T, D, f"{self.path}: camera {index}", unit=MILLIMETRES)


def read_annots(folder: Path) -> Annots:
    """The annotations in a folder.

    Raises:
        DataError: They are missing or broken.
    """
    path = folder / ANNOTS
    content = load_boxed(path, "cameras and pictures")
    cams, rows = (content.get(key) for key in ("cams", "ims")) if isinstance(content, dict) else (None, None)
    if not isinstance(rows, list | np.ndarray) or not len(rows):
        raise DataError(f"{path}: ims: missing; expected the pictures of each frame", hint=HINT)
    pictures = [_paths(path, number, row) for number, row in enumerate(rows)]
    return Annots(path, checked_cams(path, cams), pictures)


def checked_cams(path: Path, cams: Any) -> dict[str, Any]:
    """The cameras of a file, with all four lists.

    Raises:
        DataError: One is missing.
    """
    fields = cams if isinstance(cams, dict) else {}
    missing = [key for key in "KRTD" if not hasattr(fields.get(key), "__len__")]
    if missing:
        raise DataError(f"{path}: cams: {', '.join(missing)}: missing", hint=HINT)
    return fields


def recorded(
    annots: Annots,
    frames: Mapping[str, int],
    views: Mapping[str, int],
    fit_of: Callable[[int], Path],
    masks_of: Callable[[str], tuple[Path, ...]],
    *,
    allow_empty: bool,
) -> tuple[dict[str, Fit], dict[str, dict[str, Shot]]]:
    """Fitted bodies by frame name, and what each camera saw by name of the view.

    Args:
        frames: Place of each frame in the annotations.
        views: Place of each camera there.
        fit_of: File of the fit of a frame, by its place.
        masks_of: Files of the mask of a picture, by its relative path.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    faults = Faults(annots.path.parent)
    fits: dict[str, Fit] = {}
    shots: dict[str, dict[str, Shot]] = {view: {} for view in views}
    for name, row in frames.items():
        with faults.noted():
            fits[name] = read_fit(fit_of(row))
    for view, number in views.items():
        with faults.noted():
            calibrated = annots.camera(number)
            for name, row in frames.items():
                relative = annots.pictures[row][number]
                picture, masks = Picture(annots.path.parent / relative), masks_of(relative)
                faults.needs(picture.path, *masks)
                shots[view][name] = Shot(picture, Mask(masks, picture, allow_empty=allow_empty), calibrated)
    faults.close()
    return fits, shots


def _paths(path: Path, number: int, row: Any) -> list[str]:
    names = row.get("ims") if isinstance(row, dict) else None
    if not isinstance(names, list | tuple | np.ndarray) or not len(names):
        raise DataError(f"{path}: ims: frame {number} names no pictures", hint=HINT)
    paths = [str(name).replace("\\", "/") for name in names]
    for name in paths:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise DataError(f"{path}: ims: frame {number}: {name!r} leads out of the folder", hint=HINT)
    return paths


def load_boxed(path: Path, what: str) -> Any:
    """The content of a pickle in a .npy.

    Args:
        what: The thing expected, for the message.
    """
    check_input_file(path, what)
    try:
        with path.open("rb") as file:
            shape, dtype = npy_header(file)
            start = file.tell()
    except (OSError, ValueError, EOFError, TokenError) as error:
        raise DataError(f"{path}: not a .npy file ({error})", hint=HINT) from error
    if not dtype.hasobject or shape not in ((), (1,)):
        raise DataError(f"{path}: holds {dtype} {list(shape)}; expected {what}, pickled", hint=HINT)
    content = load_pickle(path, start)
    return content.reshape(-1)[0] if isinstance(content, np.ndarray) and content.size == 1 else content


def camera(K: Any, R: Any, T: Any, D: Any, where: str, *, unit: float = 1.0) -> Camera:
    """A checked camera.

    Args:
        D: One zero, four or five distortion coefficients.
        where: How errors call it.
        unit: How many units of T make a metre.

    Raises:
        DataError: The intrinsics cannot be inverted, the rotation is none, or numbers are missing.
    """
    intrinsics, turn = numbers(K, 9, f"{where}: K").reshape(3, 3), numbers(R, 9, f"{where}: R").reshape(3, 3)
    if abs(np.linalg.det(intrinsics)) < 1e-9 or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise DataError(f"{where}: K is singular ({_row(intrinsics)}); expected focal lengths > 0", hint=HINT)
    if np.abs(turn @ turn.T - np.eye(3)).max() > SKEW or np.linalg.det(turn) < 0:
        raise DataError(f"{where}: R is no rotation ({_row(turn)})", hint=HINT)
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = turn.astype(np.float32)
    extrinsics[:3, 3] = numbers(T, 3, f"{where}: T").astype(np.float32) / np.float32(unit)
    return Camera(intrinsics.astype(np.float32), extrinsics, distortions(D, where).astype(np.float32))


def distortions(D: Any, where: str) -> np.ndarray:
    """k1, k2, p1, p2, k3 [5] float64; one zero stands for no distortion."""
    found = np.atleast_1d(np.asarray(D)).reshape(-1)
    if found.size not in (1, 4, 5):
        raise DataError(
            f"{where}: D: {found.size} numbers; expected 5 (k1, k2, p1, p2, k3), 4, or one zero", hint=HINT
        )
    found = numbers(found, found.size, f"{where}: D")
    if found.size == 1 and found[0]:
        raise DataError(f"{where}: D: one number, {found[0]:g}; one alone has to be zero", hint=HINT)
    return np.pad(found, (0, 5 - found.size))


def read_fit(path: Path) -> Fit:
    """The body of one frame from `new_params` or `params`."""
    content = load_boxed(path, "the body of a frame (poses, Rh, Th, shapes)")
    keys = ("poses", "Rh", "Th", "shapes")
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing", hint=CONVENTION)
    return fit(*(content[key] for key in keys), where=str(path))


def fit(poses: Any, Rh: Any, Th: Any, betas: Any, *, where: str) -> Fit:
    """A checked body: 72, 3, 3 and 10 numbers."""
    return Fit(
        numbers(poses, 3 * JOINTS, f"{where}: poses", "24 joints of SMPL").astype(np.float32),
        numbers(Rh, 3, f"{where}: Rh").astype(np.float32),
        numbers(Th, 3, f"{where}: Th").astype(np.float32),
        numbers(betas, 10, f"{where}: shapes").astype(np.float32),
    )


def numbers(values: Any, count: int, where: str, meaning: str = "") -> np.ndarray:
    """So many finite numbers, flat, float64.

    Raises:
        DataError: They are not numbers, not finite, or of another count.
    """
    values = getattr(values, "array", values)  # of a chumpy object
    try:
        array = np.asarray(values)
        found = array.reshape(-1).astype(np.float64) if array.dtype.kind in "iuf" else None
    except (ValueError, TypeError):
        found = None
    if found is None:
        raise DataError(f"{where}: not numbers; expected {count}", hint=HINT)
    if found.size != count:
        joints = f" ({found.size // 3} joints)" if meaning else ""
        wanted = f" ({meaning})" if meaning else ""
        raise DataError(f"{where}: {found.size} numbers{joints}; expected {count}{wanted}", hint=HINT)
    if not np.isfinite(found).all():
        raise DataError(f"{where}: holds numbers that are not finite", hint=HINT)
    return found


def _row(matrix: np.ndarray) -> str:
    return "; ".join(" ".join(f"{value:.4g}" for value in row) for row in matrix)
