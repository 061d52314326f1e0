"""The surface of a field around a body, as triangles: an octree refines where the surface may be.

Blocks of samples are halved until they are cells, and a block is given up once its corners say that the field
cannot change its sign inside:

- Samples far from the body are outside by definition. The distance that decides changes by no more than one
  moves, so a block is outside for certain when its corners are far enough.
- Elsewhere a block is given up when the field at its corners is larger than what it can change by inside:
  by its own steepest edge with a margin, and never less than a distance would.

The margin is no proof. So the surface is followed at last: wherever it leaves a known cell through a side,
the cell behind is evaluated too, until it is closed. A part of the surface is therefore whole; only one that
is smaller than a block that looked empty can be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from avatarctl.device.memory import chunked
from avatarctl.geometry import marching
from avatarctl.geometry.marching import CORNERS
from avatarctl.geometry.meshes import Mesh

Field = Callable[[np.ndarray], np.ndarray]
"""Values [N] at places float32 [N, 3]; negative inside."""
Progress = Callable[[Iterable[Any], str, int], Iterator[Any]]
BLOCK = 16
"""Cells along the side of the first blocks where samples are farthest apart."""
STEEPER = 1.5
"""How much steeper than between its corners the field may be inside a block."""
CHUNK = 32768
"""Places given to the field at once."""
ENDS = np.array([(a, b) for a in range(8) for b in range(a, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1])
"""Corners at both ends of a block's edges [12, 2]."""


class NoSurface(Exception):
    """A field that does not pass its level near the body; says what it is there."""


