"""Crops of a room by its grid are those that moving every vertex gives."""

from __future__ import annotations

import math

import numpy as np
import published_crops
import pytest
from avatarctl_ego_hmr.crops import Cube, Room, cube_around_body, shift_bounds, thinned

from avatarctl.device.noise import Noise

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def rigid(rng, spread=0.3):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.sign(np.linalg.det(turn))
    matrix[:3, 3] = spread * rng.normal(size=3)
    return matrix


def scan(rng, count=5000):
    """A floor, and things up to 2.6 m, some of them exactly on the borders of cells."""
    points = rng.uniform(-3, 3, (count, 3))
    points[:, 1] = np.where(rng.random(count) < 0.5, 0.01, 2.6) * rng.random(count)
    points[: count // 10] = np.round(points[: count // 10], 1)
    return points


@pytest.mark.parametrize("seed", range(6))
def test_a_cube_has_the_vertices_of_the_published_crop(seed):
    rng = np.random.default_rng(seed)
    vertices = scan(rng)
    room = Room(vertices)
    for _ in range(20):
        cube = Cube(rng.uniform(-2, 2, 3), rng.uniform(0, 2 * math.pi), tuple(rng.uniform(-0.5, 0.5, 2)))
        found = room.inside(cube)
        wanted = published_crops.cube(vertices, cube.middle, cube.angle, cube.shift, cube.size, len(found))
        assert len(wanted) == len(found) > 20
        np.testing.assert_allclose(vertices[found], wanted, rtol=0, atol=1e-14)  # turned forth and back


def test_a_cube_that_is_not_turned_includes_its_borders():
    vertices = np.array([[x, 0.0, z] for x in (-1.0, 0.0, 1.0, 1.5) for z in (-1.0, 1.0, -1.5)])
    assert Room(vertices).inside(Cube(np.zeros(3), 0.0)).tolist() == [0, 1, 3, 4, 6, 7]


def test_a_cube_ends_its_side_above_the_lowest_vertex_in_it():
    vertices = np.array([[0.0, y, 0.0] for y in (3.0, 1.0, 2.9, 3.1)] + [[9.0, 0.0, 0.0]])
    assert Room(vertices).inside(Cube(np.zeros(3), 0.3)).tolist() == [0, 1, 2]


def test_nothing_is_found_beside_the_room():
    room = Room(scan(np.random.default_rng(0)))
    assert not len(room.inside(Cube(np.array([50.0, 0.0, 0.0]), 1.0)))
    away = np.eye(4)
    away[2, 3] = -50
    assert not len(room.in_front(away))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_in_front_are_the_vertices_of_the_published_crop(seed):
    rng = np.random.default_rng(seed)
    vertices, room = scan(rng), Room(scan(np.random.default_rng(seed)))
    for _ in range(10):
        kinect, holo, pv = rigid(rng), rigid(rng), rigid(rng)
        found = room.in_front(FLIP @ pv @ holo @ kinect)
        wanted = published_crops.front(vertices, kinect, holo, pv, FLIP, len(found) // 3)
        ours = vertices[thinned(found, len(found) // 3)] @ kinect[:3, :3].T + kinect[:3, 3]
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-13)  # through four transforms and three back


def test_large_rooms_have_larger_cells():
    vertices = np.random.default_rng(0).uniform(0, 6000, (2000, 3))  # a scan in millimetres
    room = Room(vertices)
    cube = Cube(np.full(3, 3000.0), 0.7, size=2000.0)
    wanted = published_crops.cube(vertices, cube.middle, 0.7, (0.0, 0.0), 2000.0, len(room.inside(cube)))
    np.testing.assert_allclose(vertices[room.inside(cube)], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("found", "count"), [(100, 7), (100, 100), (99, 50), (3, 7), (1, 5)])
def test_thinning_takes_every_kth_and_repeats_evenly_where_there_are_too_few(found, count):
    chosen = thinned(np.arange(found), count)
    assert len(chosen) == count
    if found >= count:
        np.testing.assert_array_equal(chosen, np.arange(count) * (found // count))
    else:
        assert set(np.bincount(chosen)) <= {count // found, count // found + 1}


def test_a_moved_cube_holds_the_body_and_stays_within_a_quarter():
    rng = np.random.default_rng(1)
    for index in range(50):
        body = rng.normal(size=(200, 3)) * [0.3, 0.5, 0.2] + rng.uniform(-2, 2, 3)
        cube = cube_around_body(body, Noise.seeded(0, str(index)))
        x, z = cube.turned(body[:, 0], body[:, 2])
        for values, middle, shift in zip((x, z), cube.middle[[0, 2]], cube.shift, strict=True):
            assert abs(shift) <= 0.5
            if np.ptp(values) < 1.5:
                assert middle + shift - 1 <= values.min() + 1e-12
                assert values.max() <= middle + shift + 1 + 1e-12
        for (low, high), shift in zip(shift_bounds(body, cube), cube.shift, strict=True):
            assert min(low, high) <= shift <= max(low, high)
