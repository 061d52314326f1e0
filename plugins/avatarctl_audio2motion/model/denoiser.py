"""The diffusion networks of face and body: clean motion from noise, two voices and key poses (spec 4.1).

What depends on neither the noisy motion nor the step is a `Condition`, made once for a clip; what attention
makes of it is made once for a sampling loop (`Denoiser.prepare`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarctl.errors import DataError
from avatarctl_audio2motion.model.attention import (
    DecoderLayer,
    EncoderLayer,
    KeysValues,
    rotary_table,
    rotated,
)
from avatarctl_audio2motion.model.front_end import FRAME, VQ_WAV2VEC, FrontEnd, conversation_features
from avatarctl_audio2motion.model.lip import LipRegressor, LipSizes, sine_table

KEY_STEP = 30
"""Frames from one key pose to the next."""
LONGEST_SINES = 800
"""Tokens that the table of positions has where they are not rotary."""
DILATIONS = (1, 2, 3, 1, 2, 3)
"""Of the convolutions of kernel 3 that smooth the body's motion."""


@dataclass(frozen=True)
class DenoiserSizes:
    """Sizes of a diffusion network; left out: those of the published body network."""

    output: int = 104
    """Channels of the motion."""
    width: int = 256
    feedforward: int = 1024
    layers: int = 6
    heads: int = 8
    tokens: int = 1998
    """Most audio tokens of a window: 100 a second, 20 s."""
    key_frames: int = 20
    """Most key poses of a window; 0: the network takes none."""
    condition_layers: int = 0
    """Self-attention layers over the audio tokens."""
    smoothed: bool = True
    """Causal convolutions follow the transformer."""
    rotary: bool = True
    """Rotary positions; else sines are added."""
    audio: tuple[tuple[int, int, int], ...] = VQ_WAV2VEC
    """Channels, kernel and stride of the audio front end."""
    log_compression: bool = False
    """The front end ends in log(1 + |x|)."""
    lip: LipSizes | None = None
    """The lip regressor that conditions the face."""
    dropout: float = 0.1


BODY = DenoiserSizes()
FACE = DenoiserSizes(
    output=256, width=512, layers=8, key_frames=0, condition_layers=2, smoothed=False, lip=LipSizes()
)


@dataclass(frozen=True)
class Condition:
    """What a network is told of a clip, and what it is told instead when that is withheld."""

    tokens: Tensor  # audio [N, L, C]
    pooled: Tensor  # [N, C]
    keys: Tensor | None  # key poses [N, K, C]
    null_tokens: Tensor  # [1, L, C]
    null_pooled: Tensor  # [1, C]
    null_keys: Tensor | None  # [1, K, C]
    rows: int
    """Samples; N is this, or 1 where all samples are told the same."""

    def dropped(self, keep_audio: Tensor, keep_keys: Tensor | None = None) -> Condition:
        """The condition without the audio, or the key poses, of some samples: bool [B] each."""
        keys = self.keys
        if keys is not None and self.null_keys is not None and keep_keys is not None:
            keys = torch.where(keep_keys[:, None, None], keys, self.null_keys)
        return replace(
            self,
            tokens=torch.where(keep_audio[:, None, None], self.tokens, self.null_tokens),
            pooled=torch.where(keep_audio[:, None], self.pooled, self.null_pooled),
            keys=keys,
        )


@dataclass(frozen=True)
class Prepared:
    """Conditions as attention sees them, following one another in the batch."""

    pooled: Tensor  # [B, C]
    memory: list[list[KeysValues]]
    """Of each layer and condition: keys and values of the audio, with room for two tokens of the step."""
    keys: list[list[KeysValues]]
    """Of each layer and condition: those of the key poses."""
    length: int
    """Audio tokens L."""


class Steps(nn.Module):
    """Step numbers [B] as sines, then cosines [B, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, steps: Tensor) -> Tensor:
        """The embedding."""
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=steps.device) * -(math.log(10000) / (half - 1)))
        angles = steps.float()[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Smoothing(nn.Module):
    """Causal convolutions over the frames; a layer that keeps the channels gives the mean with its input."""

    def __init__(self, channels: int, width: int, dropout: float = 0.2) -> None:
        super().__init__()
        counts = [channels, width, *[channels] * (len(DILATIONS) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(taken, given, 3, dilation=dilation)
            for taken, given, dilation in zip(counts, counts[1:], DILATIONS, strict=False)
        )
        # parity: the published network keeps this dropout active also when it is evaluated in a training run
        # (spec 4.1, quirk 5); here only while it trains.
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Motion [B, T, C]."""
        x = F.pad(x.mT, (2 * sum(DILATIONS), 0))
        for convolution in self.convolutions:
            y = self.dropout(F.leaky_relu(convolution(x), 0.2))
            x = (x[..., -y.shape[-1] :] + y) / 2 if x.shape[1] == y.shape[1] else y
        smooth: Tensor = self.last(x).mT
        return smooth


