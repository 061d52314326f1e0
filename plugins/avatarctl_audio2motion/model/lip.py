"""Lip shapes from a voice: the frozen regressor that the face network is conditioned on (spec 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarctl.audio.resample import resample
from avatarctl_audio2motion.model.attention import MultiHeadAttention
from avatarctl_audio2motion.model.front_end import FRAME, INNER_RATE, RATE, WAV2VEC_LARGE, FrontEnd

CHUNK = 120
"""Frames that are seen at once."""
LEAD = 320
"""Samples of silence before a chunk, at 16 kHz."""
POSITIONS = 1024


@dataclass(frozen=True)
class LipSizes:
    """Sizes of the regressor; the published ones."""

    layers: tuple[tuple[int, int, int], ...] = WAV2VEC_LARGE
    """Channels, kernel and stride of the front end's convolutions."""
    kernels: tuple[int, ...] = tuple(range(2, 14))
    """Kernels of the convolutions after it."""
    heads: int = 4
    feedforward: int = 1024
    encoder_layers: int = 2
    decoder_layers: int = 4
    vertices: int = 338

    @property
    def width(self) -> int:
        """Width of the transformer: that of the front end."""
        return self.layers[-1][0]


def sine_table(length: int, width: int) -> Tensor:
    """Positions [length, width]: even columns sines, odd columns cosines."""
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = torch.arange(length).float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Aggregator(nn.Module):
    """Causal convolutions of growing kernels, with residuals."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            nn.Sequential(
                nn.ReplicationPad1d((kernel - 1, 0)),
                nn.Conv1d(width, width, kernel),
                nn.Identity(),  # the dropout of the published list, so that names agree
                nn.GroupNorm(1, width),
                nn.ReLU(),
            )
            for kernel in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [B, C, L]."""
        for layer in self.conv_layers:
            x = (layer(x) + x) * math.sqrt(0.5)
        return x


class LipLayer(nn.Module):
    """Self-attention, in a decoder attention to the sound, two maps; each on normalised tokens, added."""

    def __init__(self, sizes: LipSizes, dropout: float = 0.1, *, is_decoder: bool) -> None:
        super().__init__()
        width = sizes.width
        self.attn = MultiHeadAttention(width, sizes.heads, dropout)
        self.cross = MultiHeadAttention(width, sizes.heads, dropout) if is_decoder else None
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width) if is_decoder else None
        self.feedforward = nn.Sequential(
            nn.Linear(width, sizes.feedforward),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(sizes.feedforward, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Tokens [B, T, C]; `memory` is what the decoder looks at [B, L, C]."""
        tokens = self.norm1(x)
        x = x + self.dropout(self.attn(tokens, tokens))
        if self.cross is None or self.norm3 is None or memory is None:
            return x + self.dropout(self.feedforward(self.norm2(x)))
        found = self.cross.attend(self.norm2(x), [self.cross.keys_values(memory, memory)])
        x = x + self.dropout(found)
        return x + self.dropout(self.feedforward(self.norm3(x)))


class LipRegressor(nn.Module):
    """Lip vertices of each frame from one voice."""

    positions: Tensor

    def __init__(self, sizes: LipSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or LipSizes()
        self.front_end = FrontEnd(sizes.layers, "relu", log_compression=True)
        self.aggregator = Aggregator(sizes.width, sizes.kernels)
        self.encoder = nn.ModuleList(LipLayer(sizes, is_decoder=False) for _ in range(sizes.encoder_layers))
        self.decoder = nn.ModuleList(LipLayer(sizes, is_decoder=True) for _ in range(sizes.decoder_layers))
        self.vertices = nn.Linear(sizes.width, 3 * sizes.vertices)
        self.register_buffer("positions", sine_table(POSITIONS, sizes.width), persistent=False)

    def forward(self, voice: Tensor) -> Tensor:
        """Vertices of each frame [B, T, V, 3], whole chunks at once and the shorter last one.

        Args:
            voice: Normalised samples at 48 kHz [B, S].
        """
        frames = voice.unflatten(-1, (-1, FRAME))
        whole = frames.shape[1] // CHUNK * CHUNK
        parts = []
        if whole:
            chunks = frames[:, :whole].reshape(-1, CHUNK * FRAME)  # [B chunks, samples]
            parts.append(self.chunk(chunks).unflatten(0, (len(voice), -1)).flatten(1, 2))
        if whole < frames.shape[1]:
            parts.append(self.chunk(frames[:, whole:].flatten(1)))
        return torch.cat(parts, dim=1)

    def chunk(self, voice: Tensor) -> Tensor:
        """Vertices [B, T, V, 3] of samples that are seen at once [B, S]."""
        memory = self.heard(voice)
        memory = memory + self.positions[: memory.shape[1]]
        for layer in self.encoder:
            memory = layer(memory)
        x = self.positions[: voice.shape[-1] // FRAME].expand(len(voice), -1, -1)
        for layer in self.decoder:
            x = layer(x, memory)
        return self.vertices(x).unflatten(-1, (self.sizes.vertices, 3))

    def heard(self, voice: Tensor) -> Tensor:
        """Vectors of the sound of a chunk [B, L, C]."""
        sound = F.pad(resample(voice, RATE, INNER_RATE), (LEAD, 0))
        return self.aggregator(self.front_end(sound)).mT
