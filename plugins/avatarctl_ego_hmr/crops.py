"""Which points of a room the networks are given: those in front of a camera, or in a cube around a body.

The published scripts move every vertex of the scan for every frame (spec 3.2 to 3.4). Here a grid over the
floor says which cells lie wholly inside, and only the vertices of cells on the border are looked at; the same
vertices come out, in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from avatarctl.device.noise import Noise

CELL = 0.08
"""Side of a cell, metres."""
MOST_CELLS = 512
"""Along one side of the room; larger rooms have larger cells."""
SLACK = 1e-6
"""Added to cells, metres: more than rounding can move a vertex."""


@dataclass(frozen=True)
class Cube:
    """A cube of the room that stands on what is lowest in it, sides upright, y up.

    It is turned about the vertical through `middle` and moved along its own sides.
    """

    middle: np.ndarray
    """Of the body, metres [3]."""
    angle: float
    """By which the room turns about the vertical, radians."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Along x and z of the turned room, metres."""
    size: float = 2.0
    """Length of a side, metres."""

    def turned(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and z of points in the turned room."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        right, back = x - self.middle[0], z - self.middle[2]
        return (
            right * cos - back * sin + self.middle[0],
            right * sin + back * cos + self.middle[2],
        )


def cube_around_place(place: np.ndarray, noise: Noise, size: float = 2.0) -> Cube:
    """A cube around a place in scene axes [3], turned by chance (spec 3.4)."""
    return Cube(place, _uniform(0.0, 2 * math.pi, noise), size=size)


def cube_around_body(vertices: np.ndarray, noise: Noise, size: float = 2.0) -> Cube:
    """A cube around a body, turned and moved by chance so that the body stays inside (spec 3.3).

    Args:
        vertices: Of the body in scene axes, metres [V, 3].
    """
    place = cube_around_place(vertices.mean(axis=0), noise, size)
    bounds = shift_bounds(vertices, place)
    shift = (_uniform(*bounds[0], noise), _uniform(*bounds[1], noise))
    return Cube(place.middle, place.angle, shift, size)


def shift_bounds(vertices: np.ndarray, cube: Cube) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least and most that a turned cube may move along x and along z."""
    found = []
    sides = cube.turned(vertices[:, 0], vertices[:, 2])
    for values, middle in zip(sides, (cube.middle[0], cube.middle[2]), strict=True):
        least = max(-cube.size / 4, float(values.max() - middle) - cube.size / 2)
        most = min(cube.size / 4, cube.size / 2 - float(middle - values.min()))
        found.append((least, most))
    return found[0], found[1]


def _uniform(low: float, high: float, noise: Noise) -> float:
    return low + (high - low) * float(noise.uniform((), torch.float64))


class Room:
    """Vertices of a room, float64 [V, 3] metres, y up, and the grid that finds some of them."""

    def __init__(self, vertices: np.ndarray, cell: float = CELL) -> None:
        self.vertices = np.ascontiguousarray(vertices, np.float64)
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        side = max(cell, float((high - low)[[0, 2]].max()) / MOST_CELLS)
        columns, rows = (
            np.floor((values - first) / side).astype(np.int64)
            for values, first in zip(self.vertices.T[::2], low[::2], strict=True)
        )
        number = columns * (rows.max() + 1) + rows
        order = np.argsort(number, kind="stable")
        cells, starts = np.unique(number[order], return_index=True)
        # Cell by cell, so that what is looked at together lies together.
        self._order = order.astype(np.int32)
        self._places = np.arange(len(order), dtype=np.int32)
        self._x, self._y, self._z = (self.vertices[order, axis] for axis in range(3))
        self._starts = np.append(starts, len(number))
        column, row = np.divmod(cells, rows.max() + 1)
        self._half = side / 2 + SLACK
        self._cell_x, self._cell_z = low[0] + (column + 0.5) * side, low[2] + (row + 0.5) * side
        self._bottom = np.minimum.reduceat(self._y, starts)
        self._top = np.maximum.reduceat(self._y, starts)

    def in_front(self, camera_from_room: np.ndarray) -> np.ndarray:
        """Vertices at a positive depth, as numbers in rising order [N].

        Args:
            camera_from_room: [4, 4].
        """
        (x, y, z), away = camera_from_room[2, :3], camera_from_room[2, 3]
        half_height = (self._top - self._bottom) / 2 + SLACK
        depth = x * self._cell_x + y * (self._top + self._bottom) / 2 + z * self._cell_z + away
        reach = (abs(x) + abs(z)) * self._half + abs(y) * half_height
        sure = depth > reach
        border = self._of(~sure & (depth > -reach), self._places)
        seen = x * self._x.take(border) + y * self._y.take(border) + z * self._z.take(border) + away > 0
        return self._sorted(self._of(sure, self._order), self._order.take(border[seen]))

    def inside(self, cube: Cube) -> np.ndarray:
        """Vertices in a cube, as numbers in rising order [N]."""
        middle_x, middle_z = cube.middle[0] + cube.shift[0], cube.middle[2] + cube.shift[1]
        x, z = cube.turned(self._cell_x, self._cell_z)
        away = np.maximum(np.abs(x - middle_x), np.abs(z - middle_z))
        reach = self._half * (abs(math.cos(cube.angle)) + abs(math.sin(cube.angle)))
        sure = away <= cube.size / 2 - reach
        border = self._of(~sure & (away <= cube.size / 2 + reach), self._places)
        x, z = cube.turned(self._x.take(border), self._z.take(border))
        half = cube.size / 2
        low_x, high_x = (cube.middle[0] + side + cube.shift[0] for side in (-half, half))
        low_z, high_z = (cube.middle[2] + side + cube.shift[1] for side in (-half, half))
        border = border[(x >= low_x) & (x <= high_x) & (z >= low_z) & (z <= high_z)]
        height = self._y.take(border)
        ceiling = min(self._bottom[sure].min(initial=math.inf), height.min(initial=math.inf)) + cube.size
        is_high = sure & (self._top > ceiling)
        tall = self._of(is_high, self._places)
        some = np.concatenate([tall[self._y.take(tall) <= ceiling], border[height <= ceiling]])
        return self._sorted(self._of(sure & ~is_high, self._order), self._order.take(some))

    def _of(self, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The values, cell by cell, of the cells that are marked [N]; runs of neighbours are taken as one."""
        padded = np.zeros(len(cells) + 2, bool)
        padded[1:-1] = cells
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        ends = self._starts[edges].tolist()
        runs = [values[first:last] for first, last in zip(ends[::2], ends[1::2], strict=True)]
        return np.concatenate(runs) if runs else values[:0]

    def _sorted(self, *parts: np.ndarray) -> np.ndarray:
        """Numbers of vertices in rising order, by marking them: there are far too many to sort."""
        first = min((int(part.min()) for part in parts if len(part)), default=0)
        last = max((int(part.max()) for part in parts if len(part)), default=-1)
        marks = np.zeros(last + 1 - first, bool)
        for part in parts:
            marks[part - first] = True
        return np.flatnonzero(marks) + first


def thinned(found: np.ndarray, count: int) -> np.ndarray:
    """So many of them: every k-th from the first on, as published; some repeated where they are fewer."""
    if len(found) < count:
        return found[np.arange(count) * len(found) // count]
    return found[:: len(found) // count][:count]
