"""The latent diffusion model of one body half (spec 4.4): a transformer modulated by the time step.

Peebles and Xie, "Scalable Diffusion Models with Transformers" (2023), with the trackers as a second input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 20
"""Frames in a window."""
TIME_WIDTH = 256
ROWS = 22
"""Rows of the condition: the trackers spread over the body's joints."""
HIDDEN = 0.01
"""What hidden rows, and hidden rotations, are set to."""


def time_table(steps: Tensor) -> Tensor:
    """Embedding of step numbers [B]: 128 cosines, then 128 sines [B, 256]."""
    half = TIME_WIDTH // 2
    rate = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=steps.device) / half)
    angle = steps.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Condition(nn.Module):
    """Trackers [B, T, 3, 18] to one token a frame [B, T, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trackers = nn.Conv1d(3, ROWS, 1)
        self.project = nn.Linear(ROWS * 18, width)

    def forward(self, trackers: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The tokens.

        Args:
            hidden: True for rows that are hidden over the whole window, in training [B, 22].
        """
        rows = self.trackers(trackers.flatten(0, 1)).unflatten(0, trackers.shape[:2])  # [B, T, 22, 18]
        if hidden is not None:
            rows = rows.masked_fill(hidden[:, None, :, None], HIDDEN)
        tokens: Tensor = self.project(rows.flatten(2))
        return tokens


class Attention(nn.Module):
    """Full self-attention, query, key and value from one product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed tokens [B, L, C]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(
            F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        )
        return mixed


class Mlp(nn.Module):
    """Two layers with the tanh form of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, L, C]."""
        result: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return result


class Block(nn.Module):
    """Attention and a network, each shifted, scaled and gated by the time step."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(width, heads), Mlp(width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def modulated(self, time: Tensor) -> Tensor:
        """What embedded steps [B, C] say to this block [B, 1, 6 C]."""
        modulation: Tensor = self.modulation(time)[:, None]
        return modulation

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Tokens [B, L, C].

        Args:
            modulation: Shift, scale and gate of the two halves, of each sample or of all [B or 1, 1, 6 C].
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        x = x + gate1 * self.attn(_norm(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(_norm(x) * (1 + scale2) + shift2)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class Denoiser(nn.Module):
    """Clean latents from noisy ones; the lower half's is also given the upper half's latents."""

    def __init__(self, *, depth: int, width: int, heads: int, latent: int, is_given: bool) -> None:
        super().__init__()
        self.width = width
        layers = nn.Linear(TIME_WIDTH, width), nn.Linear(width, width)
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.02)
        self.time = nn.Sequential(layers[0], nn.SiLU(), layers[1])
        self.frames_in = nn.Conv1d(WINDOW, WINDOW // 2, 1)
        self.join = nn.Linear(2 * latent, latent) if is_given else None
        self.align = nn.Conv1d(WINDOW // 2, WINDOW // 2, 1)
        self.enter = nn.Linear(width + latent, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.leave = nn.Linear(width, latent)

    def embedded(self, steps: Tensor) -> Tensor:
        """Step numbers [B] as vectors [B, C]."""
        time: Tensor = self.time(time_table(steps))
        return time

    def modulations(self, steps: Tensor) -> list[Tensor]:
        """What the step numbers [B] say to each block [B, 1, 6 C]; constant while the weights are."""
        time = self.embedded(steps)
        return [block.modulated(time) for block in self.blocks]  # type: ignore[operator]

    def context(self, condition: Tensor) -> Tensor:
        """The condition's share of the tokens [B, L, C], constant over the steps."""
        return F.linear(self.frames_in(condition), self.enter.weight[:, : self.width], self.enter.bias)

    def forward(
        self, noisy: Tensor, modulations: list[Tensor], context: Tensor, given: Tensor | None = None
    ) -> Tensor:
        """Clean latents [B, L, D].

        Args:
            noisy: Noisy latents [B, L, D].
            modulations: Of the step, from `modulations`.
            context: From `context`.
            given: The upper half's latents [B, L, D].
        """
        if self.join is not None and given is not None:
            noisy = self.join(torch.cat([given, noisy], dim=-1))
        x = context + F.linear(self.align(noisy), self.enter.weight[:, self.width :])
        for block, modulation in zip(self.blocks, modulations, strict=True):
            x = block(x, modulation)
        clean: Tensor = self.leave(x)
        return clean


class LatentDiffusion(nn.Module):
    """Condition and denoiser of one body half."""

    def __init__(
        self, part: str, *, depth: int = 12, width: int = 512, heads: int = 8, latent: int = 384
    ) -> None:
        super().__init__()
        self.latent, self.tokens = latent, WINDOW // 2
        self.condition = Condition(width)
        self.denoiser = Denoiser(
            depth=depth, width=width, heads=heads, latent=latent, is_given=part == "lower"
        )

    def forward(
        self,
        noisy: Tensor,
        steps: Tensor,
        trackers: Tensor,
        given: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Clean latents [B, L, D] of noisy ones at the step of each [B], for training."""
        context = self.denoiser.context(self.condition(trackers, hidden))
        clean: Tensor = self.denoiser(noisy, self.denoiser.modulations(steps), context, given)
        return clean

    def denoising(
        self, trackers: Tensor, steps: Sequence[int], given: Tensor | None = None
    ) -> Callable[[Tensor, int], Tensor]:
        """From noisy latents [B, L, D] and a place in `steps` to clean latents, for windows of trackers.

        Args:
            given: The upper half's latents, for the lower half [B, L, D].
        """
        denoiser = self.denoiser
        modulations = [denoiser.modulations(torch.tensor([step], device=trackers.device)) for step in steps]
        context = denoiser.context(self.condition(trackers))

        def denoise(noisy: Tensor, place: int) -> Tensor:
            clean: Tensor = denoiser(noisy, modulations[place], context, given)
            return clean

        return denoise
