"""One photo with its normals, as they go into a collection: on white, square, of one size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl_generative_avatar.dataset import SEEN, WHITE
from avatarctl_generative_avatar.fitted import SAMPLES, coded_normals, seen_normals
from avatarctl_generative_avatar.photo_files import png

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

UNIT = (0.5, 1.5)
"""Lengths between which a vector of a normal map is a normal; the others are background."""
PALE = 235
"""Mean level from which on the edge of a photo counts as white."""
ORIENTATION, LYING = 0x0112, 5
"""EXIF's field, and from which value on a picture is stored lying on its side."""
UNREADABLE = (OSError, ValueError, SyntaxError)
COPY = "copy it again, or leave it out with --skip"


@dataclass(frozen=True)
class Task:
    """What one photo is made of.

    Its file, that of its normals, or else the body that has them: its label [111], vertices [6890, 3] and
    faces [F, 3]. Arrays, as they go to other processes.
    """

    photo: Path
    normals: Path | None
    label: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    resolution: int


@dataclass(frozen=True)
class Packed:
    """Both pictures as PNG files; whether the photo's edge is white, and its side before."""

    image: bytes
    normals: bytes
    is_white: bool
    side: int


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from the head of its file.

    Raises:
        DataError: It is no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            is_lying = picture.getexif().get(ORIENTATION, 1) >= LYING
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    return (height, width) if is_lying else (width, height)


def pack(task: Task) -> Packed:
    """The pictures of a photo.

    Raises:
        DataError: They cannot be read.
    """
    colour, alpha = _square(task.photo)
    side, resolution = colour.size[0], task.resolution
    image, seen = _resized(colour, resolution), _resized(alpha, resolution)
    if task.normals is None:
        vertices, faces, one = map(torch.from_numpy, (task.vertices, task.faces, task.label))
        normals, is_there = seen_normals(vertices, faces, one, SAMPLES * resolution)
    else:
        normals, is_there = _given(task.normals)
    coded = coded_normals(normals, is_there, resolution)
    coded[seen < SEEN * WHITE] = WHITE
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return Packed(png(image), png(coded), bool(edge.mean() >= PALE), side)


def unreadable(path: Path, error: Exception) -> DataError:
    """The failure for a picture that is none."""
    reason = str(error).partition("<")[0].strip() or type(error).__name__
    return DataError(f"{path}: is no readable picture: {reason}", hint=COPY)


def _square(path: Path) -> tuple[Picture, Picture]:
    """A photo on white, and its alpha channel, both padded to squares.

    Without an alpha channel everything counts as seen, what is padded too: it is as white as the rest.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            if stored.mode[0] in "IF":
                raise DataError(f"{path}: has pixels of type {stored.mode}; expected 8 bits a channel")
            has_alpha = stored.has_transparency_data
            whole = ImageOps.exif_transpose(stored).convert("RGBA")
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    side = max(whole.size)
    place = (side - whole.size[0]) // 2, (side - whole.size[1]) // 2
    padded = Image.new("RGBA", (side, side), (WHITE, WHITE, WHITE, 0))
    padded.paste(whole, place)
    alpha = padded.getchannel("A") if has_alpha else Image.new("L", (side, side), WHITE)
    white = Image.new("RGBA", (side, side), (WHITE,) * 4)
    return Image.alpha_composite(white, padded).convert("RGB"), alpha


def _resized(picture: Picture, side: int) -> np.ndarray:
    from PIL import Image

    if picture.size == (side, side):
        return np.array(picture)
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC))


def _given(path: Path) -> tuple[Tensor, Tensor]:
    """Unit normals of a normal map [3, H, H], and where they are [H, H]."""
    coded = np.asarray(_square(path)[0])
    vectors = torch.from_numpy(coded.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    length = vectors.norm(dim=0)
    is_there = (length > UNIT[0]) & (length < UNIT[1])
    return vectors / length.clamp_min(1e-6), is_there
