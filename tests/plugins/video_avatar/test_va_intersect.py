"""Hits of rays with a mesh, against the plain test of every pair."""

from __future__ import annotations

import time

import numpy as np
import pytest
import trimesh
from avatarctl_video_avatar import intersect
from avatarctl_video_avatar.intersect import all_hits


def plain(origin: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> dict[tuple[int, int], float]:
    """Distances by ray and triangle: Moeller and Trumbore's test of every pair."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    found = {}
    for ray, direction in enumerate(directions):
        across = np.cross(direction, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (first * across).sum(axis=1)
            u = ((origin - corners[:, 0]) * across).sum(axis=1) * scale
            side = np.cross(origin - corners[:, 0], first)
            v, t = (side @ direction) * scale, (side * second).sum(axis=1) * scale
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        found |= {(ray, int(face)): t[face] for face in np.flatnonzero(hit)}
    return found


def directions(count: int, spread: float, seed: int) -> np.ndarray:
    rays = np.random.default_rng(seed).normal(size=(count, 3)) * spread + [0.2, -0.1, 1.0]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("origin", "spread"),
    [((-0.6, 0.3, -4.0), 0.15), ((-0.3, 0.2, -1.5), 1.0), ((0.1, 0.2, 0.05), 5.0), ((0.4, 0.4, 0.9), 50.0)],
)
def test_hits_agree_with_the_plain_test(origin: tuple[float, ...], spread: float) -> None:
    corners = np.random.default_rng(3).normal(size=(150, 1, 3)) + 0.3 * np.random.default_rng(4).normal(
        size=(150, 3, 3)
    )
    place, rays = np.array(origin), directions(400, spread, 5)
    wanted = plain(place, rays, corners)
    found = all_hits(place, rays, corners.reshape(-1, 3), np.arange(450).reshape(-1, 3))
    assert len(wanted) > 50
    assert set(zip(found.rays.tolist(), found.faces.tolist(), strict=True)) == wanted.keys()
    for ray, face, distance in zip(found.rays, found.faces, found.distances, strict=True):
        assert distance == pytest.approx(wanted[ray, face], rel=1e-9)
    order = np.lexsort((found.distances, found.rays))
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    rays = directions(3000, 0.2, 0)
    whole = all_hits(np.array([-0.6, 0.3, -3.0]), rays, ball.vertices, ball.faces)
    monkeypatch.setattr(intersect, "PAIRS", 37)
    parts = all_hits(np.array([-0.6, 0.3, -3.0]), rays, ball.vertices, ball.faces)
    for field in ("rays", "faces", "distances"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(parts, field))


def test_no_ray_slips_through_an_edge_or_a_corner() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    origin = np.array([0.05, -0.02, 0.03])
    middles = ball.vertices[ball.edges_unique].mean(axis=1)
    rays = np.concatenate([ball.vertices, middles]) - origin
    lengths = np.linalg.norm(rays, axis=1)
    found = all_hits(origin, rays / lengths[:, None], ball.vertices, ball.faces)
    assert set(found.rays) == set(range(len(rays)))
    np.testing.assert_allclose(found.distances, lengths[found.rays], atol=1e-12)


def test_a_triangle_seen_edge_on_is_not_met() -> None:
    vertices = np.array([[0.0, -1, 2], [0, 1, 2], [0, 0.3, 3]])
    rays = np.array([[0.0, y, 1] for y in np.linspace(-1, 1, 41)])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert not len(all_hits(np.zeros(3), rays, vertices, np.array([[0, 1, 2]])).rays)


def test_a_closed_mesh_is_left_as_often_as_entered() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.7)
    found = all_hits(np.array([0.0, 0.1, -3.0]), directions(5000, 0.1, 1), ball.vertices, ball.faces)
    assert len(found.rays) > 4000
    assert set(np.bincount(found.rays)) == {0, 2}


def test_nothing_to_hit_gives_nothing() -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    ahead = np.array([[0.0, 0.0, 1.0]])
    for origin, rays, faces in (
        ([0, 0, 5], ahead, ball.faces),
        ([0, 9, -5], ahead, ball.faces),
        ([0, 0, -5], ahead[:0], ball.faces),
        ([0, 0, -5], ahead, ball.faces[:0]),
    ):
        assert len(all_hits(np.array(origin, float), rays, ball.vertices, faces).rays) == 0


def test_a_quarter_of_a_million_rays_take_a_moment() -> None:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.8)  # 20480 triangles
    columns, rows = np.meshgrid(np.linspace(-0.5, 0.5, 512), np.linspace(-0.5, 0.5, 512))
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    start = time.process_time()
    found = all_hits(np.array([0.0, 0.0, -3.0]), rays, ball.vertices, ball.faces)
    assert len(found.rays) > 100_000
    # Measured: 0.2 s on one core; the published code took 13.9 s with a third of the triangles.
    assert time.process_time() - start < 2.5
