"""The guide: codes of key poses, one after the other, from two voices (spec 4.5, 6.3).

Codes follow one another in time, those of one key pose coarse to fine. What the voices tell is worked out
once for a clip; each new code is one pass of one token, which looks at the kept keys and values of those
before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl_audio2motion.model.attention import DecoderLayer, KeysValues, Past, rotary_table, rotated
from avatarctl_audio2motion.model.front_end import (
    FRAME,
    VQ_WAV2VEC,
    FrontEnd,
    conversation_features,
    num_features,
)

DILATIONS = (1, 2, 3, 1, 2, 3)
"""Of the convolutions of kernel 3 in one audio layer."""
LEAK, AUDIO_DROPOUT = 0.2, 0.2

Draw = Callable[[Tensor], Tensor]
"""From probabilities of the ranks, falling [B, codes], to one rank of each row [B]."""


@dataclass(frozen=True)
class GuideSizes:
    """Sizes of the guide; the defaults are those of the published checkpoints."""

    width: int = 64
    feedforward: int = 1024
    layers: int = 6
    heads: int = 4
    codes: int = 1024
    """Codes in each of the codec's books."""
    depth: int = 4
    """Codes of one key pose."""
    audio_layers: int = 2
    """Groups of six convolutions over the audio features."""
    tokens: int = 1998
    """Most audio features of a window: 100 a second, 20 s."""
    audio: tuple[tuple[int, int, int], ...] = VQ_WAV2VEC
    """Channels, kernel and stride of the audio front end."""
    log_compression: bool = False
    """The front end ends in log(1 + |x|)."""
    dropout: float = 0.1


@dataclass(frozen=True)
class Told:
    """What the voices tell, as the layers take it."""

    memory: list[KeysValues]
    """Of each layer."""
    pooled: Tensor  # [B, C]


