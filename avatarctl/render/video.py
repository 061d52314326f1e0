"""Films: frames one after the other, to mp4 (H.264, with sound as AAC) or gif."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avatarctl.errors import SettingsError
from avatarctl.files import atomic

QUALITY = "20"
"""Constant rate factor of H.264: nothing is seen to be lost."""
GIF_FPS = 50
"""Most frames a second of a gif: viewers slow down frames that last less than two hundredths of a second."""

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Samples a second that AAC has; sound at any other rate is resampled to `RATE`."""
RATE, BITS = 48_000, 96_000
"""That rate, and bits a second of one channel."""

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


@dataclass(frozen=True)
class Film:
    """A film whose frames are made when they are asked for.

    `make` starts the frames from the beginning: uint8 [H, W, 3] each, `length` of them. `progress` wraps
    them while a file is written: it gets the frames, a word for what is done, and their number.

    `sound` is samples of -1..1, float32 [N, channels], and their rate. It starts with the first frame, and
    what lasts longer than the film is cut off; a gif is silent.

    Raises:
        ValueError: The sound has neither one channel nor two.
    """

    make: Callable[[], Iterator[np.ndarray]]
    length: int
    fps: float
    progress: Progress | None = None
    sound: tuple[np.ndarray, int] | None = None
    is_atomic: ClassVar[bool] = True
    """`write` leaves the old file or the whole new one."""

    def __post_init__(self) -> None:
        if self.sound is not None and (self.sound[0].ndim != 2 or self.sound[0].shape[1] not in (1, 2)):
            raise ValueError(f"sound has shape {list(self.sound[0].shape)}, expected [N, 1] or [N, 2]")

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
        writers = {".mp4": self._write_mp4, ".gif": self._write_gif}
        if path.suffix.lower() not in writers:
            raise SettingsError(
                f"{path}: a film is written as {' or '.join(writers)}",
                hint=f"use {path.with_suffix('.mp4').name}",
            )
        frames: Iterable[np.ndarray] = self.frames()
        if self.progress is not None:
            frames = self.progress(frames, f"rendering {path.name}", len(self))
        with atomic(path) as temporary:
            writers[path.suffix.lower()](temporary, frames)
        return path

    def _write_mp4(self, path: Path, frames: Iterable[np.ndarray]) -> None:
        import av

        rate = Fraction(self.fps).limit_denominator(1001)
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            options = {"crf": QUALITY, "preset": "veryfast"}
            stream = container.add_stream("libx264", rate=rate, options=options)
            stream.pix_fmt = "yuv420p"
            track = None if self.sound is None else _Track(container, *self.sound)
            for index, frame in enumerate(frames):
                even = np.pad(frame, [(0, size % 2) for size in frame.shape[:2]] + [(0, 0)], mode="edge")
                if not index:
                    stream.height, stream.width = even.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                if track is not None:
                    track.write((index + 1) / self.fps)
            container.mux(stream.encode())
            if track is not None:
                track.end()

    def _write_gif(self, path: Path, frames: Iterable[np.ndarray]) -> None:
        from PIL import Image

        step = math.ceil(self.fps / GIF_FPS - 1e-6)
        kept = (frame for index, frame in enumerate(frames) if index % step == 0)
        first = Image.fromarray(next(kept)).quantize(128, method=Image.Quantize.MEDIANCUT)
        rest = (Image.fromarray(frame).quantize(palette=first, dither=Image.Dither.NONE) for frame in kept)
        hundredths = [round(100 * frame / self.fps) for frame in range(0, len(self) + step, step)]
        durations = [10 * (end - start) for start, end in pairwise(hundredths)]
        first.save(path, "gif", save_all=True, append_images=rest, duration=durations, loop=0)


class _Track:
    """The sound of a film while it is written.

    Args:
        container: The open file, to which no frame was written yet.
        samples: [N, channels].
        rate: Samples a second.
    """

    def __init__(self, container: Any, samples: np.ndarray, rate: int) -> None:
        self.container, self.samples, self.rate, self.done = container, samples, rate, 0
        self.layout = ("mono", "stereo")[samples.shape[1] - 1]
        kept = rate if rate in AAC_RATES else RATE
        self.stream = container.add_stream("aac", rate=kept, layout=self.layout)
        self.stream.bit_rate = BITS * samples.shape[1]

    def write(self, until: float) -> None:
        """Write what is heard before a moment, seconds, and was not written yet."""
        import av

        part = self.samples[self.done : round(until * self.rate)]
        if len(part):
            planes = np.ascontiguousarray(part.T.clip(-1, 1), np.float32)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self.layout)
            frame.rate, frame.pts, frame.time_base = self.rate, self.done, Fraction(1, self.rate)
            self.done += len(part)
            self.container.mux(self.stream.encode(frame))

    def end(self) -> None:
        """Write what the encoder still holds."""
        self.container.mux(self.stream.encode())
