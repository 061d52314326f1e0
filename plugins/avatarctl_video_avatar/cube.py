"""Signed distances to a body's mesh on a cube, and the mesh that surrounds it at a distance (spec 3.1).

Next to the surface distances are exact. Farther away samples take over the nearest triangle of their
neighbours, in sweeps (Bridson's level sets from meshes, as mesh2sdf has them), in float32 and in the same
order, so that volumes are equal to the published ones to the last bit.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import cache

import numpy as np

from avatarctl.errors import DataError
from avatarctl.geometry import marching
from avatarctl.geometry.isosurface import Progress
from avatarctl_video_avatar import sweeps
from avatarctl_video_avatar.prepared import Volume

log = logging.getLogger(__name__)
DILATED = 64
"""Samples along each side of the cube that dilated meshes are taken from."""
FLOOR = 1e-10
"""Added to the side of the cube, as published."""


def cube_sdf(
    vertices: np.ndarray, faces: np.ndarray, n: int, pad: float, progress: Progress | None = None
) -> Volume:
    """Signed distances to a closed mesh on n x n x n samples at -1 + 2 i / n of its cube (spec 3.1, step 5).

    Args:
        vertices: Metres [V, 3].
        faces: [F, 3].
        n: Samples along each side.
        pad: Free room around the mesh, metres.
        progress: Wraps the sweeps, which take minutes for large cubes without numba.

    Raises:
        DataError: The mesh has no extent, or coordinates that are not finite.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    if not len(vertices) or not np.isfinite(vertices).all() or not np.ptp(vertices, axis=0).max() > 0:
        raise DataError(
            "the body's mesh has no extent or is not finite", hint="check poses, shapes and places of the fit"
        )
    half = float(np.abs(vertices).max()) + pad
    unit = 2 * ((vertices + half) / (2 * half + FLOOR) - 0.5)
    triangles = unit.astype(np.float32)[faces]
    grid = _distances(triangles, n, progress)
    grid[is_inside(triangles, n)] *= -1
    return Volume(grid, -half, half)


def dilated(
    vertices: np.ndarray, faces: np.ndarray, pad: float, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mesh at a distance outside of a body (spec 3.1, step 6).

    Args:
        delta: The distance, in halves of the cube's side.

    Returns:
        Vertices in metres [n, 3] float64, and triangles, counter-clockwise seen from inside [m, 3].
    """
    volume = cube_sdf(vertices, faces, DILATED, pad)
    mesh = marching.dense(volume.grid - delta)
    if not len(mesh.faces):
        raise DataError(
            "nothing of the dilated mesh lies in its cube", hint="a smaller delta, or a larger pad"
        )
    side = volume.bbmax - volume.bbmin
    return mesh.vertices / DILATED * side + volume.bbmin, np.asarray(mesh.faces, np.int64)


def _distances(triangles: np.ndarray, n: int, progress: Progress | None) -> np.ndarray:
    """Distances without sign [n, n, n] float32, in halves of the cube's side."""
    if importlib.util.find_spec("numba"):
        from avatarctl_video_avatar import sweeps_compiled

        return sweeps_compiled.distances(triangles, n)
    _advise()
    return sweeps.distances(triangles, n, progress)


@cache
def _advise() -> None:
    """Say once, not for each frame, what would be faster."""
    log.info('distances to bodies take seconds a frame; pip install "avatarctl[fast]" takes a tenth of that')


def is_inside(triangles: np.ndarray, n: int) -> np.ndarray:
    """Samples with an odd number of crossings on the way along x, bool [n, n, n].

    Args:
        triangles: Corners [F, 3, 3] float32, in halves of the cube's side.
    """
    places = (triangles.astype(np.float64) + 1) / np.float64(np.float32(2 / n))  # in samples
    x, y, z = (places[..., axis] for axis in range(3))
    low = [np.clip(np.ceil(side.min(axis=1)), 0, n - 1).astype(np.int64) for side in (y, z)]
    high = [np.clip(np.floor(side.max(axis=1)), 0, n - 1).astype(np.int64) for side in (y, z)]
    spans = [np.maximum(top - bottom + 1, 0) for bottom, top in zip(low, high, strict=True)]
    counts = spans[0] * spans[1]
    face = np.repeat(np.arange(len(x)), counts)
    place = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    j, k = low[0][face] + place % spans[0][face], low[1][face] + place // spans[0][face]
    corners = [(y[face, corner] - j, z[face, corner] - k) for corner in range(3)]
    found = [_orientation(*corners[a], *corners[b]) for a, b in ((1, 2), (2, 0), (0, 1))]
    signs, areas = np.stack([sign for sign, _ in found]), np.stack([area for _, area in found])
    hit = (signs[0] != 0) & (signs == signs[0]).all(axis=0)
    shares = areas[:, hit] / areas[:, hit].sum(axis=0)
    first = np.ceil((shares * x[face[hit]].T).sum(axis=0)).astype(np.int64)
    crossings = np.zeros((n + 1, n, n), np.int32)
    np.add.at(crossings, (np.clip(first, 0, n), j[hit], k[hit]), 1)
    inside: np.ndarray = np.cumsum(crossings[:n], axis=0) % 2 == 1
    return inside


def _orientation(
    x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sign of the area that two points span with the origin, ties broken alike for all; twice the area."""
    area = y1 * x2 - x1 * y2
    tie = np.select([y2 > y1, y2 < y1, x1 > x2, x1 < x2], [1, -1, 1, -1], 0)
    return np.where(area > 0, 1, np.where(area < 0, -1, tie)), area