@dataclass(frozen=True)
class Grid:
    """n samples along each side of a box from `low` to `high`, both included [3], metres."""

    low: np.ndarray
    high: np.ndarray
    n: int

    @property
    def step(self) -> np.ndarray:
        """Between neighbouring samples [3]."""
        step: np.ndarray = (self.high.astype(np.float64) - self.low) / (self.n - 1)
        return step

    def places(self, index: np.ndarray) -> np.ndarray:
        """Where samples are, or points between them, given by number [..., 3]."""
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        places: np.ndarray = index / (self.n - 1) * (high - low) + low
        return places

    def keys(self, index: np.ndarray) -> np.ndarray:
        """Samples as single numbers, in the order of the grid [...]."""
        keys: np.ndarray = index @ np.array([self.n * self.n, self.n, 1])
        return keys

    def corners(self, blocks: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Keys of the corners of blocks, those at the grid's end cut short [B, 8].

        Args:
            blocks: Lower corners [B, 3].
            size: Their cells along each axis [3].
        """
        ends = np.stack([blocks, np.minimum(blocks + size, self.n - 1)])  # [2, B, 3]
        weights = (self.n * self.n, self.n, 1)
        columns = [sum(ends[corner[a], :, a] * weights[a] for a in range(3)) for corner in CORNERS]
        return np.stack(columns, axis=1)


@dataclass
class Samples:
    """What is known of a field on a grid: values, and distances to the body, by sorted keys of samples.

    A sample is near where the mean distance to its nearest `neighbours` of the points `body` is at most
    `far`, metres. Elsewhere its value is `outside`.
    """

    function: Field
    grid: Grid
    body: cKDTree
    far: float
    neighbours: int
    outside: float
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def at(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and distances at samples, of any shape; those not known yet are computed."""
        wanted = _distinct(keys)
        new = wanted[~np.isin(wanted, self.keys, assume_unique=True)]
        if len(new):
            values, distances = self.computed(new)
            order = np.argsort(np.concatenate([self.keys, new]), kind="stable")
            self.keys = np.concatenate([self.keys, new])[order]
            self.values = np.concatenate([self.values, values])[order]
            self.distances = np.concatenate([self.distances, distances])[order]
        place = np.searchsorted(self.keys, keys)
        return self.values[place], self.distances[place]

    def computed(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and distances at samples [N], computed anew."""
        parts = chunked(lambda rows: self._compute(keys[rows]), len(keys), CHUNK)
        values, distances = zip(*parts, strict=True)
        return np.concatenate(values), np.concatenate(distances)

    def _compute(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = self.grid.places(np.stack(np.unravel_index(keys, (self.grid.n,) * 3), axis=-1))
        neighbours = range(1, self.neighbours + 1)
        found, _ = self.body.query(places, k=neighbours, workers=torch.get_num_threads())
        distances = found.mean(axis=1)
        values = np.full(len(keys), self.outside, np.float32)
        near = np.nonzero(distances <= self.far)[0]
        if len(near):
            values[near] = self.function(places[near].astype(np.float32))
        return values, distances.astype(np.float32)


def extract(samples: Samples, *, level: float = 0.0, progress: Progress | None = None) -> Mesh:
    """The surface of a field around a body, all its parts; faces wound as of `marching.polygons`.

    Args:
        samples: Of the field, nothing known yet.
        level: Value at the surface, below that outside.
        progress: Shows how many sizes of blocks are done.

    Raises:
        NoSurface: The field has no surface there.
    """
    n = samples.grid.n
    sizes = block_sizes(samples.grid)
    starts = (np.arange(0, n - 1, size) for size in sizes[0])
    blocks = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
    rounds = (progress or _plain)(sizes[:-1], "surface", len(sizes) - 1)
    for size, smaller in zip(rounds, sizes[1:], strict=True):
        blocks = blocks[_may_cross(samples, blocks, size, level)]
        blocks = _parts(blocks, size, smaller, n)
    cells, values = _followed(samples, blocks, level)
    near = samples.values[samples.distances <= samples.far]
    return _mesh(samples.grid, cells, values, level, near)


def extract_dense(samples: Samples, *, level: float = 0.0, progress: Progress | None = None) -> Mesh:
    """The same by evaluating every sample.

    Raises:
        NoSurface: The field has no surface there.
    """
    volume = whole(samples, progress)
    cells = marching.crossed(volume <= level)
    values = volume.reshape(-1)[samples.grid.corners(cells, np.ones(3, np.int64))]
    return _mesh(samples.grid, cells, values, level, volume[volume != samples.outside])


def whole(samples: Samples, progress: Progress | None = None) -> np.ndarray:
    """The field at all samples, float32 [n, n, n]."""
    n = samples.grid.n
    plane = np.arange(n * n, dtype=np.int64)
    volume = np.empty((n, n, n), np.float32)
    for x in (progress or _plain)(range(n), "slices", n):
        volume[x] = samples.computed(x * n * n + plane)[0].reshape(n, n)
    return volume


def block_sizes(grid: Grid) -> list[np.ndarray]:
    """Cells along the axes of the blocks of each round, down to 1, 1, 1: powers of two, nearly cubes [3]."""
    step = grid.step
    size = 2 ** np.round(np.log2(BLOCK * step.max() / step)).astype(np.int64)
    sizes = [size]
    while (size > 1).any():
        length = np.where(size > 1, size * step, 0.0)
        size = np.where(length > 0.6 * length.max(), size // 2, size)
        sizes.append(size)
    return sizes


def _may_cross(samples: Samples, blocks: np.ndarray, size: np.ndarray, level: float) -> np.ndarray:
    """Which blocks may hold a part of the surface [B]."""
    values, distances = samples.at(samples.grid.corners(blocks, size))
    lengths = size * samples.grid.step
    reach = float(np.linalg.norm(lengths)) / 2  # from any point of a block to its nearest corner, at most
    near = distances <= samples.far
    first, second = ENDS.T
    rise = np.abs(values[:, first] - values[:, second])
    axis = np.argmax(np.abs(CORNERS[first] - CORNERS[second]), axis=1)
    slope = np.where(near[:, first] & near[:, second], rise / lengths[axis], 0.0).max(axis=1)
    change = STEEPER * np.maximum(slope, 1.0) * reach * np.where(near.all(axis=1), 1, 2)
    height = np.where(near, values - level, np.inf)
    outside = height.min(axis=1) > change  # true of blocks with no near corner
    depth = np.where(near, values - level, -np.inf).max(axis=1)
    inside = near.all(axis=1) & (depth < -change) & (distances.max(axis=1) + reach <= samples.far)
    unsure = ~near.any(axis=1) & (distances.min(axis=1) - reach <= samples.far)
    may_cross: np.ndarray = unsure | ~(outside | inside)
    return may_cross


def _parts(blocks: np.ndarray, size: np.ndarray, smaller: np.ndarray, n: int) -> np.ndarray:
    """The blocks that others fall into [K, 3]; those that begin at the grid's end hold no cell."""
    offsets = CORNERS[(CORNERS * (size // smaller - 1) == CORNERS).all(axis=1)] * smaller
    parts = (blocks[:, None] + offsets).reshape(-1, 3)
    return parts[(parts < n - 1).all(axis=1)]


def _followed(samples: Samples, cells: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells that the surface crosses, in the order of the grid [C, 3], and values at their corners [C, 8].

    Args:
        cells: Those that it may cross; where it leaves them, more are evaluated.
    """
    grid, one = samples.grid, np.ones(3, np.int64)
    known, found = np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    while len(cells):
        known = _distinct(np.concatenate([known, grid.keys(cells)]))
        inside = samples.at(grid.corners(cells, one))[0] <= level
        found = np.concatenate([found, cells[inside.any(axis=1) & ~inside.all(axis=1)]])
        behind = []
        for axis in range(3):
            for side in (0, 1):
                corners = inside[:, CORNERS[:, axis] == side]
                left = cells[corners.any(axis=1) & ~corners.all(axis=1)].copy()
                left[:, axis] += 2 * side - 1
                behind.append(left[(left[:, axis] >= 0) & (left[:, axis] < grid.n - 1)])
        keys = _distinct(grid.keys(np.concatenate(behind)))
        keys = keys[~np.isin(keys, known, assume_unique=True)]
        cells = np.stack(np.unravel_index(keys, (grid.n,) * 3), axis=-1)
    found = found[np.argsort(grid.keys(found))]
    return found, samples.at(grid.corners(found, one))[0]


def _mesh(grid: Grid, cells: np.ndarray, values: np.ndarray, level: float, near: np.ndarray) -> Mesh:
    """The surface in cells [C, 3] with values at their corners [C, 8].

    Args:
        near: Values at samples near the body, which alone are the field's own.
    """
    if not (near <= level).any() or not (near > level).any():
        found = f"is {near.min():.3g} to {near.max():.3g} metres" if len(near) else "was not evaluated"
        raise NoSurface(
            f"no surface near the body: at {len(near)} places around it the signed distance {found}, "
            f"never from below to above {level:g}"
        )
    mesh = marching.polygons(cells, values, (grid.n, grid.n, grid.n), level)
    return mesh._replace(vertices=grid.places(mesh.vertices))


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Keys of any shape in order, each once [K]; for these NumPy's own hashing takes ten times as long."""
    ordered = np.sort(keys, axis=None)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def _plain(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    return iter(items)
