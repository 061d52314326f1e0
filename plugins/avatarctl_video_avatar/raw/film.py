"""Pictures of a film and masks of an HDF5 file, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avatarctl.errors import DataError
from avatarctl_video_avatar.raw.annots import HINT
from avatarctl_video_avatar.raw.pictures import checked

BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
"""What a broken HDF5 file makes h5py raise."""


class Film:
    """A film that is decoded forward and stays open; asking for an earlier frame begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Film, (self.path,)

    def frame(self, index: int) -> np.ndarray:
        """RGB uint8 [H, W, 3].

        Raises:
            DataError: The film ends before, or cannot be read.
        """
        if not 0 < self._next <= index:
            self._frames, self._next = _decode(self.path), 0
        for pixels in self._frames:
            self._next += 1
            if self._next > index:
                return pixels
        count, self._next = self._next, 0
        raise DataError(
            f"{self.path}: ends after {count} frames; the masks have a frame {index}",
            hint=f"choose frames that are there: --end {count}" if count else HINT,
        )


@dataclass(frozen=True)
class FilmPicture:
    """A frame of a film."""

    film: Film
    index: int
    size: tuple[int, int]
    """Rows and columns of its mask; a film that lies on its side is turned up to have them (spec 2.5)."""

    def __call__(self) -> np.ndarray:
        """RGB uint8 [H, W, 3].

        Raises:
            DataError: It cannot be read, or has another size.
        """
        pixels = self.film.frame(self.index)
        if pixels.shape[:2] != self.size and pixels.shape[1::-1] == self.size:
            pixels = pixels.transpose(1, 0, 2)[:, ::-1]
        if pixels.shape[:2] != self.size:
            raise DataError(
                f"{self.film.path}: pictures of {pixels.shape[1]} x {pixels.shape[0]} pixels; the masks have "
                f"{self.size[1]} x {self.size[0]}",
                hint="masks and film have to be from the same release of the data set",
            )
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class FilmMask:
    """A mask of an HDF5 file with `masks` [F, H, W]."""

    path: Path
    index: int
    allow_empty: bool = False

    def __call__(self) -> np.ndarray:
        """uint8 [H, W], 0 or 255."""
        try:
            with h5py.File(self.path, "r") as file:
                labels = file["masks"][self.index]
        except BROKEN as error:
            raise DataError(f"{self.path}: mask {self.index} cannot be read ({error})", hint=HINT) from error
        return checked(labels != 0, Path(f"{self.path}: masks[{self.index}]"), self.allow_empty)


def _decode(path: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{path}: no pictures in it", hint=HINT)
            for frame in container.decode(container.streams.video[0]):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{path}: not a readable film ({error})", hint=HINT) from error
