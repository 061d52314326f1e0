"""Which patches of a picture a training step sees (spec 4.3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError

LOG = logging.getLogger(__name__)
TRIES = 100
"""Draws after which there is no hope for a patch that sees the body's box."""


@dataclass(frozen=True)
class PatchSettings:
    """How many patches, their side in pixels, and the share of them that lies on the person."""

    n_patches: int = 4
    patch_size: int = 32
    sample_subject_ratio: float = 0.8


def draw(person: np.ndarray, box: np.ndarray, settings: PatchSettings, noise: Noise, name: str) -> np.ndarray:
    """First row and column of each patch, int64 [N, 2].

    For each patch chance decides between a pixel of the person and one beside it, in the body's box; where
    there is none of the kind, the other kind serves. A patch that sees nothing of the box is drawn again.

    Args:
        person: Pixels that the mask does not leave out, bool [H, W].
        box: Pixels whose rays meet the body's box, bool [H, W].
        settings: Number and size.
        noise: One uniform number for each patch, then one integer.
        name: Of the picture, for messages.
    """
    side, size = settings.patch_size, np.array(person.shape)
    if side > size.min():
        raise SettingsError(
            f"patches.patch_size: {side} pixels, but {name} has {size[1]} x {size[0]}",
            hint=f"--set patches.patch_size={size.min()} or less",
        )
    kinds = np.flatnonzero(person), np.flatnonzero(box & ~person)
    _check(kinds, box, name)
    corners: list[np.ndarray] = []
    for _ in range(TRIES * settings.n_patches):
        on_person = float(noise.uniform((1,))) < settings.sample_subject_ratio
        wanted, other = kinds if on_person else kinds[::-1]
        candidates = wanted if len(wanted) else other
        pixel = candidates[int(noise.integers(0, len(candidates), (1,)))]
        centre = np.array(np.unravel_index(pixel, person.shape))
        row, column = np.clip(centre - side // 2, 0, size - side)
        if box[row : row + side, column : column + side].any():
            corners.append(np.array([row, column]))
        if len(corners) == settings.n_patches:
            return np.stack(corners)
    raise DataError(
        f"{name}: what its mask shows lies away from the body's box", hint="check the mask and the body's fit"
    )


def _check(kinds: tuple[np.ndarray, np.ndarray], box: np.ndarray, name: str) -> None:
    if not box.any():
        raise DataError(
            f"{name}: no pixel sees the body's box", hint="check its camera and the body's Rh and Th"
        )
    for kind, words in zip(kinds, ("of the person", "beside the person"), strict=True):
        if not len(kind):
            LOG.warning("%s: no pixel %s in the body's box; all patches are taken elsewhere", name, words)


def pixels_of(corners: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of patches, int64 [N, P, P] both.

    Args:
        corners: First row and column of each [N, 2].
        side: P.
    """
    steps = np.arange(side)
    rows, columns = corners[:, 0, None] + steps, corners[:, 1, None] + steps
    shape = (len(corners), side, side)
    return np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(columns[:, None, :], shape)
