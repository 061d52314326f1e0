"""From the prepared store to training windows and sequences (spec 5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import mirror_pairs
from avatarctl.data import Split, Store
from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl_sparse_tracking.features import FIELDS, rest_digest
from avatarctl_sparse_tracking.model import WINDOW

SWAPPED = list(mirror_pairs("smplh")[:22])
FLIP_X = (-1.0, 1.0, 1.0)
FLIP_TURN = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
"""Signs of the first two columns of M R M, where M flips x."""


def open_store(path: Path, body: BodyModel) -> Store:
    """A store that `avatarctl prepare amass` made with the skeleton of a body.

    Raises:
        DataError: It is none, another target's, or of another skeleton.
    """
    store = Store(path)
    prepared: Any = store.attributes.get("body")
    lacking = [name for name, width in FIELDS.items() if store.fields.get(name, {}).get("width") != width]
    has_body = isinstance(prepared, dict) and {"rest", "open"} <= prepared.keys()
    if not (has_body and "protocol" in store.attributes):
        lacking.append("attributes body and protocol")
    if lacking:
        raise DataError(
            f"{path}: no store of prepare amass: it lacks {', '.join(lacking)}",
            hint="avatarctl prepare amass RAW --store FOLDER",
        )
    if prepared["rest"] != rest_digest(body.rest_joints):
        was = "the open body" if prepared["open"] else "a licensed body"
        raise DataError(
            f"{path}: prepared with {was}, whose skeleton is not that of {body_name(body)}",
            hint="name the body models it was prepared with (--body-models), or prepare it again",
        )
    return store


def body_name(body: BodyModel) -> str:
    """How messages and reports call a body."""
    return "the open body" if body.is_open else f"{body.family} {body.gender} ({body.source})"


class Batch(NamedTuple):
    """Windows of trackers [B, T, 3, 18] and local rotations [B, T, 132]."""

    trackers: Tensor
    sixd: Tensor


class Windows:
    """Random windows of a split's clips; an item is a clip, each of them `repeat` times."""

    def __init__(self, split: Split, repeat: int = 1) -> None:
        self.split, self.repeat = split, repeat
        self.clips = np.flatnonzero(split.lengths >= WINDOW)
        if not len(self.clips):
            raise DataError(
                f"split '{split.name}': no clip of at least {WINDOW} frames",
                hint="prepare a store with longer clips",
            )

    def __len__(self) -> int:
        return len(self.clips) * self.repeat

    def batch(self, items: Tensor, noise: Noise, mirror: bool = False) -> Batch:
        """A window of each item.

        Args:
            items: Numbers below the length [B].
            noise: Where the windows start, and which are mirrored.
            mirror: Mirror about half of them.
        """
        rows = []
        for item in items.tolist():
            clip = self.clips[item % len(self.clips)]
            spare = int(self.split.lengths[clip]) - WINDOW
            # parity: the last window is never drawn, and a clip of one window needs no draw (spec 5).
            start = int(noise.integers(0, spare, (1,))) if spare > 0 else 0
            rows.append(int(self.split.offsets[clip]) + start)
        found = self.at(np.array(rows))
        return mirrored(found, noise.uniform((len(items),)) < 0.5) if mirror else found

    def at(self, rows: np.ndarray) -> Batch:
        """The windows that start at rows of the split [B]."""
        every = rows[:, None] + np.arange(WINDOW)
        trackers, sixd = (torch.from_numpy(self.split.gather(field, every)) for field in ("sparse", "sixd"))
        return Batch(trackers.unflatten(-1, (3, 18)), sixd)

    def shuffled(
        self, batch_size: int, seed: int, mirror: bool = False
    ) -> tuple[int, Callable[[int], Batch]]:
        """Steps in an epoch, and the batch of each, which depends on seed and step number alone.

        Raises:
            DataError: There are fewer items than one batch needs.
        """
        steps = len(self) // batch_size
        if not steps:
            raise DataError(
                f"{len(self.clips)} clips x repeat {self.repeat}: fewer windows than a batch of {batch_size}",
                hint="lower --batch-size or raise --repeat",
            )
        order: dict[int, Tensor] = {}

        def batch(step: int) -> Batch:
            epoch, place = divmod(step, steps)
            if epoch not in order:
                order.clear()
                order[epoch] = Noise.seeded(seed, f"order/{epoch}").permutation(len(self))
            items = order[epoch][place * batch_size : (place + 1) * batch_size]
            return self.batch(items, Noise.seeded(seed, f"windows/{step}"), mirror)

        return steps, batch


def piece(frames: int, longest: int, noise: Noise) -> slice:
    """A random piece of at most `longest` of so many frames; the last possible one is never drawn."""
    spare = frames - longest
    start = int(noise.integers(0, spare, (1,))) if spare > 0 else 0
    return slice(start, min(start + longest, frames))


def held_out_clips(split: Split, clips: int) -> list[int]:
    """The first clips that are long enough."""
    return [int(clip) for clip in np.flatnonzero(split.lengths >= WINDOW)[:clips]]


def held_out(split: Split, clips: int) -> np.ndarray:
    """First rows of evenly spaced windows of the first clips that are long enough."""
    starts = [
        split.offsets[clip] + np.arange(0, split.lengths[clip] - WINDOW + 1, WINDOW)
        for clip in held_out_clips(split, clips)
    ]
    return np.concatenate(starts)


def mirrored(batch: Batch, which: Tensor) -> Batch:
    """The windows with left and right exchanged where `which` [B] says so."""
    flip, turn = torch.tensor(FLIP_X), torch.tensor(FLIP_TURN)
    trackers = batch.trackers[:, :, [0, 2, 1]] * torch.cat([turn, turn, flip, flip])
    sixd = (batch.sixd.unflatten(-1, (22, 6))[:, :, SWAPPED] * turn).flatten(-2)
    pick = which[:, None, None]
    return Batch(torch.where(pick[..., None], trackers, batch.trackers), torch.where(pick, sixd, batch.sixd))
