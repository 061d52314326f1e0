"""Noise schedules and the forward process of denoising diffusion.

Ho et al., "Denoising Diffusion Probabilistic Models" (2020); the cosine schedule is from Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models" (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

OFFSET = 0.008
"""Keeps the first betas of the cosine schedule from vanishing."""


def cosine_betas(steps: int, largest: float = 0.999) -> Tensor:
    """Betas [steps] of the squared-cosine schedule, float64."""

    def kept(moment: float) -> float:
        """Share of the signal's variance left at a moment from 0 to 1."""
        return math.cos((moment + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

    betas = [min(1 - kept((step + 1) / steps) / kept(step / steps), largest) for step in range(steps)]
    return torch.tensor(betas, dtype=torch.float64)


def linear_betas(steps: int, first: float = 1e-4, last: float = 2e-2) -> Tensor:
    """Betas [steps] that grow evenly, float64; first and last are those of 1000 steps."""
    return torch.linspace(first * 1000 / steps, last * 1000 / steps, steps, dtype=torch.float64)


@dataclass(frozen=True)
class Posterior:
    """Gaussian of x_{t-1} given x_t and x_0, for each step: mean `clean` x_0 + `noisy` x_t; all [steps]."""

    clean: Tensor
    noisy: Tensor
    variance: Tensor
    log_variance: Tensor
    """Its first entry is the second one: the variance of step 0 is 0."""


class Process:
    """How signal turns into noise: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n.

    Tables have the number type of `betas`; what is taken from them is rounded to the samples' type last.
    """

    def __init__(self, betas: Tensor) -> None:
        self.betas = betas
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)

    def __len__(self) -> int:
        return len(self.betas)

    def respaced(self, steps: Sequence[int]) -> Process:
        """The process that knows only some of the steps, ascending; its step i is the original `steps[i]`."""
        kept = self.alphas_cumprod[list(steps)]
        before = torch.cat([kept.new_ones(1), kept[:-1]])
        return Process(1 - kept / before)

    def scales(self, step: int) -> tuple[float, float]:
        """Factors of the signal and of the noise at one step."""
        kept = float(self.alphas_cumprod[step])
        return math.sqrt(kept), math.sqrt(1 - kept)

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Noisy samples [B, ...] of clean ones at the step of each [B]."""
        kept = self.alphas_cumprod
        return at(kept.sqrt(), steps, clean) * clean + at((1 - kept).sqrt(), steps, clean) * noise

    def posterior(self) -> Posterior:
        """What the steps back are when x_0 is known."""
        kept, before = self.alphas_cumprod, torch.cat([self.betas.new_ones(1), self.alphas_cumprod[:-1]])
        variance = self.betas * (1 - before) / (1 - kept)
        return Posterior(
            clean=self.betas * before.sqrt() / (1 - kept),
            noisy=(1 - before) * (1 - self.betas).sqrt() / (1 - kept),
            variance=variance,
            log_variance=torch.cat([variance[1:2], variance[1:]]).log(),
        )


def at(table: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    """A table's entries at the step of each sample [B, 1, ...], in the number type of samples [B, ...]."""
    # Looked up on the CPU: not every device has float64.
    found = table[steps.cpu()].to(like.dtype).to(like.device)
    return found.reshape(-1, *(1,) * (like.dim() - 1))
