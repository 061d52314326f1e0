"""The user's camera: intrinsics, and where it stands in the room, from a JSON file.

Camera axes are x right, y down, z forward. A file says fx, fy, cx, cy (or "intrinsics", as these or as a 3x3
matrix; EgoBody's Color.json has f and c), width and height of the picture they are for, and world_from_camera
[4, 4]. Where pictures have cameras of their own, "images" maps their names to what differs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

AXES = "x right, y down, z forward"
HINT = (
    '{"fx": 1450, "fy": 1450, "cx": 960, "cy": 540, "width": 1920, "height": 1080, "world_from_camera": 4x4}'
)
TURNED = np.diag([1.0, -1.0, -1.0, 1.0])
"""Axes with y up that belong to a level camera."""
LARGEST = 1e6


@dataclass(frozen=True)
class Lens:
    """A pinhole camera: focal lengths and principal point in pixels, and its place in the room."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    """Columns and rows of the picture; None where the file does not say them."""
    world_from_camera: np.ndarray | None = None
    """Float64 [4, 4], in the room's own axes and unit; None where the room is in those of the camera."""

    @property
    def intrinsics(self) -> np.ndarray:
        """The same as a matrix, float64 [3, 3]."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def camera_from_world(self) -> np.ndarray:
        """Float64 [4, 4]; of a lens whose place is known."""
        assert self.world_from_camera is not None
        return np.linalg.inv(self.world_from_camera)

    def moved(self, new_from_old: np.ndarray, scale: float = 1.0) -> Lens:
        """The same in another room's axes [4, 4], after its place was scaled."""
        place = np.eye(4) if self.world_from_camera is None else self.world_from_camera.copy()
        place[:3, 3] *= scale
        return replace(self, world_from_camera=new_from_old @ place)

    def fitted(self, size: tuple[int, int], picture: Path, path: Path) -> Lens:
        """The same for a picture of so many columns and rows.

        Raises:
            DataError: The picture has other proportions than the camera.
        """
        if self.size is None:
            if not (-size[0] < self.cx < 2 * size[0] and -size[1] < self.cy < 2 * size[1]):
                raise DataError(
                    f"{path}: cx, cy: found {self.cx:g}, {self.cy:g}, far outside of {picture} "
                    f"({size[0]}x{size[1]})",
                    hint="say width and height of the picture that the camera is for",
                )
            return replace(self, size=size)
        if size == self.size:
            return self
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        if abs(across / down - 1) > 0.01:
            raise DataError(
                f"{picture}: is {size[0]}x{size[1]}, but the camera of {path} is for "
                f"{self.size[0]}x{self.size[1]}",
                hint="give pictures as the camera took them, neither cut nor turned",
            )
        return Lens(
            self.fx * across, self.fy * down, (self.cx + 0.5) * across - 0.5, (self.cy + 0.5) * down - 0.5,
            size, self.world_from_camera,
        )  # fmt: skip


@dataclass(frozen=True)
class Lenses:
    """The cameras of a file: of all pictures, or of each by its name."""

    path: Path
    common: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    @staticmethod
    def read(path: Path) -> Lenses:
        """The cameras of a JSON file.

        Raises:
            DataError: It is none.
        """
        check_input_file(path, "a camera (.json)")
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path}: is no JSON: {error}", hint=HINT) from error
        if not isinstance(content, dict):
            raise DataError(f"{path}: found a {type(content).__name__}, expected a camera", hint=HINT)
        own = content.get("images", {})
        if not isinstance(own, dict) or not all(isinstance(one, dict) for one in own.values()):
            raise DataError(
                f"{path}: images: expected a camera for each name",
                hint=f'{{"images": {{"photo.jpg": {HINT}}}}}',
            )
        return Lenses(path, {name: value for name, value in content.items() if name != "images"}, own)

    def of(self, picture: Path) -> Lens:
        """The camera of a picture.

        Raises:
            DataError: The file has none, or it is no pinhole camera in the axes wanted.
        """
        own = next(
            (self.own[name] for name in (str(picture), picture.name, picture.stem) if name in self.own), None
        )
        if self.own and own is None:
            raise DataError(
                f"{self.path}: images: has no {picture.name}; it has {', '.join(list(self.own)[:5])}",
                hint=f'add its camera: "{picture.name}": {HINT}',
            )
        return lens_of({**self.common, **(own or {})}, str(self.path))