class Denoiser(nn.Module):
    """Clean motion from noisy motion."""

    table: Tensor
    sines: Tensor

    def __init__(self, sizes: DenoiserSizes = BODY) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.front_end = FrontEnd(sizes.audio, "gelu", sizes.log_compression)
        self.lip = LipRegressor(sizes.lip) if sizes.lip else None
        lips = 3 * sizes.lip.vertices if sizes.lip else 0
        self.null_tokens = nn.Parameter(torch.randn(1, sizes.tokens, width))
        self.null_pooled = nn.Parameter(torch.randn(1, width))
        self.condition_in = nn.Linear(2 * self.front_end.channels + lips, width)
        self.condition_layers = nn.ModuleList(
            EncoderLayer(width, sizes.heads, sizes.feedforward, sizes.dropout)
            for _ in range(sizes.condition_layers)
        )
        self.pool = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.condition_norm = nn.LayerNorm(width)
        if sizes.key_frames:
            self.null_keys = nn.Parameter(torch.randn(1, sizes.key_frames, width))
            self.keys_in, self.keys_norm = nn.Linear(sizes.output, width), nn.LayerNorm(width)
        self.time = nn.Sequential(Steps(width), nn.Linear(width, 4 * width), nn.Mish())
        self.time_vector, self.time_tokens = nn.Linear(4 * width, width), nn.Linear(4 * width, 2 * width)
        self.frames_in, self.frames_out = nn.Linear(sizes.output, width), nn.Linear(width, sizes.output)
        self.layers = nn.ModuleList(
            DecoderLayer(
                width,
                sizes.heads,
                sizes.feedforward,
                dropout=sizes.dropout,
                has_keys=sizes.key_frames > 0,
            )
            for _ in range(sizes.layers)
        )
        self.smoothing = Smoothing(sizes.output, width) if sizes.smoothed else None
        self.input_dropout = nn.Dropout(sizes.dropout)
        self.register_buffer("table", rotary_table(sizes.tokens + 2, width), persistent=False)
        self.register_buffer("sines", sine_table(LONGEST_SINES, width), persistent=False)
        self._start()

    def _start(self) -> None:
        """Initial weights where they are not torch's; the audio networks are never trained (spec 4.1)."""
        for part in (self.layers, self.condition_layers, self.smoothing, self.frames_out):
            for module in part.modules() if part is not None else ():
                if isinstance(module, nn.Linear | nn.Conv1d) and module is not getattr(
                    self.smoothing, "last", None
                ):
                    nn.init.xavier_normal_(module.weight)
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for frozen in (self.front_end, self.lip):
            if frozen is not None:
                frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> Denoiser:
        """Training mode of all but the audio networks, whose dropout stays off.

        The published face training leaves it on inside the lip regressor (spec 9, quirk 6); `lip.train()`
        after this call does so too.
        """
        super().train(mode)
        self.front_end.eval()
        if self.lip is not None:
            self.lip.eval()
        return self

    def condition(
        self,
        audio: Tensor,
        keyframes: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Condition:
        """What does not depend on the noisy motion or the step; for a clip, worked out once.

        Args:
            audio: Normalised samples of both voices at 48 kHz [B, S, 2], S = 1600 T.
            keyframes: Normalised key poses, one a second [B, K, C]; left out: none are told.
            lengths: Frames of each sample that are no padding [B]; key poses after them count as zeros.
            features: What `conversation_features` gave for this audio with the same front end [B, L, 2 C].

        Raises:
            DataError: The clip is shorter than the front end needs, or longer than a window.
        """
        if features is None:
            self._check_length(audio.shape[1])
            features = conversation_features(self.front_end, audio)
        if self.lip is not None:
            with torch.no_grad():
                lips = self.lip(audio[..., 0]).flatten(2)  # [B, T, 3 V]
                lips = F.interpolate(lips.mT, features.shape[1], mode="nearest-exact").mT
            features = torch.cat([features, lips], dim=-1)
        tokens = self._placed(self.condition_in(features))
        for layer in self.condition_layers:
            tokens = layer(tokens, self._turns(tokens.shape[1]))
        keys, null_keys = self._key_tokens(audio, keyframes, lengths)
        return Condition(
            tokens,
            self.pool(tokens.mean(1)),
            keys,
            self.null_tokens[:, : tokens.shape[1]],
            self.null_pooled,
            null_keys,
            len(tokens),
        )

    def _check_length(self, samples: int) -> None:
        frames = samples // FRAME
        tokens = self.front_end.length(-(-samples // 3))
        most = self.sizes.tokens if self.sizes.rotary else min(self.sizes.tokens, LONGEST_SINES)
        if tokens > most:
            raise DataError(
                f"{frames} frames of audio give {tokens} tokens; the network sees at most {most} at once, "
                f"about {self.front_end.seconds(most):.0f} s",
                hint="use windows",
            )
        if tokens < 1:
            raise DataError(f"{frames} frames of audio are too few; expected at least 1")

    def _key_tokens(
        self, audio: Tensor, keyframes: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Tokens of the key poses, and those that stand for none."""
        if not self.sizes.key_frames:
            return None, None
        if keyframes is None:
            null = self.null_keys[:, : -(-audio.shape[1] // (FRAME * KEY_STEP))]
            return null.expand(len(audio), -1, -1), null
        if lengths is not None:
            frames = torch.arange(keyframes.shape[1], device=lengths.device) * KEY_STEP
            keyframes = keyframes * (frames < lengths[:, None])[..., None]
        tokens = self.keys_norm(self._placed(self.keys_in(keyframes)))
        return tokens, self.null_keys[:, : tokens.shape[1]]

    def null(self, condition: Condition) -> Condition:
        """The condition that tells nothing, of as many samples."""
        return replace(
            condition,
            tokens=condition.null_tokens,
            pooled=condition.null_pooled,
            keys=condition.null_keys,
        )

    def prepare(self, *conditions: Condition) -> Prepared:
        """Keys and values of conditions that follow one another in the batch, for a sampling loop."""
        length = conditions[0].tokens.shape[1]
        tokens = [self.condition_norm(condition.tokens) for condition in conditions]
        keys = [condition.keys for condition in conditions if condition.keys is not None]
        memory: list[list[KeysValues]] = []
        key_memory: list[list[KeysValues]] = []
        places = [rotated(one, self._turns(length)) for one in tokens]
        key_places = [rotated(one, self._turns(one.shape[1])) for one in keys]
        rows = [condition.rows for condition in conditions]
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            sides = [layer.cross_attn.keys_values(*pair) for pair in zip(places, tokens, strict=True)]
            memory.append(
                [
                    KeysValues(F.pad(side.keys, (0, 0, 0, 2)), F.pad(side.values, (0, 0, 0, 2)), count)
                    for side, count in zip(sides, rows, strict=True)
                ]
            )
            if layer.key_attn is not None:
                sides = [layer.key_attn.keys_values(*pair) for pair in zip(key_places, keys, strict=True)]
                key_memory.append(
                    [side._replace(rows=count) for side, count in zip(sides, rows, strict=True)]
                )
        pooled = [condition.pooled.expand(condition.rows, -1) for condition in conditions]
        return Prepared(torch.cat(pooled), memory, key_memory, length)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Prepared) -> Tensor:
        """Clean motion [B, T, C].

        Args:
            x: Noisy motion [B, T, C], or [B / n, T, C] where n conditions were prepared for the same motion.
            t: Step of each sample, in the steps that the network was trained with [B or B / n].
            condition: What the samples are told.
        """
        prepared = condition if isinstance(condition, Prepared) else self.prepare(condition)
        times = len(prepared.pooled) // len(t)
        step = self.time(t)
        vector = self.time_vector(step).repeat(times, 1) + prepared.pooled
        tokens = self.condition_norm(self.time_tokens(step).unflatten(-1, (2, -1))).repeat(times, 1, 1)
        is_one_step = bool((t == t[0]).all())
        places = rotated(tokens, self._turns(prepared.length + 2, prepared.length))
        x, table = self._placed(self.frames_in(x)), self._turns(x.shape[1])
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            new = layer.cross_attn.keys_values(places, tokens)
            memory = _with_step(prepared.memory[index], new, is_one_step)
            x = layer(x, vector, table, memory, prepared.keys[index] if prepared.keys else ())
        x = self.frames_out(x)
        return x if self.smoothing is None else self.smoothing(x)

    def _turns(self, last: int, first: int = 0) -> Tensor | None:
        return self.table[first:last] if self.sizes.rotary else None

    def _placed(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L, C] with sines added, in a network without rotary positions."""
        if self.sizes.rotary:
            return tokens
        placed: Tensor = self.input_dropout(tokens + self.sines[: tokens.shape[1]])
        return placed


def _with_step(memory: Sequence[KeysValues], step: KeysValues, is_one_step: bool) -> list[KeysValues]:
    """Memories whose last two tokens are the step's; written in place where nothing is differentiated."""
    filled, first = [], 0
    for side in memory:
        rows = slice(first, first + side.rows)
        first += side.rows
        keys, values = step.keys[rows], step.values[rows]
        if torch.is_grad_enabled() or (len(side.keys) < side.rows and not is_one_step):
            both = [
                torch.cat([old[:, :, :-2].expand(side.rows, -1, -1, -1), new], 2)
                for old, new in ((side.keys, keys), (side.values, values))
            ]
            filled.append(KeysValues(both[0], both[1], side.rows))
            continue
        side.keys[:, :, -2:], side.values[:, :, -2:] = keys[: len(side.keys)], values[: len(side.keys)]
        filled.append(side)
    return filled
