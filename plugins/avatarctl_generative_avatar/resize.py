"""Pictures in another size, level for level as OpenCV's bilinear `resize` makes them: no anti-aliasing.

Bytes are mixed in whole numbers: weights in 1/2048, and 16 of their products as one.
"""

from __future__ import annotations

import numpy as np

BITS = 11
"""Weights are counted in 2^-11."""


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture, uint8 or float64 [H, W, C], in another size, of the same type [height, width, C]."""
    rows, columns = picture.shape[:2]
    if (rows, columns) == (height, width):
        return picture
    if (rows, columns) == (2 * height, 2 * width):
        return _halved(picture)
    above, below, down = _taps(rows, height)
    left, right, along = _taps(columns, width)
    top, bottom = picture[above], picture[below]
    if picture.dtype != np.uint8:
        y, x = down[:, None, None], along[:, None]
        top, bottom = (part[:, left] * (1 - x) + part[:, right] * x for part in (top, bottom))
        return np.asarray(top * (1 - y) + bottom * y)
    y, x = _whole(down)[:, None, None], _whole(along)[:, None]
    y_rest, x_rest = _whole(1 - down)[:, None, None], _whole(1 - along)[:, None]
    top, bottom = (part[:, left] * x_rest + part[:, right] * x for part in (top, bottom))
    mixed = (((top >> 4) * y_rest) >> 16) + (((bottom >> 4) * y) >> 16)
    return np.asarray(((mixed + 2) >> 2).astype(np.uint8))


def _halved(picture: np.ndarray) -> np.ndarray:
    """Means of four pixels, which OpenCV rounds up at the half."""
    rows, columns, channels = picture.shape
    fours = picture.reshape(rows // 2, 2, columns // 2, 2, channels)
    if picture.dtype != np.uint8:
        return np.asarray(fours.mean(axis=(1, 3)))
    return np.asarray(((fours.sum(axis=(1, 3), dtype=np.int32) + 2) >> 2).astype(np.uint8))


def _taps(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels that each new one lies between, and the second one's weight [wanted]."""
    places = (np.arange(wanted) + 0.5) * (count / wanted) - 0.5
    first = np.floor(places).astype(np.int64)
    weight = np.where((first < 0) | (first >= count - 1), 0.0, places - first)
    return first.clip(0, count - 1), (first + 1).clip(0, count - 1), weight


def _whole(weight: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(weight * (1 << BITS)).astype(np.int32))
