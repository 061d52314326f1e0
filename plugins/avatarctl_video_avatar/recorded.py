"""One recorded picture without its lens's distortion, the person cut out on a background (spec 4.1).

Pictures stay as they were recorded, in bytes; colours are computed for the pixels that are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatarctl.errors import DataError
from avatarctl_video_avatar.prepared import Camera
from avatarctl_video_avatar.undistort import Lens


@dataclass(frozen=True)
class Recorded:
    """A picture and its mask."""

    image: np.ndarray
    """As recorded, uint8 [H, W, 3]."""
    mask: np.ndarray
    """Undistorted, uint8 [H, W]; between 0 and 255 at edges."""
    lens: Lens
    background: np.ndarray
    """Colour 0 to 255, float64 [3]."""

    @classmethod
    def of(
        cls, image: np.ndarray, mask: np.ndarray, camera: Camera, background: Sequence[float], name: str
    ) -> Recorded:
        """A picture from what was recorded.

        Args:
            image: uint8 [H, W, 3].
            mask: uint8 [H, W].
            camera: That it was taken with.
            background: Colour 0 to 1 [3].
            name: Of the picture, for messages.
        """
        if image.shape[:2] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
            raise DataError(
                f"{name}: the picture has {width} x {height} pixels, its mask {mask_width} x {mask_height}",
                hint="images/ and masks/ must hold pictures of one size; prepare the recording again",
            )
        lens = Lens.of(camera.intrinsics, camera.distortions, (image.shape[0], image.shape[1]))
        window = lens.reached(mask)
        straight = np.zeros_like(mask)
        rows, columns = (np.arange(size)[span] for size, span in zip(mask.shape, window, strict=True))
        straight[window] = lens.undistorted(mask, rows[:, None], columns)
        return cls(image, straight, lens, 255 * np.asarray(background, np.float64))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[0], self.image.shape[1]

    def colours(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours 0 to 1 [..., 3] and opacity of the mask [...] of pixels, float32.

        Args:
            rows, columns: Two arrays that broadcast.
        """
        rows, columns = np.broadcast_arrays(rows, columns)
        alpha = self.mask[rows, columns] / 255
        colours = np.tile((self.background / 255).astype(np.float32), (*alpha.shape, 1))
        person = alpha > 0
        share = alpha[person][:, None]
        seen = self.lens.undistorted(self.image, rows[person], columns[person])
        # parity: this order of operations, in float64 (spec 9, Q27).
        colours[person] = (share * seen + (1 - share) * self.background) / 255
        return colours, alpha.astype(np.float32)
