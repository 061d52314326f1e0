"""Cameras that follow a person: everything is in the picture, upright, from the side that was asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from avatarctl_video_avatar.cameras import around

UPS = [sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
SIZES = [(64, 64), (48, 80), (90, 30)]


def boxes(count: int) -> list[np.ndarray]:
    """Of somebody who walks away and bends."""
    draw = np.random.default_rng(count)
    middles = np.cumsum(draw.normal(0, 0.5, (count, 3)), axis=0)
    halves = draw.uniform(0.1, 1.0, (count, 3))
    return [np.stack([middle - half, middle + half]) for middle, half in zip(middles, halves, strict=True)]


def seen(camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows [n, 2], and depths [n]."""
    places = points @ camera.extrinsics[:3, :3].T + camera.extrinsics[:3, 3]
    pixels = places @ camera.intrinsics.T.astype(np.float64)
    return pixels[:, :2] / pixels[:, 2:], places[:, 2]


def eye(camera) -> np.ndarray:
    return -camera.extrinsics[:3, :3].T @ camera.extrinsics[:3, 3]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("turns", [1.0, -0.5, 0.0])
@pytest.mark.parametrize("up", UPS)
def test_the_person_is_in_every_picture(up, turns, size):
    several = boxes(7)
    for box, camera in zip(several, around(several, up, size, turns=turns, start=20), strict=True):
        corners = np.array([[box[k][axis] for axis, k in enumerate(which)] for which in CORNERS])
        pixels, depths = seen(camera, corners)
        assert (depths > 0.5).all()
        assert (pixels >= -0.5).all()
        assert (pixels <= np.array(size)[::-1] - 0.5).all()


CORNERS = list(itertools.product((0, 1), repeat=3))


@pytest.mark.parametrize("up", UPS)
def test_pictures_are_upright_and_level(up):
    several = boxes(5)
    for box, camera in zip(several, around(several, up, (64, 64), turns=1), strict=True):
        middle = box.mean(axis=0)
        pixels, _ = seen(camera, np.stack([middle, middle + 0.1 * up]))
        np.testing.assert_allclose(pixels[0], [31.5, 31.5], atol=1e-4)
        assert pixels[1, 0] == pytest.approx(31.5, abs=1e-4)
        assert pixels[1, 1] < pixels[0, 1]
        assert (eye(camera) - middle) @ up == pytest.approx(0, abs=1e-6)


def test_an_orbit_goes_around_in_equal_steps():
    several = [boxes(1)[0]] * 8
    cameras = around(several, UPS[2], (64, 64), turns=1)
    sides = np.stack([eye(camera) for camera in cameras]) - several[0].mean(axis=0)
    steps = np.linalg.norm(sides - np.roll(sides, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])
    np.testing.assert_allclose(sides.sum(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("up", UPS)
def test_degrees_count_from_the_face_to_the_left(up):
    level = np.eye(3)[(int(np.abs(up).argmax()) + 1) % 3]
    facing = level + 0.4 * up  # looks up a little
    left = np.cross(up, level)
    box = boxes(1)[0]
    for degrees, expected in ((0, level), (90, left), (180, -level), (270, -left)):
        (camera,) = around([box], up, (64, 64), turns=0, start=degrees, facing=facing)
        side = eye(camera) - box.mean(axis=0)
        np.testing.assert_allclose(side / np.linalg.norm(side), expected, atol=1e-6)


def test_somebody_who_lies_is_seen_from_some_side():
    box = boxes(1)[0]
    (camera,) = around([box], UPS[4], (64, 64), turns=0, facing=UPS[4])
    assert np.isfinite(camera.extrinsics).all()
