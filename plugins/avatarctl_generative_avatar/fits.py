"""Fitted bodies of photos, from a file to labels (spec 3).

A file is a mapping from photos to fields, or has `names` [M] of photos and the fields as arrays [M, ...]:

    poses    axis-angle, the root first: 72 numbers or [24, 3]; or rotation matrices [24, 3, 3]
    betas    up to 10 numbers; left out: the mean shape
    scale    of the body; left out: 1
    transl   metres, added before the scale; left out: none
    cam      weak perspective (s, x, y) in place of scale and transl
    camera   25 numbers: camera to world, row major, and intrinsics over the picture's side; left out: one
             that sees [-1, 1] of the plane z = 0

The world is that of labels: y points down, x and y of the padded photo lie in [-1, 1].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.rotations import axis_angle_from_matrix
from avatarctl_generative_avatar import label

SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "poses": ((3 * label.JOINTS,), (label.JOINTS, 3), (label.JOINTS, 3, 3)),
    "betas": tuple((count,) for count in range(label.BETAS + 1)),
    "scale": ((), (1,)),
    "transl": ((3,),),
    "cam": ((3,),),
    "camera": ((label.CAMERA,),),
}
"""Allowed shapes of the fields."""
NAMES, LABELS = "names", "labels"
WANTED = "fitted bodies (.json, .npz, .pkl)"
HINT = "the README of generative-avatar describes the file"


class Fits:
    """The fits of a file, by names of photos; names may lack folders and endings."""

    def __init__(self, path: Path) -> None:
        self.path = check_input_file(path, WANTED)
        self._fields = _fields_of(self.path)
        self._short: dict[str, list[str]] = {}
        for name in self._fields:
            for key in dict.fromkeys(_keys(name)[:2]):
                self._short.setdefault(key, []).append(name)

    def __len__(self) -> int:
        return len(self._fields)

    def label(self, photo: str) -> Tensor:
        """The label of a photo [111].

        Args:
            photo: Its name below the folder of photos, with forward slashes.

        Raises:
            DataError: There is no fit, several, or one of another layout.
        """
        for key in _keys(photo):
            found = self._short.get(key, [])
            if len(found) > 1:
                raise DataError(f"{self.path}: several fits of {photo}: {', '.join(found[:3])}")
            if found:
                return label_of(self._fields[found[0]], f"{self.path}: {found[0]}")
        raise DataError(f"{self.path}: no fit of {photo}; it has {_examples(self._fields)}")


def label_of(fields: Any, where: str) -> Tensor:
    """A label [111] from the fields of one photo.

    Raises:
        DataError: A field is missing, unknown, of another shape, or not finite.
    """
    if not isinstance(fields, Mapping):
        raise DataError(f"{where}: found {type(fields).__name__}; expected {', '.join(SHAPES)}", hint=HINT)
    if unknown := sorted(str(name) for name in fields if name not in SHAPES):
        raise DataError(f"{where}: {', '.join(unknown)}: unknown; fields are {', '.join(SHAPES)}", hint=HINT)
    values = {
        name: _numbers(fields[name], f"{where}: {name}", shapes)
        for name, shapes in SHAPES.items()
        if name in fields
    }
    if "poses" not in values:
        raise DataError(f"{where}: poses: missing", hint=HINT)
    if "cam" in values:
        if "scale" in values or "transl" in values:
            raise DataError(f"{where}: cam: found beside scale or transl; expected one of both", hint=HINT)
        scale, x, y = values["cam"]
        values["scale"], values["transl"] = scale, torch.stack([x, y, torch.zeros_like(x)])
    scale = values.get("scale", torch.ones(())).reshape(1)
    if scale <= 0:
        raise DataError(f"{where}: scale: found {float(scale):g}; expected more than 0", hint=HINT)
    betas = values.get("betas", torch.zeros(0))
    made = label.made(
        _axis_angles(values["poses"], f"{where}: poses"),
        torch.cat([betas, betas.new_zeros(label.BETAS - len(betas))]),
        scale=scale,
        transl=values.get("transl"),
        camera=values.get("camera"),
    )
    check_camera(made, f"{where}: camera")
    return made


def check_camera(one: Tensor, where: str) -> None:
    """Refuse a label [111] without a pinhole camera.

    Raises:
        DataError: It has none.
    """
    world, inner = label.cam2world(one), label.intrinsics(one)
    if not _is_rotation(world[:3, :3]) or world[3].tolist() != [0, 0, 0, 1]:
        raise DataError(f"{where}: its first 16 numbers are no rotation and place, row major", hint=HINT)
    is_triangular = inner[1, 0] == 0 and inner[0, 1] == 0 and inner[2].tolist() == [0, 0, 1]
    if not is_triangular or not bool((inner.diagonal() > 0).all()):
        raise DataError(f"{where}: its last 9 numbers are no [f, 0, x, 0, f, y, 0, 0, 1]", hint=HINT)


def _axis_angles(poses: Tensor, where: str) -> Tensor:
    """[24, 3]."""
    if poses.dim() < 3:
        return poses.reshape(label.JOINTS, 3)
    if not _is_rotation(poses):
        raise DataError(f"{where}: its matrices are no rotations", hint=HINT)
    return axis_angle_from_matrix(poses)


def _is_rotation(matrix: Tensor) -> bool:
    """Whether all matrices [..., 3, 3] are rotations to a thousandth."""
    is_rigid = torch.allclose(matrix @ matrix.mT, torch.eye(3).expand_as(matrix), atol=1e-3)
    return is_rigid and bool((matrix.det() > 0).all())


def _numbers(value: Any, where: str, shapes: tuple[tuple[int, ...], ...]) -> Tensor:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    allowed = " or ".join(str(list(one)) for one in shapes) if len(shapes) <= 3 else f"up to {shapes[-1][0]}"
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: found no numbers; expected {allowed}", hint=HINT)
    if array.shape not in shapes:
        raise DataError(f"{where}: found {list(array.shape)}; expected {allowed}", hint=HINT)
    with np.errstate(over="ignore"):
        found = torch.from_numpy(np.array(array, np.float32))
    if not found.isfinite().all():
        raise DataError(f"{where}: a number is not finite", hint=HINT)
    if found.numel() and found.abs().max() > label.LARGEST:
        raise DataError(f"{where}: found numbers beyond {label.LARGEST:g}", hint=HINT)
    return found


def _fields_of(path: Path) -> dict[str, Any]:
    """Fields by the name of their photo."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        return _rows(read_npz(path), path)
    if start[:1] == b"\x80" or path.suffix.lower() in (".pkl", ".pickle"):
        content = load_pickle(path)
    else:
        content = _json(path)
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: holds no mapping from photos to fitted bodies", hint=HINT)
    if isinstance(content.get(LABELS), list):
        return _labels(content[LABELS], path)
    return _rows(content, path) if NAMES in content else {str(name): one for name, one in content.items()}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: is no JSON, .npz or pickle: {error}", hint=HINT) from error


