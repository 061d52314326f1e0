"""Samplers: loops over explicit step tables. Song et al., "Denoising Diffusion Implicit Models" (2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from avatarctl.diffusion.process import Process

Denoise = Callable[[Tensor, int], Tensor]
"""From a noisy sample and its index in the step table to the predicted clean sample."""


def ddim(process: Process, steps: Sequence[int], denoise: Denoise, start: Tensor) -> Tensor:
    """The sample reached from `start` by deterministic steps (eta 0), of its shape [B, ...].

    The signal left after the last step is that of step 0 (`set_alpha_to_one` false), so a last step at 0
    changes nothing and its network call is left out: equal to making it up to rounding (spec sparse-tracking
    6.2).

    Args:
        steps: Original step numbers, the noisiest first.
        denoise: Called with the sample and the place in `steps`.
        start: The sample at the first step [B, ...].
    """
    sample = start
    for place, step in enumerate(steps):
        if step == 0:
            break
        clean = denoise(sample, place)
        signal, noise = process.scales(step)
        next_signal, next_noise = process.scales(steps[place + 1] if place + 1 < len(steps) else 0)
        direction = (sample - signal * clean) / noise
        sample = next_signal * clean + next_noise * direction
    return sample
