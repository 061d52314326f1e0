"""SMPL, SMPL-H and SMPL-X files, npz or pkl, read without chumpy and checked field by field."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.model import BodyModel
from avatarctl.body.tables import FAMILY_OF_JOINTS, GENDERS, NAMES
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file

HINT = "take the body model file from its makers' page again (avatarctl assets says where)"
LARGEST = 1e6
"""No number of a body model comes near: metres, weights, and columns of vertices."""
NEEDED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


def read(path: str | Path, *, gender: str = "", source: str = "") -> BodyModel:
    """The body model in a file.

    Args:
        gender: What the file is for; guessed from its name and folder when left out.
        source: What to call it in reports; the path when left out.

    Raises:
        DataError: The file is no body model, or a field has the wrong shape or numbers that are not finite.
    """
    path = check_input_file(path, "a body model (.npz or .pkl)")
    arrays = read_arrays(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise DataError(
            f"{path}: {', '.join(missing)}: missing; a body model has {', '.join(NEEDED)}", hint=HINT
        )
    template = _number(path, arrays, "v_template", (None, 3))
    vertices = len(template)
    tree = _number(path, arrays, "kintree_table", (2, None), dtype=np.int64)
    joints = tree.shape[1]
    if joints not in FAMILY_OF_JOINTS:
        wanted = ", ".join(f"{count} ({family})" for count, family in FAMILY_OF_JOINTS.items())
        raise DataError(f"{path}: kintree_table: {joints} joints; expected {wanted}", hint=HINT)
    family = FAMILY_OF_JOINTS[joints]
    parents = (-1, *(int(parent) for parent in tree[0, 1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise DataError(f"{path}: kintree_table: a parent does not stand before its child", hint=HINT)
    shapes = _number(path, arrays, "shapedirs", (vertices, 3, None))
    poses = _number(path, arrays, "posedirs", (vertices, 3, 9 * (joints - 1)))
    faces = _number(path, arrays, "f", (None, 3), dtype=np.int64)
    if not faces.size:
        raise DataError(f"{path}: f: no faces; expected at least 1", hint=HINT)
    if faces.min() < 0 or faces.max() >= vertices:
        wrong = faces.min() if faces.min() < 0 else faces.max()
        raise DataError(f"{path}: f: a face names vertex {wrong}; there are {vertices}", hint=HINT)
    shapes, expressions = _split_shapes(shapes, family)
    return BodyModel(
        family=family,
        gender=gender or _guess_gender(path),
        parents=parents,
        template=_tensor(template),
        shape_directions=_tensor(shapes),
        pose_directions=_tensor(poses.reshape(vertices * 3, -1).T),
        regressor=_tensor(_number(path, arrays, "J_regressor", (joints, vertices))),
        weights=_tensor(_number(path, arrays, "weights", (vertices, joints))),
        faces=torch.from_numpy(np.ascontiguousarray(faces)),
        source=source or str(path),
        expressions=expressions,
        hands_mean=_hands_mean(path, arrays),
        extras=_extras(path, arrays, len(faces)),
    )


def read_arrays(path: Path) -> dict[str, Any]:
    """Name to array, whatever the container."""
    if path.suffix == ".npz" or zipfile.is_zipfile(path):
        return read_npz(path)  # without the pickled dictionaries that licensed files also hold
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: holds a {type(content).__name__}; expected the dictionary of a body model", hint=HINT
        )
    arrays = {}
    for name, value in content.items():
        if hasattr(value, "toarray"):
            value = value.toarray()
        value = getattr(value, "array", value)
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
    return arrays


def _number(
    path: Path,
    arrays: dict[str, Any],
    name: str,
    shape: tuple[int | None, ...],
    dtype: type | None = np.float32,
) -> np.ndarray:
    """An array of numbers in the range that bodies have, as `dtype`; None keeps its own."""
    array = np.asarray(arrays[name])
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise DataError(
            f"{path}: {name}: found {array.dtype} {list(array.shape)}; expected numbers [{wanted}]", hint=HINT
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: {name}: holds numbers that are not finite", hint=HINT)
    if array.dtype.kind == "f" and float(max(array.max(initial=0), -array.min(initial=0))) > LARGEST:
        raise DataError(f"{path}: {name}: holds numbers beyond {LARGEST:g}", hint=HINT)
    return array.astype(dtype or array.dtype.newbyteorder("="))


def _split_shapes(shapes: np.ndarray, family: str) -> tuple[np.ndarray, int]:
    """Shape directions without unused ones, and how many of them are expressions.

    The licensed SMPL-X file has 300 shape and 100 expression directions; files cut down to 20 have 10 and 10.
    """
    if family != "smplx":
        return shapes, 0
    count = shapes.shape[-1]
    if count >= 400:
        return shapes[..., :400], 100
    return shapes, 10 if count >= 20 else 0


def _extras(path: Path, arrays: dict[str, Any], faces: int) -> dict[str, Tensor]:
    """Landmarks, hand components and texture coordinates, where the file has them."""
    names = [
        name for name in arrays if name.startswith(("hands_", "lmk_", "dynamic_lmk_")) or name in ("vt", "ft")
    ]
    if {"vt", "ft"} <= arrays.keys():
        places = len(_number(path, arrays, "vt", (None, 2)))
        corners = _number(path, arrays, "ft", (faces, 3), dtype=np.int64)
        if corners.min(initial=0) < 0 or corners.max(initial=0) >= places:
            raise DataError(f"{path}: ft: names a place beyond the {places} of vt", hint=HINT)
    return {
        name: _tensor(_number(path, arrays, name, (None,) * np.ndim(arrays[name]), dtype=None))
        for name in names
    }


def _hands_mean(path: Path, arrays: dict[str, Any]) -> Tensor | None:
    if "hands_meanl" not in arrays or "hands_meanr" not in arrays:
        return None
    both = [_number(path, arrays, name, (45,)) for name in ("hands_meanl", "hands_meanr")]
    return _tensor(np.concatenate(both).reshape(30, 3))


def _guess_gender(path: Path) -> str:
    words = f"{path.parent.name}/{path.stem}".lower()
    marks = {"neutral": "neutral", "female": "female", "male": "male", "_f_": "female", "_m_": "male"}
    return next((gender for mark, gender in marks.items() if mark in words), "neutral")


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def candidates(family: str, gender: str) -> list[str]:
    """File names, relative to a folder of body models, in the layouts that the published READMEs ask for."""
    stems = [f"{family.upper()}_{gender.upper()}", f"{gender}/model"]
    names = [f"{stem}{suffix}" for stem in stems for suffix in (".npz", ".pkl")]
    if family == "smpl":
        mark = {"female": "f", "male": "m", "neutral": "neutral"}[gender]
        names += [f"basicModel_{mark}_lbs_10_207_0_v1.0.0.pkl", f"basicmodel_{mark}_lbs_10_207_0_v1.1.0.pkl"]
    return [f"{folder}{name}" for folder in (f"{family}/", "", f"models/{family}/") for name in names]


def check_words(family: str, gender: str) -> None:
    """Raise `DataError` for a family or gender that does not exist."""
    if family not in NAMES:
        raise DataError(f"body family '{family}'; expected one of {', '.join(NAMES)}")
    if gender not in GENDERS:
        raise DataError(f"gender '{gender}'; expected one of {', '.join(GENDERS)}")
