"""Pictures without their lens's distortion, grey level for grey level as OpenCV's `undistort` makes them.

OpenCV 4 finds in float64 where each pixel lies in the recorded picture, rounds that to 1/32 pixel and mixes
four pixels in whole numbers; what lies outside is 0. So is it done here, for those pixels that are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from avatarctl.errors import DataError

CAMERAS = 8
"""Cameras whose lens stays computed; a picture of 1024 x 1024 takes 8 MB."""
STRIPE = 1 << 12
"""OpenCV computes stripes of about so many pixels, each with its own principal point."""


@dataclass(frozen=True)
class Lens:
    """Where each pixel lies in the recorded picture.

    `x`, `y` are in 1/32 pixel, int32 [H, W], and None for a lens that moves nothing; `reach` is the farthest
    that a pixel moved, whole pixels.
    """

    x: np.ndarray | None = None
    y: np.ndarray | None = None
    reach: int = 0

    @classmethod
    def of(cls, intrinsics: np.ndarray, distortions: np.ndarray, size: tuple[int, int]) -> Lens:
        """The lens of a camera.

        Args:
            intrinsics: [3, 3], pixels.
            distortions: k1, k2, p1, p2 and, if given, k3.
            size: Rows and columns of its pictures.
        """
        numbers = np.asarray(distortions, np.float64).ravel()
        if len(numbers) not in (4, 5):
            raise DataError(
                f"{len(numbers)} numbers of distortion, expected k1, k2, p1, p2 and perhaps k3",
                hint="cameras.pkl: 'distortions' of the pinhole model with radial and tangential distortion",
            )
        if not numbers.any():
            return cls()
        matrix = np.ascontiguousarray(intrinsics, np.float64)
        return _lens(matrix.tobytes(), np.resize(np.append(numbers, 0.0), 5).tobytes(), size)

    def undistorted(self, picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Pixels of the undistorted picture, uint8 [*shape] or [*shape, C].

        Args:
            picture: As recorded, uint8 [H, W] or [H, W, C].
            rows, columns: Two arrays of pixels that broadcast to `shape`.
        """
        if self.x is None or self.y is None:
            return picture[rows, columns]
        x, y = self.x[rows, columns], self.y[rows, columns]
        height, width = picture.shape[:2]
        column, row = x >> 5, y >> 5
        beside, below = x & 31, y & 31
        mixed = np.full((*x.shape, *picture.shape[2:]), 512, np.int32)
        for down, share_down in ((0, 32 - below), (1, below)):
            for right, share_right in ((0, 32 - beside), (1, beside)):
                there = (row + down >= 0) & (row + down < height)
                there &= (column + right >= 0) & (column + right < width)
                # Outside, any pixel is read, and weighs nothing.
                weight = np.where(there, share_down * share_right, 0)
                values = picture[np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)]
                mixed += values * (weight if picture.ndim == 2 else weight[..., None])
        return (mixed >> 10).astype(np.uint8)

    def reached(self, mask: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns outside of which an undistorted mask is 0; as recorded it is `mask` [H, W]."""
        spans = []
        for axis in (1, 0):
            used = np.flatnonzero(mask.any(axis=axis))
            if not len(used):
                return slice(0, 0), slice(0, 0)
            spans.append(slice(max(0, int(used[0]) - self.reach), int(used[-1]) + 1 + self.reach))
        return spans[0], spans[1]


def undistort(picture: np.ndarray, intrinsics: np.ndarray, distortions: np.ndarray) -> np.ndarray:
    """A picture without the distortion of its lens, as `cv2.undistort` makes it.

    Args:
        picture: uint8 [H, W] or [H, W, C].
        intrinsics: [3, 3], pixels.
        distortions: k1, k2, p1, p2 and, if given, k3.
    """
    height, width = picture.shape[:2]
    lens = Lens.of(intrinsics, distortions, (height, width))
    return lens.undistorted(picture, np.arange(height)[:, None], np.arange(width))


@lru_cache(maxsize=CAMERAS)
def _lens(intrinsics: bytes, distortions: bytes, size: tuple[int, int]) -> Lens:
    matrix = np.frombuffer(intrinsics).reshape(3, 3)
    height, width = size
    x, y = np.empty(size, np.int32), np.empty(size, np.int32)
    stripe = min(max(1, STRIPE // width), height)
    for top in range(0, height, stripe):
        count = min(stripe, height - top)
        own = matrix.copy()
        own[1, 2] -= top
        inverse = np.linalg.inv(own)
        grid = np.stack(np.broadcast_arrays(np.arange(width), np.arange(count)[:, None], 1.0), axis=-1)
        seen = grid @ inverse.T
        places = _distorted(seen[..., :2] / seen[..., 2:], np.frombuffer(distortions))
        for axis, found in enumerate((x, y)):
            place = (matrix[axis, axis] * places[axis] + matrix[axis, 2]) * 32
            found[top : top + count] = np.rint(np.clip(place, -(2**30), 2**30))
    moved = max(
        int(np.abs(x - 32 * np.arange(width)).max()), int(np.abs(y - 32 * np.arange(height)[:, None]).max())
    )
    return Lens(x, y, moved // 32 + 2)


def _distorted(places: np.ndarray, distortions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y [...] where a lens shows places [..., 2] of the plane at distance 1."""
    k1, k2, p1, p2, k3 = distortions
    x, y = places[..., 0], places[..., 1]
    square_x, square_y, twice = x * x, y * y, 2 * x * y
    square = square_x + square_y
    radial = 1 + ((k3 * square + k2) * square + k1) * square
    return (
        x * radial + p1 * twice + p2 * (square + 2 * square_x),
        y * radial + p1 * (square + 2 * square_y) + p2 * twice,
    )
