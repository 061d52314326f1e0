"""The generator's pictures as bytes, and several pictures on one (spec 6, 9.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def levels(images: Tensor) -> Tensor:
    """Levels from 0 to 255 of values from -1 to 1, whose fractions are to be cut off."""
    # parity: 128 is added, not 127.5 (spec 9.1).
    return (images * 127.5 + 128).clamp(0, 255)


def bytes_of(images: Tensor) -> np.ndarray:
    """Pictures of -1 to 1 [..., 3, H, W] as uint8 [..., H, W, 3]."""
    return np.ascontiguousarray(levels(images.detach()).byte().movedim(-3, -1).cpu().numpy())


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size side by side, row by row, the rest white, uint8 [H, W, 3]."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    made = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        made[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    return made
