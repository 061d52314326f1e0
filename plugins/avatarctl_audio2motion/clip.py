"""One conversation through the networks, window by window (spec 6).

A window's audio features are computed once for all networks that have the same front end, its conditions once
for all steps and results. The guide goes on from the key poses that the window before shares with this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from avatarctl.audio.wave import FRAME
from avatarctl.device import Noise
from avatarctl.device.memory import chunked
from avatarctl_audio2motion.conversations.stats import Statistics
from avatarctl_audio2motion.model import Condition, Denoiser
from avatarctl_audio2motion.model.codec import Codec
from avatarctl_audio2motion.model.front_end import FrontEnd, conversation_features
from avatarctl_audio2motion.model.guide import Draw, Guide, drawn_by
from avatarctl_audio2motion.sampling import guided, sample
from avatarctl_audio2motion.settings import Sampling
from avatarctl_audio2motion.windows import Window, joined

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps what is done one after the other: the items, a word for it, their number."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of one result: where face and body start, and the ranks of the guide's codes."""

    face: Noise
    body: Noise
    guide: Draw

    @classmethod
    def seeded(cls, seed: int, sample: int, repetition: int) -> Draws:
        """From the seed and the result's own numbers alone: neither batch nor device matter."""
        name = f"sample {sample} repetition {repetition}"
        face, body, guide = (Noise.seeded(seed, f"{part} {name}") for part in ("face", "body", "guide"))
        return cls(face, body, drawn_by([guide]))


@dataclass(frozen=True)
class Networks:
    """The networks that take part, the noise schedule of each, and the person's statistics."""

    statistics: Statistics
    face: Denoiser | None = None
    body: Denoiser | None = None
    guide: Guide | None = None
    codec: Codec | None = None
    schedules: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Made:
    """A part's motion so far, normalised [N, T, C], and what the next window needs of the last one.

    `starts` is that window's noise [N, T', C]; `trail` its predictions of the frames that the next window
    shares, one for each step.
    """

    motion: Tensor
    starts: Tensor
    trail: list[Tensor]


class Clip:
    """The results of one conversation while they are made.

    `made` is the motion of each part, `keys` the body's normalised key poses [N, K, 104].

    Args:
        audio: Raw samples of both voices [S, 2].
        kept: Original numbers of the diffusion steps, ascending.
        known: Normalised key poses [K, 104], NaN where the guide's are wanted; None: all are the guide's.
    """

    def __init__(
        self,
        networks: Networks,
        audio: Tensor,
        windows: Sequence[Window],
        options: Sampling,
        kept: Sequence[int],
        draws: Sequence[Draws],
        known: Tensor | None,
    ) -> None:
        self.networks, self.audio, self.windows = networks, audio, windows
        self.options, self.kept, self.draws, self.known = options, kept, draws, known
        self.made: dict[str, Made] = {}
        self.keys: Tensor | None = None
        self._codes: Tensor | None = None

    def run(self, device: torch.device, progress: Progress | None = None) -> None:
        """Make all of it."""
        parts = {"face": self.networks.face, "body": self.networks.body}
        calls = range(len(self.windows) * len(self.kept) * sum(one is not None for one in parts.values()))
        ticks: Iterator[Any] = iter(progress(calls, "generating", len(calls)) if progress else calls)
        for number, window in enumerate(self.windows):
            shared = self.windows[number + 1].shared if number + 1 < len(self.windows) else 0
            samples = self.audio[window.first * FRAME : window.last * FRAME].to(device)
            audio = self.networks.statistics.normalise_audio(samples)[None]
            heard: dict[int, Tensor] = {}
            for part, network in parts.items():
                if network is not None:
                    keys = self._key_poses(window, heard, audio) if part == "body" else None
                    features = _features(heard, network.front_end, audio)
                    condition = network.condition(audio, keys, features=features)
                    self._sample(part, network, condition, window, shared, ticks)
        for _ in ticks:  # what was counted and is not left
            pass

    def _key_poses(self, window: Window, heard: dict[int, Tensor], audio: Tensor) -> Tensor | None:
        """A window's key poses, normalised [N, K, 104]; None where the body network takes none."""
        network, guide, codec = self.networks.body, self.networks.guide, self.networks.codec
        if network is None or not network.sizes.key_frames:
            return None
        rows, places = len(self.draws), window.keys
        if guide is not None and codec is not None:
            prefix = None if self._codes is None else self._codes[:, places.start :]
            new = guide.generate(
                None,
                places.stop - places.start,
                self.options.top_p,
                self._ranks,
                prefix if prefix is not None and prefix.shape[1] else None,
                features=_features(heard, guide.front_end, audio),
                rows=rows,
            )
            before = new[:, :0] if self._codes is None else self._codes[:, : places.start]
            self._codes = torch.cat([before, new], dim=1)
            self.keys = codec.decode(self._codes)
        if self.known is not None:
            known = self.known[: places.stop].to(audio.device).expand(rows, -1, -1)
            self.keys = (
                known if self.keys is None or guide is None else known.where(~known.isnan(), self.keys)
            )
        assert self.keys is not None
        return self.keys[:, places]

    def _ranks(self, probabilities: Tensor) -> Tensor:
        """Each row's rank, drawn by its own numbers."""
        return torch.cat([one.guide(row[None]) for one, row in zip(self.draws, probabilities, strict=True)])

    def _sample(
        self,
        part: str,
        network: Denoiser,
        condition: Condition,
        window: Window,
        shared: int,
        ticks: Iterator[Any],
    ) -> None:
        """A window of a part's motion; `shared` frames at its end are the next window's too."""
        made = self._begin(part, network, window)
        scale = self.options.guidance if part == "face" else self.options.body_guidance
        schedule = self.networks.schedules.get(part, "cosine")
        device = condition.tokens.device

        def some(rows: slice) -> tuple[Tensor, list[Tensor]]:
            count = len(made.starts[rows])
            keys = condition.keys
            told = replace(condition, keys=keys if keys is None else keys[rows], rows=count)
            predict = guided(network, told, scale, self.kept)

            def ticking(noisy: Tensor, place: int) -> Tensor:
                if rows.start == 0:
                    next(ticks, None)
                return predict(noisy, place)

            before = [one[rows] for one in made.trail]
            denoise, trail = joined(ticking, window.shared, before, shared)
            return sample(denoise, made.starts[rows].to(device), self.kept, schedule), trail

        pieces = chunked(some, len(self.draws), self.options.batch_size)
        motion = torch.cat([piece for piece, _ in pieces])
        made.motion[:, window.first : window.last] = motion.cpu()
        made.trail = [torch.cat(step) for step in zip(*(trail for _, trail in pieces), strict=True)]

    def _begin(self, part: str, network: Denoiser, window: Window) -> Made:
        """A part's state with the noise of a window, which is that of the one before it where they share."""
        frames, channels = len(window) - window.shared, network.sizes.output
        new = torch.stack([getattr(one, part).normal((frames, channels)) for one in self.draws])
        if part not in self.made:
            motion = torch.empty(len(self.draws), self.windows[-1].last, channels)
            self.made[part] = Made(motion, new, [])
        else:
            made = self.made[part]
            made.starts = torch.cat([made.starts[:, made.starts.shape[1] - window.shared :], new], dim=1)
        return self.made[part]


def _features(heard: dict[int, Tensor], front_end: FrontEnd, audio: Tensor) -> Tensor:
    """A window's features by a front end; networks that have the same one share them."""
    if id(front_end) not in heard:
        heard[id(front_end)] = conversation_features(front_end, audio)
    return heard[id(front_end)]