class Guide(nn.Module):
    """A causal transformer over codes, modulated by the voices and looking at them."""

    table: Tensor

    def __init__(self, sizes: GuideSizes) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.front_end = FrontEnd(sizes.audio, "gelu", sizes.log_compression).requires_grad_(False)
        channels = 2 * self.front_end.channels
        self.null_tokens = nn.Parameter(torch.randn(1, sizes.tokens, width))
        self.null_pooled = nn.Parameter(torch.randn(1, width))
        self.codes_in = nn.Embedding(sizes.codes + 1, width)
        self.audio_stack = nn.Sequential()
        for dilation in DILATIONS * sizes.audio_layers:
            self.audio_stack.append(nn.Conv1d(channels, channels, 3, dilation=dilation))
            self.audio_stack.extend([nn.LeakyReLU(LEAK), nn.Dropout(AUDIO_DROPOUT)])
        self.audio_stack.append(nn.Conv1d(channels, channels, 1))
        self.condition_in = nn.Linear(channels, width)
        self.condition_norm = nn.LayerNorm(width)
        self.pool = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.layers = nn.ModuleList(
            DecoderLayer(width, sizes.heads, sizes.feedforward, dropout=sizes.dropout)
            for _ in range(sizes.layers)
        )
        self.codes_out = nn.Linear(width, sizes.codes)
        self.register_buffer("table", rotary_table(sizes.tokens, width), persistent=False)

    @property
    def start(self) -> int:
        """The token before the first code."""
        return self.sizes.codes

    def train(self, mode: bool = True) -> Guide:
        """Training mode of all but the audio front end, which is never trained."""
        super().train(mode)
        self.front_end.eval()
        return self

    def features(self, audio: Tensor) -> Tensor:
        """Vectors of both voices [B, L, 2 C] of normalised samples at 48 kHz [B, S, 2].

        Raises:
            DataError: The clip is shorter than the convolutions need, or longer than a window.
        """
        frames, found = audio.shape[1] // FRAME, self.front_end.length(-(-audio.shape[1] // 3))
        lost = 2 * sum(DILATIONS) * self.sizes.audio_layers
        if found <= lost:
            least = next(
                count for count in itertools.count(frames) if num_features(self.front_end, count) > lost
            )
            raise DataError(
                f"{frames} frames of audio are too few for the guide; expected at least {least}",
                hint="take a longer clip, or add silence at its end",
            )
        if found > self.sizes.tokens:
            raise DataError(
                f"{frames} frames of audio give {found} tokens; the guide sees at most {self.sizes.tokens} "
                f"at once, about {self.front_end.seconds(self.sizes.tokens):.0f} s",
                hint="use windows",
            )
        return conversation_features(self.front_end, audio)

    def forward(self, tokens: Tensor, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """What each token says of the code after it: logits [B, n, codes].

        Args:
            tokens: The start token and codes, int64 [B, n].
            features: From `features` [B, L, 2 C].
            keep: Samples that are told of the voices [B]; left out: all.
        """
        return self._logits(tokens, self._told(features, keep))

    @torch.no_grad()
    def generate(
        self,
        audio: Tensor | None,
        keys: int,
        top_p: float,
        draw: Draw,
        prefix: Tensor | None = None,
        *,
        features: Tensor | None = None,
        rows: int | None = None,
    ) -> Tensor:
        """Codes of key poses [B, K, depth], one a second, drawn from the most probable ones.

        Args:
            audio: Normalised samples of both voices at 48 kHz [B, S, 2]; not read where `features` are given.
            keys: Number K of key poses, those of the prefix among them.
            top_p: Codes are taken by falling probability until these sum to so much; the rest is never drawn.
            draw: Draws ranks; `drawn_by` makes one of noise.
            prefix: Codes of the first key poses, which are kept [B, k, depth].
            features: From `features` [B, L, 2 C].
            rows: Sequences B, where one clip is given for all of them.
        """
        if features is None:
            assert audio is not None
            features = self.features(audio)
        rows = rows or len(features)
        told = self._told(features)
        told = Told([one._replace(rows=rows) for one in told.memory], told.pooled.expand(rows, -1))
        depth, pasts = self.sizes.depth, [Past() for _ in self.layers]
        tokens = torch.full((rows, 1), self.start, device=features.device)
        if prefix is not None:
            tokens = torch.cat([tokens, prefix.flatten(1)], dim=1)
        while tokens.shape[1] <= keys * depth:
            new = tokens[:, len(pasts[0]) :] if self.layers else tokens[:, -1:]
            chosen = choose(self._logits(new, told, pasts)[:, -1], top_p, draw)
            tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        return tokens[:, 1:].unflatten(1, (-1, depth))

    def _told(self, features: Tensor, keep: Tensor | None = None) -> Told:
        """What the layers take of the voices."""
        tokens = self.condition_in(self.audio_stack(features.mT).mT)
        if keep is not None:
            tokens = torch.where(keep[:, None, None], tokens, self.null_tokens[:, : tokens.shape[1]])
        pooled = self.pool(tokens.mean(dim=1))
        if keep is not None:
            pooled = torch.where(keep[:, None], pooled, self.null_pooled)
        memory = self.condition_norm(tokens)
        places = rotated(memory, self.table[: memory.shape[1]])
        return Told([layer.cross_attn.keys_values(places, memory) for layer in self._stack()], pooled)

    def _logits(self, tokens: Tensor, told: Told, pasts: Sequence[Past] = ()) -> Tensor:
        """Logits of tokens [B, n] that come after those of the layers' pasts, to which they are added."""
        first = len(pasts[0]) if pasts else 0
        x, table = self.codes_in(tokens), self.table[first : first + tokens.shape[1]]
        for index, layer in enumerate(self._stack()):
            past = pasts[index] if pasts else None
            x = layer(x, told.pooled, table, [told.memory[index]], past=past, is_causal=True)
        logits: Tensor = self.codes_out(x)
        return logits

    def _stack(self) -> list[DecoderLayer]:
        return list(self.layers)  # type: ignore[arg-type]


def choose(logits: Tensor, top_p: float, draw: Draw) -> Tensor:
    """A code of each row [B] of logits [B, codes]: nucleus sampling (spec 6.3)."""
    probabilities, codes = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    before = probabilities.cumsum(dim=-1)[:, :-1]
    kept = probabilities.clone()
    kept[:, 1:] *= before < top_p
    ranks = draw(kept / kept.sum(dim=-1, keepdim=True))
    return codes.gather(1, ranks[:, None])[:, 0]


def drawn_by(noises: Sequence[Noise]) -> Draw:
    """Ranks drawn by one stream of each row, so that a row does not depend on those beside it."""

    def draw(probabilities: Tensor) -> Tensor:
        heights = torch.cat([noise.uniform((1,)) for noise in noises]).to(probabilities.device)
        ends = probabilities.cumsum(dim=-1)
        # The last rank that has a chance, where rounding leaves the sum below the drawn height.
        last = (probabilities > 0).sum(dim=-1) - 1
        return torch.minimum((ends <= heights[:, None]).sum(dim=-1), last)

    return draw
