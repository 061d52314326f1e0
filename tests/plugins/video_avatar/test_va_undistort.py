"""Pictures without their lens's distortion; the golden case dataset_train holds OpenCV's own grey levels."""

from __future__ import annotations

import numpy as np
import pytest
from avatarctl_video_avatar.undistort import Lens, undistort
from scipy.ndimage import map_coordinates

from avatarctl.errors import DataError

INTRINSICS = np.array([[70.0, 0, 40.3], [0, 66.0, 29.1], [0, 0, 1]])
DISTORTIONS = np.array([-0.25, 0.08, 0.004, -0.003, 0.01])


@pytest.fixture
def picture() -> np.ndarray:
    """Noise [60, 80, 3]."""
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)


def exact(channel: np.ndarray, distortions: np.ndarray) -> np.ndarray:
    """Bilinear values at places that are not rounded."""
    k1, k2, p1, p2, k3 = distortions
    rows, columns = np.mgrid[:60, :80]
    x, y = (columns - INTRINSICS[0, 2]) / INTRINSICS[0, 0], (rows - INTRINSICS[1, 2]) / INTRINSICS[1, 1]
    square = x**2 + y**2
    radial = 1 + k1 * square + k2 * square**2 + k3 * square**3
    u = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    v = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
    places = v * INTRINSICS[1, 1] + INTRINSICS[1, 2], u * INTRINSICS[0, 0] + INTRINSICS[0, 2]
    return map_coordinates(channel.astype(float), places, order=1, mode="grid-constant")


def test_grey_levels_are_near_those_of_exact_places(picture: np.ndarray) -> None:
    found = undistort(picture, INTRINSICS, DISTORTIONS)
    for channel in range(3):
        error = np.abs(found[..., channel] - exact(picture[..., channel], DISTORTIONS))
        assert error.max() < 0.5 + 2 * 255 / 64  # rounding, and half of 1/32 pixel on both axes


@pytest.mark.parametrize("number", range(5))
def test_each_number_of_distortion_counts(picture: np.ndarray, number: int) -> None:
    distortions = 0.3 * np.eye(5)[number]
    found = undistort(picture[..., 0], INTRINSICS, distortions)
    assert np.abs(found - exact(picture[..., 0], distortions)).max() < 0.5 + 2 * 255 / 64
    assert (found != picture[..., 0]).any()


def test_four_numbers_are_five_with_a_zero(picture: np.ndarray) -> None:
    five = undistort(picture, INTRINSICS, [*DISTORTIONS[:4], 0.0])
    np.testing.assert_array_equal(undistort(picture, INTRINSICS, DISTORTIONS[:4]), five)


def test_no_distortion_changes_nothing(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(undistort(picture, INTRINSICS, np.zeros(5)), picture)
    tiny = undistort(picture, INTRINSICS, np.full(5, 1e-12))
    np.testing.assert_array_equal(tiny, picture)


def test_pixels_that_are_asked_for_are_those_of_the_whole_picture(picture: np.ndarray) -> None:
    lens = Lens.of(INTRINSICS, DISTORTIONS, (60, 80))
    rows, columns = np.array([[0], [59], [31]]), np.array([0, 79, 40, 7])
    whole = undistort(picture, INTRINSICS, DISTORTIONS)
    np.testing.assert_array_equal(lens.undistorted(picture, rows, columns), whole[rows, columns])


def test_an_undistorted_mask_ends_where_it_is_said_to() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        mask = np.zeros((60, 80), np.uint8)
        row, column = generator.integers(0, 55), generator.integers(0, 75)
        mask[row : row + 5, column : column + 5] = 255
        outside = undistort(mask, INTRINSICS, DISTORTIONS)
        outside[Lens.of(INTRINSICS, DISTORTIONS, (60, 80)).reached(mask)] = 0
        assert not outside.any()
    assert Lens().reached(np.zeros((4, 4))) == (slice(0, 0), slice(0, 0))


def test_a_fisheye_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(DataError, match="8 numbers of distortion"):
        undistort(picture, INTRINSICS, np.ones(8))