def _rows(columns: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Fields by photo, from arrays over all photos."""
    if NAMES not in columns:
        raise DataError(f"{path}: {NAMES}: missing; it has {_examples(columns)}", hint=HINT)
    names = [str(name) for name in np.asarray(columns[NAMES]).reshape(-1).tolist()]
    arrays = {name: np.asarray(value) for name, value in columns.items() if name != NAMES}
    for name, array in arrays.items():
        if array.shape[:1] != (len(names),):
            raise DataError(
                f"{path}: {name}: found {list(array.shape)}; expected a row for each of {len(names)} names",
                hint=HINT,
            )
    return {photo: {name: array[row] for name, array in arrays.items()} for row, photo in enumerate(names)}


def _labels(entries: list[Any], path: Path) -> dict[str, Any]:
    """Fields by photo, from the labels of a finished collection."""
    found = {}
    for number, entry in enumerate(entries):
        try:
            name, (camera, body) = entry
            row = [*camera, *body]
        except (TypeError, ValueError):
            row = []
        if len(row) != label.SIZE:
            raise DataError(f"{path}: {LABELS}: entry {number}: expected [name, [camera 25, body 86]]")
        found[str(name)] = {
            "camera": row[: label.CAMERA],
            "scale": row[label.CAMERA],
            "transl": row[label.TRANSL],
            "poses": row[label.POSES],
            "betas": row[label.SHAPE],
        }
    return found


def _keys(name: str) -> list[str]:
    """A photo's name, and shorter ones: without ending, without folder, without both."""
    path = PurePosixPath(name.replace("\\", "/"))
    return [str(path), str(path.parent / path.stem), path.name, path.stem]


def _examples(names: Mapping[str, Any]) -> str:
    shown = ", ".join(map(str, list(names)[:3]))
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
