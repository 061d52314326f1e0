"""Films: frames one after the other, to mp4 (H.264) or gif."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.errors import SettingsError
from avatarctl.files import atomic

QUALITY = "20"
"""Constant rate factor of H.264: nothing is seen to be lost."""
GIF_FPS = 50
"""Most frames a second of a gif: viewers slow down frames that last less than two hundredths of a second."""

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


@dataclass(frozen=True)
class Film:
    """A film whose frames are made when they are asked for.

    `make` starts the frames from the beginning: uint8 [H, W, 3] each, `length` of them. `progress` wraps
    them while a file is written: it gets the frames, a word for what is done, and their number.
    """

    make: Callable[[], Iterator[np.ndarray]]
    length: int
    fps: float
    progress: Progress | None = None

    def __len__(self) -> int:
        return self.length

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, uint8 [H, W, 3]."""
        return self.make()

    def write(self, path: str | Path) -> Path:
        """Write an .mp4 or a .gif, atomically.

        Raises:
            SettingsError: The name ends otherwise.
            DataError: The file cannot be written.
        """
        path = Path(path)
        writers = {".mp4": _write_mp4, ".gif": _write_gif}
        if path.suffix.lower() not in writers:
            raise SettingsError(
                f"{path}: a film is written as {' or '.join(writers)}",
                hint=f"use {path.with_suffix('.mp4').name}",
            )
        frames: Iterable[np.ndarray] = self.frames()
        if self.progress is not None:
            frames = self.progress(frames, f"rendering {path.name}", len(self))
        with atomic(path) as temporary:
            writers[path.suffix.lower()](temporary, frames, self.fps, len(self))
        return path


def _write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float, length: int) -> None:
    import av

    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": QUALITY, "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(frames):
            even = np.pad(frame, [(0, size % 2) for size in frame.shape[:2]] + [(0, 0)], mode="edge")
            if not index:
                stream.height, stream.width = even.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


def _write_gif(path: Path, frames: Iterable[np.ndarray], fps: float, length: int) -> None:
    from PIL import Image

    step = math.ceil(fps / GIF_FPS - 1e-6)
    kept = (frame for index, frame in enumerate(frames) if index % step == 0)
    first = Image.fromarray(next(kept)).quantize(128, method=Image.Quantize.MEDIANCUT)
    rest = (Image.fromarray(frame).quantize(palette=first, dither=Image.Dither.NONE) for frame in kept)
    moments = [round(100 * frame / fps) for frame in range(0, length + step, step)]  # hundredths of a second
    durations = [10 * (end - start) for start, end in pairwise(moments)]
    first.save(path, "gif", save_all=True, append_images=rest, duration=durations, loop=0)
