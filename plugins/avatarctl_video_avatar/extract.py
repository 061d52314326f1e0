"""The surface of a field around a body, as triangles (spec 8): an octree refines where the surface may be.

The published code evaluates every sample of the grid. Here, blocks of samples are halved until they are
cells, and a block is given up once its corners say that the field cannot change its sign inside:

- Samples farther from the body than `FAR` are 1 by definition. The distance that decides changes by no more
  than one moves, so a block is outside for certain when its corners are far enough.
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
from avatarctl.errors import CheckpointError
from avatarctl_video_avatar import marching
from avatarctl_video_avatar.marching import CORNERS
from avatarctl_video_avatar.meshes import Mesh

Field = Callable[[np.ndarray], np.ndarray]
"""Values [N] at places float32 [N, 3]; negative inside."""
Progress = Callable[[Iterable[Any], str, int], Iterator[Any]]
FAR = 0.1
"""Mean distance to the three nearest vertices beyond which the field is `OUTSIDE`, metres."""
OUTSIDE = 1.0
PADDING = 0.1
"""Room around the body in the grid, metres."""
NEIGHBOURS = 3
BLOCK = 16
"""Cells along the side of the first blocks where samples are farthest apart."""
STEEPER = 1.5
"""How much steeper than between its corners the field may be inside a block."""
CHUNK = 32768
"""Places given to the field at once."""
ENDS = np.array([(a, b) for a in range(8) for b in range(a, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1])
"""Corners at both ends of a block's edges [12, 2]."""


@dataclass(frozen=True)
class Grid:
    """n samples along each side of a box from `low` to `high`, both included [3], metres."""

    low: np.ndarray
    high: np.ndarray
    n: int

    @classmethod
    def around(cls, vertices: np.ndarray, n: int) -> Grid:
        """The box of a body's vertices [V, 3] with room around it; its corners are float32."""
        vertices, padding = vertices.astype(np.float32), np.float32(PADDING)
        return cls(vertices.min(0) - padding, vertices.max(0) + padding, n)

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
    """What is known of a field on a grid: values, and distances to the body, by sorted keys of samples."""

    function: Field
    grid: Grid
    body: cKDTree
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def at(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and distances at samples, of any shape; those not known yet are computed."""
        wanted = np.unique(keys)
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
        found, _ = self.body.query(places, k=NEIGHBOURS, workers=torch.get_num_threads())
        distances = found.mean(axis=1)
        values = np.full(len(keys), OUTSIDE, np.float32)
        near = np.nonzero(distances <= FAR)[0]
        if len(near):
            values[near] = self.function(places[near].astype(np.float32))
        return values, distances.astype(np.float32)


def extract(
    function: Field, body: np.ndarray, n: int, *, level: float = 0.0, progress: Progress | None = None
) -> Mesh:
    """The surface of a field around a body, all its parts; faces wound as published (`marching.polygons`).

    Args:
        function: The field.
        body: Vertices of the body [V, 3].
        n: Samples along each side of the grid.
        level: Value at the surface, below `OUTSIDE`.
        progress: Shows how many sizes of blocks are done.

    Raises:
        CheckpointError: The field has no surface there.
    """
    samples = samples_of(function, body, n)
    sizes = block_sizes(samples.grid)
    starts = (np.arange(0, n - 1, size) for size in sizes[0])
    blocks = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
    rounds = (progress or _plain)(sizes[:-1], "surface", len(sizes) - 1)
    for size, smaller in zip(rounds, sizes[1:], strict=True):
        blocks = blocks[_may_cross(samples, blocks, size, level)]
        blocks = _parts(blocks, size, smaller, n)
    cells, values = _followed(samples, blocks, level)
    return _mesh(samples.grid, cells, values, level, near=samples.values[samples.distances <= FAR])


def extract_dense(
    function: Field, body: np.ndarray, n: int, *, level: float = 0.0, progress: Progress | None = None
) -> Mesh:
    """The same by evaluating every sample, as published.

    Raises:
        CheckpointError: The field has no surface there.
    """
    samples = samples_of(function, body, n)
    volume = whole(samples, progress)
    cells = marching.crossed(volume <= level)
    values = volume.reshape(-1)[samples.grid.corners(cells, np.ones(3, np.int64))]
    return _mesh(samples.grid, cells, values, level, near=volume[volume != OUTSIDE])


def samples_of(function: Field, body: np.ndarray, n: int) -> Samples:
    """A field on the grid around a body, nothing known of it yet."""
    return Samples(function, Grid.around(body, n), cKDTree(body.astype(np.float32)))


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
    near = distances <= FAR
    first, second = ENDS.T
    rise = np.abs(values[:, first] - values[:, second])
    axis = np.argmax(np.abs(CORNERS[first] - CORNERS[second]), axis=1)
    slope = np.where(near[:, first] & near[:, second], rise / lengths[axis], 0.0).max(axis=1)
    change = STEEPER * np.maximum(slope, 1.0) * reach * np.where(near.all(axis=1), 1, 2)
    height = np.where(near, values - level, np.inf)
    outside = height.min(axis=1) > change  # true of blocks with no near corner
    depth = np.where(near, values - level, -np.inf).max(axis=1)
    inside = near.all(axis=1) & (depth < -change) & (distances.max(axis=1) + reach <= FAR)
    unsure = ~near.any(axis=1) & (distances.min(axis=1) - reach <= FAR)
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
        known = np.union1d(known, grid.keys(cells))
        inside = samples.at(grid.corners(cells, one))[0] <= level
        found = np.concatenate([found, cells[inside.any(axis=1) & ~inside.all(axis=1)]])
        behind = []
        for axis in range(3):
            for side in (0, 1):
                corners = inside[:, CORNERS[:, axis] == side]
                left = cells[corners.any(axis=1) & ~corners.all(axis=1)].copy()
                left[:, axis] += 2 * side - 1
                behind.append(left[(left[:, axis] >= 0) & (left[:, axis] < grid.n - 1)])
        keys = np.setdiff1d(grid.keys(np.concatenate(behind)), known)
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
        raise CheckpointError(
            f"the avatar has no surface near the body: at {len(near)} places around it the signed distance "
            f"{found}, never from below to above {level:g}",
            hint="check that --weights and --data are of the same person, that the training got beyond its "
            "first hundred steps, and --level",
        )
    mesh = marching.polygons(cells, values, (grid.n, grid.n, grid.n), level)
    return mesh._replace(vertices=grid.places(mesh.vertices))


def _plain(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    return iter(items)
