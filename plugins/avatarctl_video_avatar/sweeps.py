"""Distances to triangles on a cube, handed from neighbour to neighbour, in plain numpy.

The reference of `sweeps_compiled`: the same operations on float32 in the same order. A sweep goes through the
samples one after the other; those on a diagonal plane do not depend on one another and are computed at once.

A sample is left out where no neighbour behind it has another triangle than when the last sweep of this
direction came by: it has tried them all, and distances only fall, so that nothing would change.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from avatarctl.geometry.isosurface import Progress

SWEEPS = (
    (1, 1, 1), (-1, -1, -1), (1, 1, -1), (-1, -1, 1), (1, -1, 1), (-1, 1, -1), (1, -1, -1), (-1, 1, 1),
)  # fmt: skip
"""Directions of the sweeps along x, y, z, one after the other."""
ROUNDS = 2
NEVER = -len(SWEEPS)
"""The sweep in which samples without a triangle changed last; those next to the surface did in sweep 0."""
TINY = np.float32(1e-30)
F4, F8 = np.float32, np.float64


def distances(triangles: np.ndarray, n: int, progress: Progress | None = None) -> np.ndarray:
    """Distances without sign [n, n, n] float32 at -1 + 2 i / n.

    Args:
        triangles: Corners [F, 3, 3] float32.
        n: Samples along each side.
        progress: Wraps the sweeps.
    """
    step = F4(2 / n)
    axis = np.arange(n).astype(F4) * step + F4(-1)
    found, nearest = _band(triangles, n, step, axis)
    changed = np.where(nearest < 0, NEVER, 0)
    sweeps: Iterable[tuple[int, tuple[int, int, int]]] = list(enumerate(SWEEPS * ROUNDS))
    if progress:
        sweeps = progress(sweeps, f"distances on {n}³ samples", ROUNDS * len(SWEEPS))
    for number, direction in sweeps:
        turned = tuple(slice(None, None, sign) for sign in direction)
        axes = [axis[::sign] for sign in direction]
        values, owners, times = (part[turned].ravel() for part in (found, nearest, changed))
        _sweep(triangles, values, owners, times, axes, number)
        for whole, part in ((found, values), (nearest, owners), (changed, times)):
            whole[turned] = part.reshape(n, n, n)
    return found


def _band(triangles: np.ndarray, n: int, step: np.float32, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances, and the triangles they are of, exact next to the surface [n, n, n] each; -1 elsewhere."""
    found = np.full(n**3, F4(3 * n) * step, F4)
    nearest = np.full(n**3, -1, np.int32)
    places = (triangles.astype(F8) + 1) / F8(step)
    low = np.clip(np.trunc(places.min(axis=1)).astype(np.int64) - 1, 0, n - 1)
    high = np.clip(np.trunc(places.max(axis=1)).astype(np.int64) + 2, 0, n - 1)
    spans = high - low + 1
    counts = spans.prod(axis=1)
    for some in np.array_split(np.arange(len(triangles)), max(1, int(counts.sum()) // 1_000_000)):
        face = np.repeat(some, counts[some])
        place = np.arange(len(face)) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
        i = low[face, 0] + place % spans[face, 0]
        j = low[face, 1] + place // spans[face, 0] % spans[face, 1]
        k = low[face, 2] + place // (spans[face, 0] * spans[face, 1])
        away = distance([axis[i], axis[j], axis[k]], triangles[face])
        sample = (i * n + j) * n + k
        order = np.lexsort((face, away, sample))  # of equally near triangles the first counts
        first = order[np.r_[True, np.diff(sample[order]) != 0]]
        first = first[away[first] < found[sample[first]]]
        found[sample[first]], nearest[sample[first]] = away[first], face[first]
    return found.reshape(n, n, n), nearest.reshape(n, n, n)


def _sweep(
    triangles: np.ndarray,
    values: np.ndarray,
    owners: np.ndarray,
    changed: np.ndarray,
    axes: list[np.ndarray],
    number: int,
) -> None:
    """One sweep towards higher places of turned axes, in place [n^3] each.

    Args:
        values, owners: Distances, and the triangles they are of.
        changed: The sweep in which a sample took its triangle.
        number: That of this sweep.
    """
    n = len(axes[0])
    backs = [(bits & 1) * n**2 + (bits >> 1 & 1) * n + (bits >> 2) for bits in range(1, 8)]
    for every in _planes(n):
        plane = every[changed[every[:, None] - backs].max(axis=1) > number - len(SWEEPS)]
        i, j, k = plane // n**2, plane // n % n, plane % n
        before = owners[plane]
        for back in backs:
            theirs = owners[plane - back]
            rows = np.flatnonzero((theirs >= 0) & (theirs != owners[plane]))
            if not len(rows):
                continue
            here, theirs = plane[rows], theirs[rows]
            away = distance([axes[0][i[rows]], axes[1][j[rows]], axes[2][k[rows]]], triangles[theirs])
            nearer = away < values[here]
            values[here[nearer]], owners[here[nearer]] = away[nearer], theirs[nearer]
        changed[plane[owners[plane] != before]] = number


@cache
def _planes(n: int) -> list[np.ndarray]:
    """Flat places of the samples of each diagonal plane, but for those at a lower side."""
    i, j, k = (part.ravel() for part in np.meshgrid(*[np.arange(1, n)] * 3, indexing="ij"))
    order = np.argsort(i + j + k, kind="stable")
    counts = np.bincount((i + j + k)[order])
    flat = ((i * n + j) * n + k)[order]
    return [part for part in np.split(flat, np.cumsum(counts)[:-1]) if len(part)]


def distance(point: list[np.ndarray], triangles: np.ndarray) -> np.ndarray:
    """Distances [N] of points (x, y, z) [N] each from triangles [N, 3, 3], float32."""
    one, two, three = (list(triangles[:, corner].T) for corner in range(3))
    first, second, own = _less(one, three), _less(two, three), _less(point, three)
    square1, square2, both = _dot(first, first), _dot(second, second), _dot(first, second)
    inverse = F4(1) / np.maximum(square1 * square2 - both * both, TINY)
    a, b = _dot(first, own), _dot(second, own)
    share1 = inverse * (square2 * a - both * b)
    share2 = inverse * (square1 * b - both * a)
    share3 = F4(1) - share1 - share2
    found = _apart(
        point, [share1 * x + share2 * y + share3 * z for x, y, z in zip(one, two, three, strict=True)]
    )
    outside = np.flatnonzero(~((share1 >= 0) & (share2 >= 0) & (share3 >= 0)))
    if len(outside):
        some = [[part[outside] for part in each] for each in (point, one, two, three)]
        edges = [_segment(some[0], some[a], some[b]) for a, b in ((1, 2), (1, 3), (2, 3))]
        found[outside] = np.where(
            share1[outside] > 0,
            np.minimum(edges[0], edges[1]),
            np.where(share2[outside] > 0, np.minimum(edges[0], edges[2]), np.minimum(edges[1], edges[2])),
        )
    return found


def _segment(point: list[np.ndarray], start: list[np.ndarray], end: list[np.ndarray]) -> np.ndarray:
    along = _less(end, start)
    share = (_dot(_less(end, point), along).astype(F8) / _dot(along, along).astype(F8)).astype(F4)
    share = np.clip(share, F4(0), F4(1))
    return _apart(point, [share * a + (F4(1) - share) * b for a, b in zip(start, end, strict=True)])


def _less(first: list[np.ndarray], second: list[np.ndarray]) -> list[np.ndarray]:
    return [a - b for a, b in zip(first, second, strict=True)]


def _dot(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _apart(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    away = _less(first, second)
    return np.sqrt(_dot(away, away))
