"""Latents from trackers: five published steps of which four are computed (spec 6.1, 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.diffusion import Process, cosine_betas, ddim, leading_steps
from avatarctl_sparse_tracking.model import LatentDiffusion
from avatarctl_sparse_tracking.model.inference import FastDiffusion

# parity: the published schedulers round the betas and take their product in float32 (spec 6.1).
PROCESS = Process(cosine_betas(1000).float())
STEPS = leading_steps(1000, 5)
START = 0.01
"""Scale of the first sample; the schedule would have 0.95 (quirk 2)."""

Starts = Callable[[int, int], tuple[Tensor, Tensor]]
"""Standard normal starts of frames first to last - 1 of a recording: upper and lower [n, L, D] (spec 6.2)."""


def seeded_starts(seed: int, tokens: int, latent: int) -> Starts:
    """Starts that depend on the seed and a frame's number alone, so that batches and streams agree."""

    def starts(first: int, last: int) -> tuple[Tensor, Tensor]:
        drawn = [
            Noise.seeded(seed, f"sampling {frame}").normal((2, tokens, latent))
            for frame in range(first, last)
        ]
        upper, lower = torch.stack(drawn).unbind(1)
        return upper, lower

    return starts


def sample(
    network: LatentDiffusion | FastDiffusion,
    trackers: Tensor,
    noise: Tensor,
    given: Tensor | None = None,
    steps: Sequence[int] = STEPS,
) -> Tensor:
    """Latents [B, L, D] of windows of trackers [B, T, 3, 18].

    Args:
        noise: Standard normal numbers, or zeros [B, L, D].
        given: The upper half's latents, for the lower half [B, L, D].
        steps: Step numbers, the noisiest first.
    """
    return ddim(PROCESS, steps, network.denoising(trackers, steps, given), START * noise)


def latents_of(
    upper: LatentDiffusion | FastDiffusion,
    lower: LatentDiffusion | FastDiffusion,
    trackers: Tensor,
    noise_upper: Tensor,
    noise_lower: Tensor,
    steps: Sequence[int] = STEPS,
) -> tuple[Tensor, Tensor]:
    """Sampled latents of both halves [B, L, D]."""
    first = sample(upper, trackers, noise_upper, steps=steps)
    return first, sample(lower, trackers, noise_lower, first, steps)
