"""The crop of a person: a square of the picture, turned and mirrored as told, pixel by pixel as published.

The published system crops by OpenCV 4.5.5, whose bilinear warp computes in whole numbers: places in 1/1024
and then 1/32 pixel, weights in 1/1024 (spec 3.5). The same is done here, reading no pixel that the crop does
not show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avatarctl_ego_hmr.views import CROP

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's colours R, G, B in 0 to 1."""


def crop_view(
    picture: np.ndarray,
    centre: Sequence[float] | np.ndarray,
    side: float,
    *,
    rotation_deg: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
    gains: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """The crop as networks see it, normalised as for ImageNet, float32 [3, 224, 224].

    Args:
        picture, centre, side, rotation_deg, scale, flip: As `warp` has them.
        gains: Factors of R, G, B.
    """
    crop = warp(picture, centre, side, rotation_deg=rotation_deg, scale=scale, flip=flip)
    return torch.from_numpy(normalised(crop, gains))


def normalised(crop: np.ndarray, gains: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Colours uint8 [H, W, 3] times their gains, in units of ImageNet's deviations, float32 [3, H, W]."""
    levels = np.arange(256, dtype=np.float32)[:, None] * np.asarray(gains, np.float32)
    mean, std = (255 * np.array(values) for values in (MEAN, STD))
    table = ((np.clip(levels, 0, 255) - mean) / std).astype(np.float32)
    return np.stack([table[:, channel].take(crop[..., channel]) for channel in range(3)])


def warp(
    picture: np.ndarray,
    centre: Sequence[float] | np.ndarray,
    side: float,
    *,
    rotation_deg: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
) -> np.ndarray:
    """The square around a person, uint8 [224, 224, 3], 0 outside the picture.

    Args:
        picture: RGB, uint8 [H, W, 3].
        centre: Middle of the box, pixels [2].
        side: Side of the box, pixels.
        rotation_deg: The square is turned by this, from x to y.
        scale: The square's side over the box's.
        flip: Mirror the picture first, and the centre with it.
    """
    middle = mirrored(centre, picture.shape[1]) if flip else np.asarray(centre, np.float32)
    square = crop_from_picture(middle, np.float32(side) * np.float32(scale), rotation_deg)
    x, y = _places(square)
    return _interpolated(picture, x, y, flip)


def mirrored(centre: Sequence[float] | np.ndarray, width: int) -> np.ndarray:
    """The centre of a box after the picture was mirrored, pixels, float32 [2]."""
    x, y = np.asarray(centre, np.float32)
    return np.array([np.float32(width) - x - np.float32(1), y], np.float32)


def crop_from_picture(centre: np.ndarray, side: np.float32, rotation_deg: float) -> np.ndarray:
    """The map from pixels of the picture to pixels of the crop, float64 [2, 3].

    It is given by the square's centre and the middles of its lower and right edge. These are rounded as
    published: one bit more or less changes grey levels.

    Args:
        centre: Of the square, float32 [2].
        side: Of the square, pixels.
        rotation_deg: The square is turned by this, from x to y.
    """
    angle = np.deg2rad(rotation_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    half = np.float32(side) * np.float32(0.5)
    # parity: offsets are computed in float64 and rounded, and so are their sums with the centre (spec 3.5).
    down, right = (
        np.array(offset).astype(np.float32)
        for offset in ((-sin * half, cos * half), (cos * half, sin * half))
    )
    points = np.array(
        [centre, centre.astype(np.float64) + down, centre.astype(np.float64) + right], np.float32
    )
    targets = np.array([[0.5, 0.5], [0.5, 1.0], [1.0, 0.5]]) * CROP
    return np.linalg.solve(np.column_stack([points, np.ones(3)]).astype(np.float64), targets).T


def _places(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the crop lies in the picture, 1/32 pixel, int64 [224, 224] for x and for y."""
    (a, b, c), (d, e, f) = square
    scale = 1 / (a * e - b * d)
    inverse = np.array([[e * scale, -b * scale], [-d * scale, a * scale]])
    shift = -inverse[:, 0] * c - inverse[:, 1] * f
    steps = np.arange(CROP)
    across = _whole(inverse[:, :1] * steps * 1024)
    down = _whole((inverse[:, 1:] * steps + shift[:, None]) * 1024) + 16
    x, y = (down[:, :, None] + across[:, None, :]) >> 5
    return x, y


def _whole(numbers: np.ndarray) -> np.ndarray:
    return np.rint(numbers).astype(np.int64)


def _interpolated(picture: np.ndarray, x: np.ndarray, y: np.ndarray, flip: bool) -> np.ndarray:
    """Bilinear values at places in 1/32 pixel of the (mirrored) picture, uint8 [224, 224, 3]."""
    height, width = picture.shape[:2]
    rows = [(y >> 5) + step for step in (0, 1)]
    columns = [width - 1 - (x >> 5) - step if flip else (x >> 5) + step for step in (0, 1)]
    top, bottom = _span(rows, height)
    left, right = _span(columns, width)
    # Whatever lies outside of the picture is 0: so is the edge of what is seen of it.
    seen = np.pad(picture[top:bottom, left:right], ((1, 1), (1, 1), (0, 0)))
    lines = [np.clip(row - top + 1, 0, bottom - top + 1) * seen.shape[1] for row in rows]
    places = [np.clip(column - left + 1, 0, right - left + 1) for column in columns]
    corners = [[3 * (line + place) for place in places] for line in lines]
    beside, below = (x & 31).astype(np.uint16), (y & 31).astype(np.int32)
    crop = np.empty((CROP, CROP, 3), np.uint8)
    for channel in range(3):
        values = seen.reshape(-1)[channel:]
        upper, lower = (
            values.take(near) * (32 - beside) + values.take(far) * beside for near, far in corners
        )
        crop[..., channel] = (upper * (32 - below) + lower * below + 512) >> 10
    return crop


def _span(numbers: list[np.ndarray], size: int) -> tuple[int, int]:
    """The first of the numbers, and the one after the last, as far as there are pixels."""
    low, high = np.clip([np.min(numbers), np.max(numbers) + 1], 0, size)
    return int(low), int(high)
