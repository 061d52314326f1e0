"""Residual codec of key poses, one a second: causal encoder, books of codes, causal decoder (spec 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from avatarctl.device import Noise, parallel
from avatarctl.quantize import Quantized, ResidualCodebook

DILATIONS = (1, 2, 3, 1)
LEAK = 0.2


@dataclass(frozen=True)
class CodecSizes:
    """Sizes of the codec; the defaults are those of the published checkpoints."""

    channels: int = 104
    """Numbers of a pose."""
    width: int = 64
    """Channels of a latent."""
    codes: int = 1024
    """Codes in each book."""
    depth: int = 4
    """Books, coarse to fine."""


class Codec(nn.Module):
    """Key poses to codes and back; a key pose's codes look at it and at the seven before it."""

    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = nn.Sequential(nn.Conv1d(sizes.channels, sizes.width, 1), nn.LeakyReLU(LEAK))
        self.encoder.extend(_stack(sizes.width))
        self.codebook = ResidualCodebook(sizes.depth, sizes.codes, sizes.width)
        self.decoder = nn.Sequential(*_stack(sizes.width), nn.LeakyReLU(LEAK))
        self.decoder.append(nn.Conv1d(sizes.width, sizes.channels, 1))
        # parity: published files hold this layer, and nothing uses it (spec 4.4).
        self.mean_shape = nn.Linear(sizes.channels, sizes.width)

    def latents(self, keys: Tensor) -> Tensor:
        """What is quantised [B, K, width], of normalised key poses [B, K, channels]."""
        found: Tensor = self.encoder(_padded(keys)).mT
        return found

    def poses(self, latents: Tensor) -> Tensor:
        """Normalised key poses [B, K, channels] of latents [B, K, width]."""
        found: Tensor = self.decoder(_padded(latents)).mT
        return found

    def encode(self, keys: Tensor) -> Tensor:
        """Codes of normalised key poses [B, K, channels], coarse to fine, int64 [B, K, depth]."""
        return self.codebook.encode(self.latents(keys))

    def decode(self, codes: Tensor) -> Tensor:
        """Normalised key poses [B, K, channels] of codes [B, K, depth]."""
        return self.poses(self.codebook.decode(codes))

    def forward(
        self, keys: Tensor, noise: Noise | None = None, revive_below: float = 0.0
    ) -> tuple[Tensor, Quantized]:
        """Reconstructed key poses [B, K, channels], and what the codebooks made of all ranks' key poses.

        In training the codebooks move by what they see, so every rank shows them the whole batch.

        Args:
            noise, revive_below: As `ResidualCodebook` takes them.
        """
        latents = self.latents(keys)
        quantized: Quantized = self.codebook(parallel.all_rows(latents), noise, revive_below)
        first = parallel.rank() * len(keys)
        return self.poses(quantized.values[first : first + len(keys)]), quantized


def _stack(width: int) -> list[nn.Module]:
    """Convolutions over two key poses each, with leaks between them."""
    layers: list[nn.Module] = []
    for dilation in DILATIONS:
        layers += [nn.Conv1d(width, width, 2, dilation=dilation), nn.LeakyReLU(LEAK)]
    return layers[:-1]


def _padded(rows: Tensor) -> Tensor:
    """Rows [B, K, C] as channels [B, C, 7 + K], with as many zeros in front as the stack looks back."""
    return F.pad(rows.mT, (sum(DILATIONS), 0))
