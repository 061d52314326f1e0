"""Where rays are sampled: inside the body's mesh, else between near and far (spec 4.5)."""

from __future__ import annotations

import numpy as np

from avatarctl_video_avatar.intersect import Hits

ALPHA = 0.004
"""A ray goes on so far behind each hit, metres."""
ROWS = 1 << 11
"""Rays that are computed at once."""


def inner_depths(
    hits: Hits, near: np.ndarray, far: np.ndarray, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depths to sample, float32 [R, S], and which rays go through the mesh, bool [R].

    A ray that does not is sampled from near to far. Where no ray of all goes in and out of the mesh, every
    one counts as going through it, as published.

    Args:
        hits: Of the R rays with the mesh.
        near, far: [R], metres.
        samples: S.
    """
    distances, met = shots(hits, near)
    if distances.shape[1] < 2:
        return uniform_depths(near, far, samples), np.ones(len(near), bool)
    bounds, counts = intervals(distances, met, near)
    crossing = np.asarray(counts.any(axis=1))
    depths = uniform_depths(near, far, samples)
    for rows in np.array_split(np.flatnonzero(crossing), 1 + np.count_nonzero(crossing) // ROWS):
        depths[rows] = spread(bounds[rows], samples)
    return depths, crossing


def shots(hits: Hits, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of shot after shot of each ray [R, C], infinite for a miss, and which count as hits [R, C].

    The first shot starts at `near`, each other one ALPHA behind the hit before, and counts that step.
    """
    ends = np.searchsorted(hits.rays, np.arange(len(near)), side="right")
    following = np.searchsorted(hits.rays, np.arange(len(near)))
    rays = np.flatnonzero(following < ends)
    place = np.asarray(near, np.float64).copy()
    distances: list[np.ndarray] = []
    met: list[np.ndarray] = []
    while len(rays):
        rays = _next_hits(hits, following, ends, place, rays)
        found = following[rays]
        distance, is_hit = np.full(len(near), np.inf), np.zeros(len(near), bool)
        distance[rays] = hits.distances[found] - place[rays] + (ALPHA if distances else 0.0)
        # parity: a hit on the triangle of number 0 moves the ray on and counts as a miss (spec 9, Q9).
        is_hit[rays] = hits.faces[found] > 0
        if not is_hit.any():
            break
        distances.append(distance)
        met.append(is_hit)
        place[rays] = hits.distances[found] + ALPHA
    if not distances:
        return np.empty((len(near), 0)), np.empty((len(near), 0), bool)
    return np.stack(distances, axis=1), np.stack(met, axis=1)


def _next_hits(
    hits: Hits, following: np.ndarray, ends: np.ndarray, place: np.ndarray, rays: np.ndarray
) -> np.ndarray:
    """Those of `rays` with a hit from `place` on; `following` is moved there."""
    passed = rays
    while len(passed):
        passed = passed[following[passed] < ends[passed]]
        passed = passed[hits.distances[following[passed]] < place[passed]]
        following[passed] += 1
    return rays[following[rays] < ends[rays]]


def intervals(distances: np.ndarray, met: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths of entry, exit, entry, ... [R, 2 K] and which of these intervals count [R, K].

    Args:
        distances, met: As `shots` gives them, at least two columns.
        near: [R].
    """
    columns = distances.shape[1] // 2 * 2
    both = met[:, 0:columns:2] & met[:, 1:columns:2]
    # parity: a distance whose interval does not count is left out of the sum (spec 4.5).
    steps = np.where(np.repeat(both, 2, axis=1), distances[:, :columns], 0.0)
    return near[:, None] + np.cumsum(steps, axis=1), both


def spread(bounds: np.ndarray, samples: int) -> np.ndarray:
    """Depths [R, S] in the intervals of each ray, as many in each as its length demands.

    Args:
        bounds: Depths of entry, exit, entry, ... [R, 2 K]; some interval of each ray has a length.
        samples: S.
    """
    entry, lengths = bounds[:, ::2], bounds[:, 1::2] - bounds[:, ::2]
    shares = np.cumsum(lengths, axis=1) / (lengths.sum(axis=1, keepdims=True) + 1e-9)
    ends = np.rint(samples * shares).astype(np.int64)
    starts = np.concatenate([np.zeros((len(ends), 1), np.int64), ends[:, :-1]], axis=1)
    steps = lengths / (ends - starts + 1e-10)
    slots = np.arange(samples)
    depths = np.empty((len(bounds), samples))
    for interval in range(entry.shape[1]):
        rows = np.flatnonzero(ends[:, interval] > starts[:, interval])
        start = starts[rows, interval, None]
        # parity: later intervals begin one step inside and end on their exit (spec 9, Q10).
        number = slots - start + (start > 0)
        places = entry[rows, interval, None] + number * steps[rows, interval, None]
        # What is written behind an interval's end, later intervals write again.
        depths[rows] = np.where(slots >= start, places, depths[rows])
    return depths


def uniform_depths(near: np.ndarray, far: np.ndarray, samples: int) -> np.ndarray:
    """Depths from near to far, both included, float32 [R, S]."""
    depths = np.empty((len(near), samples), np.float32)
    shares = np.linspace(0.0, 1.0, samples)
    for start in range(0, len(near), ROWS):
        rows = slice(start, start + ROWS)
        depths[rows] = near[rows, None] + (far[rows] - near[rows])[:, None] * shares
    return depths
