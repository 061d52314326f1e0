"""Labels without photos: the files that new people's poses are drawn from, and what labels should look like.

A pose file is an array [M, 111] (dp_pose_dist.npy, ubc_pose_dist.npy; spec 2.4). A collection of photos has
labels too, and so stands for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.photo_files import INDEX, PhotoFiles

MAGIC = b"\x93NUMPY"
EXPECTED = f"expected an array [M, {label.SIZE}] of numbers (dp_pose_dist.npy), or photos with {INDEX}"
HINT = "avatarctl prepare fashion makes a collection of photos, whose labels will do as well"
SPANS = 0.1
"""How far what a camera sees of the plane z = 0 may be from [-1, 1], as a share."""
TURNED, STRAIGHT = 60.0, 10.0
"""Largest turn of a body from upright, and of a camera from straight ahead, degrees."""


@dataclass(frozen=True)
class Pattern:
    """How many of some labels keep to the geometry that renderer and face crops assume (spec 2.2).

    `count` labels; `spanning` those whose camera sees [-1, 1] of the plane z = 0 to a tenth, `ahead` those
    that look along z, `upright` those whose body stands in a world with y down, `scaled` those whose scale is
    not 1.
    """

    count: int
    spanning: int
    ahead: int
    upright: int
    scaled: int

    @property
    def warnings(self) -> list[str]:
        """What deviates and what follows."""
        found = []
        for number, what in (
            (self.spanning, "cameras see [-1, 1] of the plane z = 0; face crops of the others are elsewhere"),
            (self.ahead, "cameras look along z; face crops of the others are elsewhere"),
            (self.upright, "bodies stand upright, turned by pi about x; is y of the others up?"),
        ):
            if number < self.count:
                found.append(f"{number} of {self.count} {what}")
        return found


def read_poses(path: Path) -> Tensor:
    """The labels of a pose file, or of a zip or a folder of photos, float32 [M, 111].

    Raises:
        DataError: It has another layout, or numbers that are not finite.
    """
    path = Path(path)
    if path.is_dir():
        return _of_photos(path)
    with check_input_file(path, "a pose file").open("rb") as file:
        start = file.read(len(MAGIC))
    if start == MAGIC:
        return _of_array(path)
    if start.startswith(b"PK") and path.suffix.lower() != ".npz":
        return _of_photos(path)
    raise DataError(f"{path}: is no .npy, zip or folder; {EXPECTED}", hint=HINT)


def _of_photos(path: Path) -> Tensor:
    files = PhotoFiles(path)
    return torch.from_numpy(files.labels(list(files.entries())))


def _of_array(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}; {EXPECTED}", hint="copy it again") from error
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != label.SIZE or not len(array):
        hint = HINT
        if array.ndim == 2 and array.shape[1] == label.BODY:
            hint = "these are bodies without cameras; put the 25 numbers of a camera in front of each"
        raise DataError(f"{path}: holds {array.dtype} {list(array.shape)}; {EXPECTED}", hint=hint)
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    is_possible = np.abs(rows) <= label.LARGEST
    if len(bad := np.flatnonzero(~is_possible.all(axis=1))):
        index = int(np.flatnonzero(~is_possible[bad[0]])[0])
        raise DataError(
            f"{path}: {len(bad)} of {len(rows)} rows have impossible numbers, row {bad[0]} first: "
            f"{label.field_of(index)}: found {rows[bad[0], index]:g}",
            hint="leave these rows out",
        )
    return torch.from_numpy(rows)


def pattern(labels: Tensor) -> Pattern:
    """How far labels [M, 111] keep to the assumed geometry."""
    world, inner = label.cam2world(labels), label.intrinsics(labels)
    distance = -world[:, 2, 3]
    span = distance[:, None] * 0.5 / inner[:, (0, 1), (0, 1)]
    edges = world[:, :2, 3] + distance[:, None] * (0.5 - inner[:, :2, 2]) / inner[:, (0, 1), (0, 1)]
    is_spanning = ((span - 1).abs() < SPANS).all(dim=1) & (edges.abs() < SPANS).all(dim=1)
    is_ahead = world[:, 2, 2] > math.cos(math.radians(STRAIGHT))
    turn = matrix_from_axis_angle(label.poses(labels)[:, 0])
    is_upright = turn[:, 1, 1] < -math.cos(math.radians(TURNED))
    is_scaled = (label.scale(labels)[:, 0] - 1).abs() > 1e-3
    counts = (int(kind.sum()) for kind in (is_spanning, is_ahead, is_upright, is_scaled))
    return Pattern(len(labels), *counts)
