"""From the prepared store to what the networks see: random crops for training, chunks for tests (spec 3).

A frame of the store has its 1600 samples of both voices, raw body parameters and face codes, and whether the
face was seen. Everything is read through memory maps and normalised for the frames that are asked for alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.wave import FRAME
from avatarctl.data import Split, Store
from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError
from avatarctl_audio2motion.conversations.stats import CODE, POSE, WIDTHS, Kind, Statistics

log = logging.getLogger(__name__)
FIELDS = {"audio": 2 * FRAME, "pose": POSE, "face": CODE, "seen": 1}
"""Numbers of a frame: samples (time, voice), body parameters, face codes, 1 where the face was seen."""
SYSTEM = "audio2motion"
FPS = 30
KEY_STEP = 30
"""Frames from one key pose to the next."""
SHORTEST = 400
"""Least length of a random crop that is padded (spec 3.4)."""
DRAWS = 1000
"""Tries to find a crop in which the face is seen at all."""
_FIELD: dict[Kind, str] = {"face": "face", "body": "pose"}


@dataclass(frozen=True)
class Conversations:
    """An opened store of one person: `store.split(name)` has the scenes."""

    store: Store
    statistics: Statistics
    person: str

    def windows(
        self,
        split: str,
        kind: Kind,
        window: int = 600,
        *,
        shortest: int | None = SHORTEST,
        key_step: int = KEY_STEP,
        has_audio: bool = True,
    ) -> Windows:
        """Random crops of a split; arguments as `Windows` has them."""
        source = Source(self.store.split(split), self.statistics, kind, key_step, has_audio)
        return Windows(source, window, shortest)

    def chunks(
        self,
        split: str,
        kind: Kind,
        length: int = 600,
        *,
        key_step: int = KEY_STEP,
        keep_last: bool = False,
        has_audio: bool = True,
    ) -> Chunks:
        """The chunks of a split; arguments as `Chunks` has them."""
        source = Source(self.store.split(split), self.statistics, kind, key_step, has_audio)
        return Chunks(source, length, keep_last)


def open_conversations(path: str | Path) -> Conversations:
    """The store that `avatarctl prepare conversations` made.

    Raises:
        DataError: There is none, or it is another target's.
    """
    store = Store(path)
    lacking = [name for name, width in FIELDS.items() if store.fields.get(name, {}).get("width") != width]
    if store.attributes.get("system") != SYSTEM:
        lacking.append(f"attribute system = {SYSTEM}")
    if lacking:
        raise DataError(
            f"{path}: no store of prepare conversations: it lacks {', '.join(lacking)}",
            hint="avatarctl prepare conversations FOLDER --store STORE",
        )
    statistics = Statistics.from_plain(store.attributes.get("statistics"), path)
    return Conversations(store, statistics, str(store.attributes.get("person", "")))


class Batch(NamedTuple):
    """Normalised stretches of T frames; shorter ones are followed by zeros.

    motion [B, T, C], keys [B, K, C] (every `key_step`-th frame), audio [B, 1600 T, 2]; seen [B, T]: 1 where
    the motion is known (for the body: inside the length), else 0; lengths, key_lengths [B].
    """

    motion: Tensor
    audio: Tensor
    seen: Tensor
    lengths: Tensor
    keys: Tensor
    key_lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """Whether a frame lies inside the length [B, T]."""
        return torch.arange(self.motion.shape[1]) < self.lengths[:, None]


@dataclass(frozen=True)
class Source:
    """Stretches of one split's scenes, normalised.

    `has_audio` False leaves the voices out: [B, 0, 2].
    """

    split: Split
    statistics: Statistics
    kind: Kind
    key_step: int = KEY_STEP
    has_audio: bool = True

    def batch(self, places: Sequence[tuple[int, int, int]], window: int) -> Batch:
        """Stretches of scenes, filled up to `window` frames.

        Args:
            places: Scene, first frame, number of frames of each.
        """
        found = [self._stretch(*place, window) for place in places]
        motion, audio, seen, keys = (torch.stack(parts) for parts in zip(*found, strict=True))
        lengths = torch.tensor([length for _, _, length in places])
        return Batch(motion, audio, seen, lengths, keys, -(-lengths // self.key_step))

    def seen(self, scene: int, start: int, length: int) -> np.ndarray:
        """Where the motion is known: 0 or 1 [length]."""
        if self.kind == "body":
            return np.ones(length, np.float32)
        return self.split.window("seen", scene, start, length)[:, 0]

    def _stretch(self, scene: int, start: int, length: int, window: int) -> tuple[Tensor, ...]:
        raw = torch.from_numpy(self.split.window(_FIELD[self.kind], scene, start, length).copy())
        seen = torch.zeros(window)
        seen[:length] = torch.from_numpy(self.seen(scene, start, length).copy())
        motion = torch.zeros(window, WIDTHS[self.kind])
        motion[:length] = self.statistics.normalise(self.kind, raw)
        keys = torch.zeros(-(-window // self.key_step), WIDTHS[self.kind])
        # parity: key frames are taken before unseen frames are zeroed (spec 3.2).
        keys[: -(-length // self.key_step)] = motion[: length : self.key_step]
        audio = torch.zeros(window * FRAME if self.has_audio else 0, 2)
        if self.has_audio:
            samples = torch.from_numpy(self.split.window("audio", scene, start, length).copy())
            audio[: length * FRAME] = self.statistics.normalise_audio(samples.reshape(-1, 2))
        return motion * seen[:, None], audio, seen, keys


class Windows:
    """Random crops of scenes; an item is a frame, and stands for the scene that holds it (spec 3.4).

    Args:
        window: Frames T of a crop.
        shortest: Crops of `shortest` to T - 1 frames, zero-padded to T; None: all are T frames long.

    Raises:
        DataError: No scene is longer than a crop; shorter scenes are left out, and named in the log.
        SettingsError: The crop is no longer than the shortest.
    """

    def __init__(self, source: Source, window: int = 600, shortest: int | None = SHORTEST) -> None:
        if shortest is not None and window <= shortest:
            raise SettingsError(
                f"window {window}: crops of random length are {shortest} frames long or longer",
                hint=f"take a window above {shortest}, or crops of fixed length",
            )
        split = source.split
        self.source, self.window, self.shortest = source, window, shortest
        self.scenes = np.flatnonzero(split.lengths > window)
        if not len(self.scenes):
            longest = int(split.lengths.max()) if len(split) else 0
            raise DataError(
                f"split '{split.name}': the longest of {len(split)} scenes has {longest} frames; "
                f"windows of {window} need longer ones",
                hint="take a shorter window, or prepare longer recordings",
            )
        if len(self.scenes) < len(split):
            short = [name for scene, name in enumerate(split.names) if scene not in self.scenes]
            log.warning("scenes of %d frames or fewer are left out: %s", window, ", ".join(short))
        self._ends = np.cumsum(split.lengths[self.scenes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def scene_of(self, item: int) -> int:
        """The scene of an item."""
        # parity: the scene of the frame before is taken, so item 0 has the last scene (spec 3.4).
        place = np.searchsorted(self._ends, item - 1, side="right") if item else -1
        return int(self.scenes[place])

    def crop(self, item: int, noise: Noise) -> tuple[int, int, int]:
        """Scene, first frame and number of frames of an item's crop.

        Raises:
            DataError: The face is never seen in this scene.
        """
        scene = self.scene_of(item)
        spare = int(self.source.split.lengths[scene]) - self.window
        for _ in range(DRAWS):
            start = int(noise.integers(0, spare, (1,)))
            length = self.window
            if self.shortest is not None:
                length = int(noise.integers(self.shortest, self.window, (1,)))
            if self.source.seen(scene, start, length).any():
                return scene, start, length
        raise DataError(
            f"scene {self.source.split.names[scene]}: no window of {self.window} frames shows the face",
            hint="remove the scene, and prepare the store again",
        )

    def batch(self, items: Tensor, noise: Noise) -> Batch:
        """A random crop of each item [B]."""
        return self.source.batch([self.crop(item, noise) for item in items.tolist()], self.window)

    def shuffled(self, batch_size: int, seed: int) -> tuple[int, Callable[[int], Batch]]:
        """Steps in an epoch (a pass over all frames), and the batch of each, from seed and step alone.

        Raises:
            DataError: There are fewer frames than one batch needs.
        """
        steps = len(self) // batch_size
        if not steps:
            raise DataError(
                f"{len(self)} frames: fewer than a batch of {batch_size}", hint="lower --batch-size"
            )
        order: dict[int, Tensor] = {}

        def batch(step: int) -> Batch:
            epoch, place = divmod(step, steps)
            if epoch not in order:
                order.clear()
                order[epoch] = Noise.seeded(seed, f"order/{epoch}").permutation(len(self))
            items = order[epoch][place * batch_size : (place + 1) * batch_size]
            return self.batch(items, Noise.seeded(seed, f"crops/{step}"))

        return steps, batch


class Chunks:
    """Stretches of L frames that do not overlap, scene by scene (spec 3.3).

    Args:
        length: Frames L of a chunk.
        keep_last: Also take the last chunk of a scene whose length is a multiple of L, which is left out as
            published.

    Raises:
        DataError: No scene is long enough.
    """

    def __init__(self, source: Source, length: int = 600, keep_last: bool = False) -> None:
        self.source, self.length = source, length
        # parity: the last chunk is left out where the scene ends with it (spec 3.3).
        self.places = [
            (scene, start)
            for scene, frames in enumerate(source.split.lengths.tolist())
            for start in range(0, frames - length + keep_last, length)
        ]
        if not self.places:
            longest = int(source.split.lengths.max()) if len(source.split) else 0
            raise DataError(
                f"split '{source.split.name}': no chunk of {length} frames; "
                f"the longest of {len(source.split)} scenes has {longest}",
                hint="take shorter chunks",
            )

    def __len__(self) -> int:
        return len(self.places)

    def name(self, chunk: int) -> str:
        """Scene and first frame of a chunk."""
        scene, start = self.places[chunk]
        return f"{self.source.split.names[scene]}_{start:05d}"

    def order(self, seed: int = 10) -> np.ndarray:
        """The chunks in the published order, which is numpy's old generator's: int64 [chunks]."""
        return np.random.RandomState(seed).permutation(len(self))

    def batch(self, chunks: Sequence[int]) -> Batch:
        """Chunks by their numbers."""
        places = [(*self.places[chunk], self.length) for chunk in chunks]
        return self.source.batch(places, self.length)
