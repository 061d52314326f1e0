"""The VQ-VAE of one body half (spec 4.2): windows of rotations and trackers to product codes and back."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from avatarctl.quantize import ProductCodebook, Quantized
from avatarctl_sparse_tracking.model.stack import Stack

UPPER = (0, 3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
LOWER = (0, 1, 2, 4, 5, 7, 8, 10, 11)
HALVES = {"upper": UPPER, "lower": LOWER}
"""Joints of each half, root first, in the order of the networks' channels (spec 2.2)."""


class Vqvae(nn.Module):
    """Autoencoder of one half's rotations with a quantised latent of half as many tokens as frames."""

    def __init__(
        self,
        part: Literal["upper", "lower"],
        *,
        layers: int = 4,
        width: int = 256,
        heads: int = 4,
        dropout: float = 0.1,
        books: int = 8,
        codes: int = 64,
        latent: int = 384,
    ) -> None:
        super().__init__()
        joints = len(HALVES[part])
        self.trackers_in = nn.Conv1d(3, joints, 1)
        self.joints_in = nn.Linear(24 * joints, width)
        self.encoder = Stack(width, heads, layers, "down", dropout=dropout)
        self.to_latent = nn.Linear(width, latent)
        self.codebook = ProductCodebook(books, codes, latent)
        self.from_latent = nn.Linear(latent, width)
        # parity: the decoder's input dropout is 0.1, the encoder's 0 (spec 4.1).
        self.decoder = Stack(width, heads, layers, "up", dropout=dropout, input_dropout=dropout)
        self.rotations = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6 * joints))

    def embed(self, rotations: Tensor, trackers: Tensor) -> Tensor:
        """Tokens of the frames [B, T, C] of rotations [B, T, 6 J] and trackers [B, T, 3, 18]."""
        frames = trackers.shape[:2]
        spread = self.trackers_in(trackers.flatten(0, 1)).unflatten(0, frames)  # [B, T, J, 18]
        joined = torch.cat([rotations.unflatten(-1, (-1, 6)), spread], dim=-1)
        tokens: Tensor = self.joints_in(joined.flatten(2))
        return tokens

    def latents(self, rotations: Tensor, trackers: Tensor) -> Tensor:
        """Latents of windows before they are quantised [B, T / 2, D]; arguments as `embed`."""
        latents: Tensor = self.to_latent(self.encoder(self.embed(rotations, trackers)))
        return latents

    def encode(self, rotations: Tensor, trackers: Tensor) -> Quantized:
        """Quantised latents of windows; arguments as `embed`."""
        quantized: Quantized = self.codebook(self.latents(rotations, trackers))
        return quantized

    def decode(self, latents: Tensor) -> Tensor:
        """Rotations [B, T, 6 J] of latents [B, T / 2, D]."""
        rotations: Tensor = self.rotations(self.decoder(self.from_latent(latents)))
        return rotations

    def forward(self, rotations: Tensor, trackers: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstructed rotations [B, T, 6 J] and what the quantiser made of the latents."""
        quantized = self.encode(rotations, trackers)
        return self.decode(quantized.values), quantized
