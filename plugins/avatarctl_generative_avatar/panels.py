"""Panels side by side, and sheets of people (spec 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from avatarctl_generative_avatar.mesh import Surface, mesh_picture
from avatarctl_generative_avatar.pictures import bytes_of, grid
from avatarctl_generative_avatar.resize import resize

if TYPE_CHECKING:
    from avatarctl_generative_avatar.model.generator import Pictures
    from avatarctl_generative_avatar.settings import Panel

LARGEST = 4096
"""Most pixels of a sheet along a side."""


def panels(
    made: Pictures, wanted: Sequence[Panel], side: int, surface: Surface | None = None
) -> dict[Panel, np.ndarray]:
    """The panels of one picture by name, in the published order, uint8 [side, side, 3] each.

    Args:
        surface: What panel mesh shows, in the picture's pose.
    """
    found: dict[Panel, np.ndarray] = {}
    pictures: dict[Panel, Tensor | None] = {
        "rgb": made.image, "raw": made.image_raw, "normal": made.image_normal
    }  # fmt: skip
    for name, picture in pictures.items():
        if name in wanted:
            assert picture is not None, name
            found[name] = resize(bytes_of(picture[0]), side, side)
    if "mesh" in wanted:
        assert surface is not None, "panel mesh without a surface"
        found["mesh"] = mesh_picture(surface, side)
    return found


def cropped(found: dict[Panel, np.ndarray], crop: str) -> dict[Panel, np.ndarray]:
    """The middle half of the columns, of all panels or, as published, of raw and normal."""
    kept = {"none": tuple(found), "published": ("rgb", "mesh"), "all": ()}[crop]
    return {name: picture if name in kept else middle(picture) for name, picture in found.items()}


def middle(picture: np.ndarray) -> np.ndarray:
    """The middle half of the columns of a picture [H, W, 3]."""
    quarter = picture.shape[1] // 4
    return np.ascontiguousarray(picture[:, quarter : picture.shape[1] - quarter])


def side_by_side(found: dict[Panel, np.ndarray]) -> np.ndarray:
    """Panels from left to right."""
    return np.concatenate(list(found.values()), axis=1)


def strip(steps: Sequence[dict[Panel, np.ndarray]]) -> np.ndarray:
    """The steps of a blend: a column for each, its panels one below the other."""
    return np.concatenate([np.concatenate(list(found.values())) for found in steps], axis=1)


def sheet(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size [H, W, 3] in rows, on white, smaller where the sheet would be huge."""
    height, width = pictures[0].shape[:2]
    columns = math.ceil(math.sqrt(len(pictures) * height / width))
    rows = -(-len(pictures) // columns)
    share = min(1.0, LARGEST / (columns * width), LARGEST / (rows * height))
    height, width = max(1, int(height * share)), max(1, int(width * share))
    return grid([resize(picture, height, width) for picture in pictures], columns)
