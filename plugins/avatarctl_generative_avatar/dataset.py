"""Photos with normals and labels, as training and evaluation take them (spec 2.3).

Photos with an alpha channel are laid on white; normals are unit vectors n as 127.5 (n + 1), and 255 where
nobody is. Decoded pictures stay in memory as far as it is allowed to hold them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.photo_files import AGAIN, PhotoFiles, normals_of, pixels
from avatarctl_generative_avatar.resize import resize

LOG = logging.getLogger(__name__)
MEMORY = 2 << 30
"""Bytes of decoded pictures that are kept."""
WHITE = 255
SEEN = 0.3
"""Pixels of less alpha have no normal."""
TINY = 1e-8
"""Added to the length of a normal."""
WINDOW = 0.5
"""How far, as a share of all, an index is put back at most when it was taken."""
AHEAD = 2
"""Batches that are begun before they are asked for."""
BLOCK = 4096
"""Indices drawn at a time."""


class Photo(NamedTuple):
    """One photo or, stacked, several [B, ...].

    `image` uint8 [3, R, R], `normals` float32 of 0 to 255 [3, R, R], `label` [111].
    """

    image: Tensor
    normals: Tensor
    label: Tensor


class Photos:
    """The photos of a zip or a folder at one resolution; several threads may take them.

    `labels` [M, 111] are those of the photos, `label_std` [111] their spread over all that lie there, `body`
    the body that they are of where the collection says it.
    """

    def __init__(
        self,
        path: Path,
        resolution: int,
        *,
        max_size: int = 0,
        xflip: bool = False,
        seed: int = 0,
        published: bool = False,
        memory: int = MEMORY,
    ) -> None:
        """Look through the collection; pictures are read when they are asked for.

        Args:
            max_size: Photos to take of it, drawn by `seed`; 0 takes all.
            xflip: Mirrored photos follow the others.
            published: Their labels and normals are not mirrored (spec 9.2).
            memory: Bytes of decoded pictures to keep.
        """
        self.files = PhotoFiles(path)
        self.resolution, self.published, self.memory = resolution, published, memory
        self.names = self.files.photos()
        every = self.files.labels(self.names)
        self.body = self.files.index().get("body")
        self.label_std = torch.from_numpy(every.std(axis=0))
        numbers = np.arange(len(self.names))
        if 0 < max_size < len(numbers):
            np.random.RandomState(seed).shuffle(numbers)
            numbers = np.sort(numbers[:max_size])
        self._numbers = np.tile(numbers, 2) if xflip else numbers
        self._is_flipped = np.arange(len(self._numbers)) >= len(numbers)
        self.labels = torch.from_numpy(every[self._numbers])
        if not published:
            self.labels[len(numbers) :] = label.mirrored(self.labels[len(numbers) :])
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._held = 0
        self._side = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Photo:
        """A photo.

        Raises:
            DataError: Its files cannot be read.
        """
        image, coded = self._pictures(int(self._numbers[index]))
        is_flipped = bool(self._is_flipped[index])
        normals = unit_normals(coded, is_mirrored=is_flipped and not self.published)
        normals = resize(normals, self.resolution, self.resolution)
        if is_flipped:
            image, normals = image[:, ::-1], normals[:, ::-1]
        return Photo(_channels_first(image), _channels_first(normals.astype(np.float32)), self.labels[index])

    def take(self, indices: Sequence[int]) -> Photo:
        """Several photos at once."""
        return _stacked([self[index] for index in indices])

    def batches(self, indices: Iterator[int], size: int, workers: int = 0) -> Iterator[Photo]:
        """Photos of indices that never end, so many at a time.

        Args:
            workers: Threads that decode the next batches meanwhile; 0 for none.
        """
        if not workers:
            while True:
                yield self.take(list(islice(indices, size)))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
        waiting: deque[list[Future[Photo]]] = deque()
        try:
            while True:
                while len(waiting) <= AHEAD:
                    chosen = list(islice(indices, size))
                    waiting.append([pool.submit(self.__getitem__, index) for index in chosen])
                yield _stacked([one.result() for one in waiting.popleft()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _pictures(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A photo on white [R, R, 3] and its coded normals in their own size, uint8."""
        kept = self._kept.get(number)
        if kept is None:
            kept = self._decoded(number)
            size = sum(part.nbytes for part in kept)
            with self._lock:
                if number not in self._kept and self._held + size <= self.memory:
                    self._kept[number] = kept
                    self._held += size
        return kept

    def _decoded(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        name = self.names[number]
        image = pixels(self.files.read(name), f"{self.files.path}: {name}")
        coded = pixels(self.files.read(normals_of(name)), f"{self.files.path}: {normals_of(name)}")[..., :3]
        self._compare_side(len(image), name)
        if image.shape[2] == 4:
            if len(image) != len(coded):
                raise DataError(
                    f"{self.files.path}: {name} has a side of {len(image)} pixels, its normals {len(coded)}; "
                    f"photos with an alpha channel and their normals are of one size",
                    hint=AGAIN,
                )
            coded = np.where(image[..., 3:] < SEEN * WHITE, np.uint8(WHITE), coded)
            image = _on_white()[image[..., 3:], image[..., :3]]
        return resize(image, self.resolution, self.resolution), coded

    def _compare_side(self, side: int, name: str) -> None:
        """Say once that photos are enlarged, and once that they are of several sizes."""
        if self._side == 0:
            self._side = side
            if side < self.resolution:
                LOG.warning(
                    "%s: photos have a side of %d pixels and are enlarged to %d",
                    *(self.files.path, side, self.resolution),
                )
        elif 0 < self._side != side:
            LOG.warning(
                "%s: photos are of several sizes: %s has a side of %d pixels, others %d; all become %d",
                *(self.files.path, name, side, self._side, self.resolution),
            )
            self._side = -1


def _stacked(photos: Sequence[Photo]) -> Photo:
    images, normals, labels = (torch.stack(parts) for parts in zip(*photos, strict=True))
    return Photo(images, normals, labels)


def unit_normals(coded: np.ndarray, *, is_mirrored: bool = False) -> np.ndarray:
    """Unit normals n of coded ones as 127.5 (n + 1), and 255 where these are white, float64 [H, W, 3].

    Args:
        coded: uint8 [H, W, 3].
        is_mirrored: Turn x around.
    """
    made = np.full(coded.shape, float(WHITE))
    is_there = (coded != WHITE).any(axis=-1)
    normals = coded[is_there] / WHITE * 2 - 1
    normals /= np.sqrt((normals**2).sum(axis=-1, keepdims=True)) + TINY
    if is_mirrored:
        normals[:, 0] *= -1
    made[is_there] = (normals + 1) * 127.5
    return made


def order(count: int, seed: int, rank: int = 0, world: int = 1, start: int = 0) -> Iterator[int]:
    """Indices below `count` for ever, in the published random order, of which each rank gets its part.

    Args:
        start: How many of this rank's to leave out: those that a training which goes on has taken.
    """
    random = np.random.RandomState(seed)
    indices = np.arange(count)
    random.shuffle(indices)
    window = int(np.rint(count * WINDOW))
    turning, step, first = indices.tolist(), 0, rank + start * world
    while True:
        back = random.randint(window, size=BLOCK).tolist() if window >= 2 else [0] * BLOCK
        for far in back:
            place = step % count
            if step >= first and step % world == rank:
                yield turning[place]
            other = place - far  # below 0 it counts from the end
            turning[place], turning[other] = turning[other], turning[place]
            step += 1


@cache
def _on_white() -> np.ndarray:
    """Levels of a colour on white by alpha and colour, uint8 [256, 256]."""
    levels = np.arange(256)
    alpha = levels[:, None] / WHITE
    return np.asarray((levels * alpha + WHITE * (1 - alpha)).astype(np.uint8))


def _channels_first(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
