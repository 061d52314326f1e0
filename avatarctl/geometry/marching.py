"""Marching cubes over the cells that a surface crosses, with the triangles in their published order.

Lorensen & Cline, "Marching Cubes" (1987). The table of cases is libigl's, which is the one that the published
code's library (PyMCubes) uses; only cells that are handed in take memory, so that fine grids need no volume.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from avatarctl.geometry.meshes import Mesh

CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
"""Offsets of a cell's corners, in the order of their bits in a case [8, 3]."""
EDGES = np.array(
    [[axis, *np.insert(rest, axis, 0)] for axis in range(3) for rest in ((0, 0), (0, 1), (1, 0), (1, 1))]
)
"""A cell's edges: axis, and offset of the lower end [12, 4]."""


def dense(volume: np.ndarray, level: float = 0.0) -> Mesh:
    """Where a whole grid [X, Y, Z] passes a level; vertices count samples, faces as of `polygons`."""
    cells = crossed(volume <= level)
    places = (cells[:, None] + CORNERS).reshape(-1, 3)
    return polygons(cells, volume[tuple(places.T)].reshape(-1, 8), volume.shape, level)


def crossed(inside: np.ndarray) -> np.ndarray:
    """Lower corners of the cells that have corners of both kinds, in the order of the grid [C, 3]."""
    shape = tuple(size - 1 for size in inside.shape)
    counts = np.zeros(shape, np.uint8)
    for i, j, k in CORNERS:
        counts += inside[i : i + shape[0], j : j + shape[1], k : k + shape[2]]
    return np.argwhere((counts > 0) & (counts < len(CORNERS)))


def polygons(cells: np.ndarray, values: np.ndarray, shape: tuple[int, ...], level: float = 0.0) -> Mesh:
    """The triangles in some cells of a grid; a vertex between two cells is one.

    They are counter-clockwise seen from inside, as published; `Mesh.turned` turns them.

    Args:
        cells: Lower corners, in the order of the grid (last axis fastest) [C, 3].
        values: At their corners [C, 8].
        shape: Samples of the grid along its axes.
        level: Values up to it are inside.
    """
    counts, triangles = cases()
    case = (values <= level) @ (1 << np.arange(8))
    number = counts[case]
    cell = np.repeat(np.arange(len(cells)), number)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(number) - number, number)
    edge = triangles[case[cell], place].reshape(-1)  # [3 F]
    cell = np.repeat(cell, 3)
    axis, base = EDGES[edge, 0], cells[cell] + EDGES[edge, 1:]
    key = np.ravel_multi_index(tuple(base.T), shape) * 3 + axis
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    # parity: a vertex is made in the first cell that has it, those along x before y before z (spec 8)
    order = np.lexsort([axis[first], cell[first]])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    at = first[order]
    low = values[cell[at], _corner(EDGES[edge[at], 1:])].astype(np.float64)
    high = values[cell[at], _corner(EDGES[edge[at], 1:] + np.eye(3, dtype=np.int64)[axis[at]])]
    vertices = base[at].astype(np.float64)
    vertices[np.arange(len(at)), axis[at]] += (level - low) / (high - low)
    return Mesh(vertices, rank[which.reshape(-1, 3)])


@cache
def cases() -> tuple[np.ndarray, np.ndarray]:
    """How many triangles each of the 256 cases has [256], and the edges they join [256, 5, 3].

    Bit n of a case says that corner n is inside. libigl is asked for each case on a grid of one cell.
    """
    import igl

    counts, triangles = np.zeros(256, np.int64), np.zeros((256, 5, 3), np.int64)
    ends = CORNERS.reshape(2, 2, 2, 3).transpose(2, 1, 0, 3).reshape(8, 3)  # its first axis runs fastest
    for case in range(1, 255):
        inside = (case >> _corner(ends)) & 1
        vertices, faces = igl.marching_cubes(2.0 * inside - 1, ends.astype(np.float64), 2, 2, 2, 0.0)[:2]
        axis = np.argmin(np.abs(vertices - 0.5), axis=1)
        offset = np.round(vertices).astype(np.int64)
        offset[np.arange(len(axis)), axis] = 0
        ends_at = np.column_stack([axis, offset])
        edge = np.argmax(np.all(ends_at[:, None] == EDGES, axis=2), axis=1)
        counts[case] = len(faces)
        triangles[case, : len(faces)] = edge[faces]
    return counts, triangles


def _corner(offsets: np.ndarray) -> np.ndarray:
    """The number of a corner by its offset [..., 3]."""
    number: np.ndarray = offsets @ np.array([4, 2, 1])
    return number
