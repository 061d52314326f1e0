"""Clean motion from noise: kept steps, guidance, and the loop (spec 6.1, 6.2).

    kept = kept_steps("ddim100", STEPS)
    motion = sample(guided(network, condition, 10.0, kept), noise, kept)

Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from avatarctl.diffusion import Denoise, Process, cosine_betas, ddim, kept_steps, linear_betas
from avatarctl_audio2motion.model.denoiser import Condition, Denoiser

STEPS = 1000
"""Steps of the diffusion; what args.json says of it is ignored (quirk 3)."""
SCHEDULES: dict[str, Callable[[int], Tensor]] = {"cosine": cosine_betas, "linear": linear_betas}
"""Betas of the noise schedules."""


@cache
def process_of(schedule: str) -> Process:
    """The diffusion process of a noise schedule by its name."""
    return Process(SCHEDULES[schedule](STEPS))


def guided(network: Denoiser, condition: Condition, scale: float, kept: Sequence[int]) -> Denoise:
    """The network's prediction u + scale (c - u) with the condition (c) and without (u), as one batch.

    Args:
        scale: 1 is the plain prediction with the condition, 0 that without; neither needs the other.
        kept: Original step numbers, ascending; the prediction is called with places from their end.
    """
    told = {0.0: [network.null(condition)], 1.0: [condition]}
    with torch.no_grad():
        prepared = network.prepare(*told.get(scale, [condition, network.null(condition)]))

    @torch.no_grad()
    def predict(sample: Tensor, place: int) -> Tensor:
        steps = torch.full((len(sample),), kept[-1 - place], device=sample.device)
        made: Tensor = network(sample, steps, prepared)
        if len(made) == len(sample):
            return made
        with_condition, without = made.chunk(2)
        return without + scale * (with_condition - without)

    return predict


def sample(predict: Denoise, noise: Tensor, kept: Sequence[int], schedule: str = "cosine") -> Tensor:
    """Clean motion [B, T, C] from standard normal noise [B, T, C]: the last prediction.

    Args:
        predict: From noisy motion and the place of a step, the noisiest first, to clean motion.
        kept: Original step numbers, ascending.
    """
    process = process_of(schedule).respaced(kept)
    return ddim(process, range(len(kept))[::-1], predict, noise, to_clean=True)


__all__ = ["SCHEDULES", "STEPS", "Denoise", "guided", "kept_steps", "process_of", "sample"]
