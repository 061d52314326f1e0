"""Latents from trackers: five published steps of which four are computed (spec 6.1, 6.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.diffusion import Process, cosine_betas, ddim, leading_steps
from avatarctl_sparse_tracking.model import LatentDiffusion

PROCESS = Process(cosine_betas(1000))
STEPS = leading_steps(1000, 5)
START = 0.01
"""Scale of the first sample; the schedule would have 0.95 (quirk 2)."""


def sample(network: LatentDiffusion, trackers: Tensor, noise: Tensor, given: Tensor | None = None) -> Tensor:
    """Latents [B, L, D] of windows of trackers [B, T, 3, 18].

    Args:
        noise: Standard normal numbers, or zeros [B, L, D].
        given: The upper half's latents, for the lower half [B, L, D].
    """
    denoiser = network.denoiser
    modulations = [denoiser.modulations(torch.tensor([step], device=trackers.device)) for step in STEPS]
    context = denoiser.context(network.condition(trackers))

    def denoise(noisy: Tensor, place: int) -> Tensor:
        clean: Tensor = denoiser(noisy, modulations[place], context, given)
        return clean

    return ddim(PROCESS, STEPS, denoise, START * noise)


def latents_of(
    upper: LatentDiffusion, lower: LatentDiffusion, trackers: Tensor, noise_upper: Tensor, noise_lower: Tensor
) -> tuple[Tensor, Tensor]:
    """Sampled latents of both halves [B, L, D]."""
    first = sample(upper, trackers, noise_upper)
    return first, sample(lower, trackers, noise_lower, first)
