"""Rays of a camera and the body's box."""

from __future__ import annotations

import numpy as np
import pytest
from avatarctl_video_avatar.rays import (
    GROWN,
    box_in_picture,
    camera_from_body,
    directions_of,
    intersect_box,
    origin_of,
    rotation_of,
    window_of,
    without_zeros,
)

INTRINSICS = np.array([[90.0, 0.0, 31.2], [0.0, 95.0, 22.7], [0.0, 0.0, 1.0]])
SIZE = (48, 64)
BOX = np.array([[-0.4, -0.9, -0.3], [0.5, 0.8, 0.2]])


def camera(seed: int, distance: float = 3.0) -> np.ndarray:
    """A camera that looks at the origin from somewhere."""
    turn = rotation_of(np.random.default_rng(seed).normal(size=3))
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = turn, (0.1, -0.2, distance)
    return extrinsics


def every_direction(extrinsics: np.ndarray) -> np.ndarray:
    """Directions of all pixels [H, W, 3]."""
    return without_zeros(directions_of(INTRINSICS, extrinsics, *np.mgrid[: SIZE[0], : SIZE[1]]))


def test_a_ray_goes_through_its_pixel() -> None:
    extrinsics = camera(0)
    rows, columns = np.mgrid[:48:5, :64:5]
    directions = directions_of(INTRINSICS, extrinsics, rows, columns)
    points = (origin_of(extrinsics) + 2.5 * directions) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    seen = points @ INTRINSICS.T
    np.testing.assert_allclose(seen[..., 0] / seen[..., 2], columns, atol=1e-9)
    np.testing.assert_allclose(seen[..., 1] / seen[..., 2], rows, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-11)


def test_a_point_of_the_body_is_seen_where_it_stands_in_the_world() -> None:
    turn, place, point = rotation_of([0.3, -1.0, 2.0]), np.array([0.5, 1.0, -2.0]), np.array([0.1, 0.2, 0.3])
    world = camera(1)
    body = camera_from_body(world, turn, place)
    by_world = world[:3, :3] @ (turn @ point + place) + world[:3, 3]
    np.testing.assert_allclose(body[:3, :3] @ point + body[:3, 3], by_world, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_crossings_agree_with_the_slab_method(seed: int) -> None:
    extrinsics = camera(seed)
    origin, directions = origin_of(extrinsics), every_direction(extrinsics)
    low, high = BOX[0] - GROWN, BOX[1] + GROWN
    first, second = (low - origin) / directions, (high - origin) / directions
    near, far = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
    found = intersect_box(origin, directions, BOX)
    np.testing.assert_array_equal(found.meets, near < far)
    np.testing.assert_allclose(found.near[found.meets], near[found.meets], atol=1e-12)
    np.testing.assert_allclose(found.far[found.meets], far[found.meets], atol=1e-12)
    assert not found.near[~found.meets].any()


def test_a_box_behind_the_camera_is_not_met() -> None:
    extrinsics = camera(0, distance=-3.0)
    found = box_in_picture(INTRINSICS, extrinsics, BOX, SIZE)
    assert not found.meets.any()
    assert not intersect_box(origin_of(extrinsics), every_direction(extrinsics), BOX).meets.any()


@pytest.mark.parametrize("distance", [0.2, 1.2, 3.0, 30.0])
def test_the_window_of_a_picture_loses_no_ray(distance: float) -> None:
    for seed in range(6):
        extrinsics = camera(seed, distance)
        everywhere = intersect_box(origin_of(extrinsics), every_direction(extrinsics), BOX)
        found = box_in_picture(INTRINSICS, extrinsics, BOX, SIZE)
        np.testing.assert_array_equal(found.meets, everywhere.meets)
        np.testing.assert_allclose(found.far, everywhere.far, atol=1e-12)


def test_the_window_of_a_far_box_is_small() -> None:
    rows, columns = window_of(INTRINSICS, camera(0, 30.0), BOX, SIZE)
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 200


def test_small_components_of_directions_are_set_to_a_positive_number() -> None:
    given = np.array([[-3e-6, 0.0, 1.0], [-1e-4, 9e-6, 1.0]])
    np.testing.assert_array_equal(without_zeros(given), [[1e-5, 1e-5, 1.0], [-1e-4, 1e-5, 1.0]])
