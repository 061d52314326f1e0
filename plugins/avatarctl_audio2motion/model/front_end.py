"""The convolutional front ends of wav2vec that turn sound into vectors, 100 a second as published (spec 4.2).

Schneider et al., "wav2vec" (2019); Baevski et al., "vq-wav2vec" (2020). Only their convolutions are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from avatarctl.audio.resample import resample

Layers = Sequence[tuple[int, int, int]]
"""Channels, kernel and stride of each convolution."""
RATE, INNER_RATE = 48000, 16000
"""Samples per second of the recordings, and inside the networks."""
FRAME = 1600
"""Samples of a video frame (30 a second)."""
VQ_WAV2VEC = ((512, 10, 5), (512, 8, 4), *[(512, 4, 2)] * 3, *[(512, 1, 1)] * 3)
WAV2VEC_LARGE = VQ_WAV2VEC[:-1]


class FrontEnd(nn.Module):
    """Convolutions, each normalised over all channels and times of a clip.

    Args:
        log_compression: The last step is log(1 + |x|).
    """

    def __init__(
        self,
        layers: Layers = VQ_WAV2VEC,
        activation: Literal["gelu", "relu"] = "gelu",
        log_compression: bool = False,
    ) -> None:
        super().__init__()
        self.log_compression = log_compression
        self.layers = tuple((kernel, stride) for _, kernel, stride in layers)
        self.channels = layers[-1][0]
        before = [1, *(channels for channels, _, _ in layers)]
        self.conv_layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(taken, channels, kernel, stride, bias=False),
                nn.Identity(),  # the dropout of the published list, so that names agree
                nn.GroupNorm(1, channels),
                nn.GELU() if activation == "gelu" else nn.ReLU(),
            )
            for taken, (channels, kernel, stride) in zip(before, layers, strict=False)
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Vectors [B, C, L] of samples at 16 kHz [B, n]."""
        x = samples[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return (x.abs() + 1).log() if self.log_compression else x

    def length(self, samples: int) -> int:
        """Number of vectors of that many samples at 16 kHz; 0 where there are too few."""
        for kernel, stride in self.layers:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def seconds(self, vectors: int) -> float:
        """Length of the sound that so many vectors stand for."""
        return vectors * math.prod(stride for _, stride in self.layers) / INNER_RATE


@torch.no_grad()
def conversation_features(front_end: FrontEnd, audio: Tensor) -> Tensor:
    """Vectors of both voices side by side [B, L, 2 C]; the front end is not trained.

    Args:
        audio: Normalised samples of both voices at 48 kHz [B, S, 2].
    """
    sound = resample(audio.mT, RATE, INNER_RATE)  # [B, 2, n]
    # One voice at a time: the first convolution alone gives 0.13 GB for 20 s.
    voices = [torch.cat([front_end(voice[None]) for voice in both], 1) for both in sound]
    return torch.cat(voices).mT.contiguous()


def num_features(front_end: FrontEnd, frames: int) -> int:
    """Number of vectors of that many video frames."""
    return front_end.length(-(-frames * FRAME * INNER_RATE // RATE))
