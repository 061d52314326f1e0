"""Pictures and masks in the files of raw data sets, read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
"""What a broken or hostile picture makes PIL raise."""
LOSSY = 127
"""Where masks are stored as JPEG, whose zeros are not exact: values above are foreground."""
DARK = 10
"""Sum of the three channels up to which a pixel of SyntheticHuman is background, whatever its mask says."""
EMPTY = "repair the mask, leave the frame or camera out (--start, --end, --views), or type --allow-empty"


@dataclass(frozen=True)
class Picture:
    """A picture in a file."""

    path: Path

    def __call__(self) -> np.ndarray:
        """RGB uint8 [H, W, 3]."""
        check_input_file(self.path, "a picture")
        try:
            with Image.open(self.path) as picture:
                return np.asarray(picture.convert("RGB"))
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, from the file's header."""
        check_input_file(self.path, "a picture")
        try:
            with Image.open(self.path) as picture:
                return picture.height, picture.width
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error


@dataclass(frozen=True)
class Mask:
    """Where the person is in a picture: where any of several files has a label that is not zero."""

    paths: tuple[Path, ...]
    picture: Picture
    is_lit: bool = False
    """Pixels of the picture that are black are none of the person."""
    allow_empty: bool = False

    def __call__(self) -> np.ndarray:
        """uint8 [H, W], 0 or 255.

        Raises:
            DataError: A file cannot be read, has another size than the picture, or shows nobody.
        """
        size = self.picture.size
        found = np.zeros(size, bool)
        for path in self.paths:
            labels = _foreground(path)
            if labels.shape != size:
                raise sizes_differ(self.picture.path, size, path, labels.shape)
            found |= labels
        if self.is_lit:
            found &= self.picture().sum(axis=2, dtype=np.int64) > DARK
        return checked(found, self.paths[0], self.allow_empty)


def checked(found: np.ndarray, path: Path, allow_empty: bool) -> np.ndarray:
    """A mask [H, W] as 0 and 255.

    Raises:
        DataError: It shows nobody.
    """
    if not allow_empty and not found.any():
        raise DataError(f"{path}: the mask is empty; expected the person in it", hint=EMPTY)
    return found.astype(np.uint8) * np.uint8(255)


def sizes_differ(picture: Path, size: tuple[int, ...], mask: Path, found: tuple[int, ...]) -> DataError:
    """The failure for a mask of another size than its picture; sizes are rows, columns."""
    return DataError(
        f"{mask}: {found[1]} x {found[0]} pixels; its picture {picture} has {size[1]} x {size[0]}",
        hint="masks and pictures have to be from the same release of the data set",
    )


def unreadable(path: Path, error: Exception) -> DataError:
    """The failure for a picture that cannot be read."""
    reason = str(error).partition("<")[0].strip() or type(error).__name__
    return DataError(f"{path}: not a readable picture ({reason[:120]})", hint="copy or download it again")


def _foreground(path: Path) -> np.ndarray:
    """Where a mask's labels are not zero, bool [H, W]."""
    check_input_file(path, "a mask")
    try:
        with Image.open(path) as picture:
            labels = np.asarray(
                picture if picture.mode in ("1", "L", "P", "I", "I;16") else picture.convert("RGB")
            )
            threshold = LOSSY if picture.format == "JPEG" else 0
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    above: np.ndarray = labels > threshold
    return np.asarray(above.any(axis=2) if above.ndim == 3 else above)
