"""Depths inside a mesh, against the published procedure ray by ray."""

from __future__ import annotations

import numpy as np
import pytest
from avatarctl_video_avatar.depths import ALPHA, inner_depths, intervals, shots, spread, uniform_depths
from avatarctl_video_avatar.intersect import Hits

NEAR, FAR, RAYS, SAMPLES = 1.0, 4.0, 60, 24


def random_hits(seed: int, zeros: bool = False) -> Hits:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 7, RAYS)
    rays = np.repeat(np.arange(RAYS), counts)
    distances = generator.uniform(0.7, 3.9, len(rays))
    close = generator.random(len(rays)) < 0.2  # hits that a step of ALPHA skips
    distances[1:][close[1:]] = distances[:-1][close[1:]] + 0.5 * ALPHA
    faces = generator.integers(0 if zeros else 1, 4, len(rays))
    order = np.lexsort((distances, rays))
    return Hits(rays[order], distances[order], faces[order])


def one_by_one(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Shooting as the spec tells it (4.5, step 1): distances and masks, one column a shot."""
    places, columns, masks = np.full(RAYS, NEAR), [], []
    while True:
        distance, mask = np.full(RAYS, np.inf), np.zeros(RAYS, bool)
        for ray in range(RAYS):
            own = hits.rays == ray
            ahead = [
                (place, face)
                for place, face in zip(hits.distances[own], hits.faces[own], strict=True)
                if place >= places[ray]
            ]
            if not ahead:
                continue
            place, face = min(ahead)
            distance[ray] = place - places[ray] + (ALPHA if columns else 0)
            mask[ray] = face > 0
            places[ray] = place + ALPHA
        if not mask.any():
            return np.stack(columns, axis=1), np.stack(masks, axis=1)
        columns.append(distance)
        masks.append(mask)


def in_intervals(bounds: np.ndarray) -> np.ndarray:
    """Depths of one ray from its entries and exits (4.5, steps 3 and 4)."""
    entry, length = bounds[::2], bounds[1::2] - bounds[::2]
    ends = np.round(SAMPLES * np.cumsum(length) / (length.sum() + 1e-9)).astype(int)
    depths, start = [], 0
    for first, long, end in zip(entry, length, ends, strict=True):
        step = long / (end - start + 1e-10)
        depths += [first + (i + (start > 0)) * step for i in range(end - start)]
        start = end
    return np.array(depths)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("zeros", [False, True])
def test_shots_agree_with_the_procedure_ray_by_ray(seed: int, zeros: bool) -> None:
    hits = random_hits(seed, zeros)
    wanted, mask = one_by_one(hits)
    found, met = shots(hits, np.full(RAYS, NEAR))
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_array_equal(met, mask)


@pytest.mark.parametrize("seed", range(4))
def test_depths_lie_in_the_intervals(seed: int) -> None:
    hits, near, far = random_hits(seed), np.full(RAYS, NEAR), np.full(RAYS, FAR)
    bounds, counts = intervals(*shots(hits, near), near)
    depths, crossing = inner_depths(hits, near, far, SAMPLES)
    np.testing.assert_array_equal(crossing, counts.any(axis=1))
    for ray in range(RAYS):
        wanted = in_intervals(bounds[ray]) if crossing[ray] else np.linspace(NEAR, FAR, SAMPLES)
        np.testing.assert_allclose(depths[ray], wanted, atol=1e-6)  # float32


def test_later_intervals_begin_a_step_late() -> None:
    depths = spread(np.array([[1.0, 2.0, 3.0, 4.0]]), 4)
    np.testing.assert_allclose(depths, [[1.0, 1.5, 3.5, 4.0]], atol=1e-8)


def test_without_an_exit_every_ray_counts_and_is_sampled_evenly() -> None:
    near, far = np.array([1.0, 1.0]), np.array([2.0, 3.0])
    for hits in (Hits(*np.empty((3, 0))), Hits(np.array([1]), np.array([1.5]), np.array([3]))):
        depths, crossing = inner_depths(hits, near, far, 5)
        np.testing.assert_array_equal(depths, uniform_depths(near, far, 5))
        assert crossing.all()
