"""The full-body decoder (spec 4.5) and the temporal refiner (spec 4.6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatarctl_sparse_tracking.model.denoiser import WINDOW, Condition
from avatarctl_sparse_tracking.model.stack import Stack


class Decoder(nn.Module):
    """Local 6D rotations of the whole body from both halves' latents and the trackers."""

    def __init__(
        self,
        *,
        layers: int = 4,
        width: int = 256,
        heads: int = 4,
        dropout: float = 0.1,
        latent: int = 384,
    ) -> None:
        super().__init__()
        self.condition = Condition(latent)
        self.frames_in = nn.Conv1d(WINDOW, WINDOW // 2, 1)
        self.from_latents = nn.Linear(3 * latent, width)
        self.stack = Stack(width, heads, layers, "up", dropout=dropout, input_dropout=dropout)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 126))
        self.root = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6))

    def forward(self, upper: Tensor, lower: Tensor, trackers: Tensor) -> Tensor:
        """Rotations [B, T, 132], root first, of latents [B, T / 2, D] and trackers [B, T, 3, 18]."""
        condition = self.frames_in(self.condition(trackers))
        tokens = self.from_latents(torch.cat([condition, upper, lower], dim=-1))
        mixed = self.stack(tokens)
        return torch.cat([self.root(mixed), self.body(mixed)], dim=-1)


class Refiner(nn.Module):
    """A recurrent network over a sequence of decoded frames that adds a small change to each."""

    def __init__(self, *, layers: int = 2, width: int = 512) -> None:
        super().__init__()
        self.recurrent = nn.GRU(132, width, layers, batch_first=True)
        self.change = nn.Linear(width, 132)

    def forward(self, frames: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The change of each frame [B, F, 132], and the state after the last [layers, B, C].

        Args:
            frames: Decoded rotations [B, F, 132].
            state: From the frames before; zeros where there are none.
        """
        hidden, state = self.recurrent(frames, state)
        return self.change(hidden), state