def lens_of(content: Mapping[str, Any], where: str) -> Lens:
    """The camera that a file describes.

    Raises:
        DataError: A number is missing or wrong.
    """
    axes = content.get("camera_axes", AXES)
    if axes != AXES:
        raise DataError(
            f"{where}: camera_axes: found '{str(axes)[:60]}', expected '{AXES}'",
            hint="turn world_from_camera: OpenGL's times diag(1, -1, -1, 1)",
        )
    numbers = _intrinsics(content, where)
    size = _size(content, where)
    return Lens(*numbers, size, _place(content, where))


def _intrinsics(content: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    given = content.get("intrinsics", content)
    if isinstance(given, list):
        matrix = _matrix(given, (3, 3), f"{where}: intrinsics")
        if abs(matrix[0, 1]) > 1e-6 or not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise DataError(
                f"{where}: intrinsics: found {matrix.tolist()}, "
                "expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]",
                hint="a skew or a scale has to be taken out of the picture first",
            )
        found = {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}
    elif not isinstance(given, Mapping):
        raise DataError(f"{where}: intrinsics: found {str(given)[:40]}, expected fx, fy, cx, cy", hint=HINT)
    elif "fx" not in given and isinstance(content.get("f"), list) and isinstance(content.get("c"), list):
        pairs = [_matrix(content[name], (2,), f"{where}: {name}") for name in ("f", "c")]
        found = dict(zip(("fx", "fy", "cx", "cy"), np.concatenate(pairs), strict=True))
    else:
        found = dict(given)
        if "fx" in found:
            found.setdefault("fy", found["fx"])
    for name in ("fx", "fy", "cx", "cy"):
        if name not in found:
            raise DataError(f"{where}: {name}: missing; found {', '.join(map(str, found))[:80]}", hint=HINT)
    fx, fy, cx, cy = (_number(found[name], f"{where}: {name}") for name in ("fx", "fy", "cx", "cy"))
    if fx <= 0 or fy <= 0:
        raise DataError(f"{where}: fx, fy: found {fx:g}, {fy:g}, expected pixels above 0", hint=HINT)
    if max(fx, fy) < 10:
        raise DataError(
            f"{where}: fx, fy: found {fx:g}, {fy:g}; that is no length in pixels",
            hint="multiply by the width of the picture, or divide millimetres by the width of a pixel",
        )
    return fx, fy, cx, cy


def _size(content: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    given = content.get("intrinsics")
    inner = given if isinstance(given, Mapping) else {}
    found = {name: content.get(name, inner.get(name)) for name in ("width", "height")}
    if all(value is None for value in found.values()):
        return None
    width, height = (_number(value, f"{where}: {name}") for name, value in found.items())
    if not (width >= 1 and height >= 1 and width == int(width) and height == int(height)):
        raise DataError(f"{where}: width, height: found {width:g}, {height:g}, expected pixels", hint=HINT)
    return int(width), int(height)


def _place(content: Mapping[str, Any], where: str) -> np.ndarray | None:
    given = content.get("world_from_camera")
    if given is None:
        if "camera_from_world" not in content:
            return None
        return np.linalg.inv(_rigid(content["camera_from_world"], f"{where}: camera_from_world"))
    return _rigid(given, f"{where}: world_from_camera")


def _rigid(given: Any, where: str) -> np.ndarray:
    """A rotation and a place [4, 4].

    Raises:
        DataError: It mirrors, scales or shears.
    """
    matrix = _matrix(given, (4, 4), where)
    turn = matrix[:3, :3]
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise DataError(
            f"{where}: the last row is {matrix[3].tolist()}, expected [0, 0, 0, 1]",
            hint="points are columns: the camera's place is the last column",
        )
    scale = abs(np.linalg.det(turn)) ** (1 / 3)
    if scale < 1e-9 or np.abs(turn @ turn.T / scale**2 - np.eye(3)).max() > 1e-2:
        raise DataError(f"{where}: its first three columns are no rotation", hint="points are columns")
    if abs(scale - 1) > 1e-2:
        raise DataError(
            f"{where}: it scales by {scale:g}",
            hint="give a rotation, and the camera's place in the room's unit",
        )
    if np.linalg.det(turn) < 0:
        raise DataError(
            f"{where}: it mirrors: its determinant is -1",
            hint=f"camera axes are {AXES}; swap one that is not",
        )
    return matrix


def _matrix(given: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.array(given, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(f"{where}: found {str(given)[:60]}, expected numbers {list(shape)}", hint=HINT)
    return array


def _number(given: Any, where: str) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not math.isfinite(given) or abs(given) > LARGEST:
        raise DataError(f"{where}: found {str(given)[:40]}, expected a number", hint=HINT)
    return float(given)
