"""Noise schedules and the forward process of denoising diffusion.

Ho et al., "Denoising Diffusion Probabilistic Models" (2020); the cosine schedule is from Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models" (2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET = 0.008
"""Keeps the first betas of the cosine schedule from vanishing."""


def cosine_betas(steps: int, largest: float = 0.999) -> Tensor:
    """Betas [steps] of the squared-cosine schedule, float32 rounded from float64."""

    def kept(moment: float) -> float:
        """Share of the signal's variance left at a moment from 0 to 1."""
        return math.cos((moment + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

    betas = [min(1 - kept((step + 1) / steps) / kept(step / steps), largest) for step in range(steps)]
    return torch.tensor(betas, dtype=torch.float64).float()


def leading_steps(steps: int, kept: int) -> list[int]:
    """`kept` of the original step numbers, evenly spaced from 0, the noisiest first ("leading" spacing)."""
    stride = steps // kept
    return [stride * index for index in reversed(range(kept))]


class Process:
    """How signal turns into noise: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n."""

    def __init__(self, betas: Tensor) -> None:
        self.betas = betas
        # parity: the published schedulers take the product in float32 (spec sparse-tracking 6.1).
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)

    def __len__(self) -> int:
        return len(self.betas)

    def scales(self, step: int) -> tuple[float, float]:
        """Factors of the signal and of the noise at one step."""
        kept = float(self.alphas_cumprod[step])
        return math.sqrt(kept), math.sqrt(1 - kept)

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Noisy samples [B, ...] of clean ones at the step of each [B]."""
        kept = self.alphas_cumprod.to(clean.device)[steps].to(clean.dtype)
        kept = kept.reshape(-1, *(1,) * (clean.dim() - 1))
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise
