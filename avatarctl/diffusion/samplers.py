"""Samplers: loops over explicit step tables. Song et al., "Denoising Diffusion Implicit Models" (2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from avatarctl.diffusion.process import Process

Denoise = Callable[[Tensor, int], Tensor]
"""From a noisy sample and its index in the step table to the predicted clean sample."""


def ddim(
    process: Process, steps: Sequence[int], denoise: Denoise, start: Tensor, *, to_clean: bool = False
) -> Tensor:
    """The sample reached from `start` by deterministic steps (eta 0), of its shape [B, ...].

    Args:
        steps: Step numbers of the process, the noisiest first.
        denoise: Called with the sample and the place in `steps`.
        start: The sample at the first step [B, ...].
        to_clean: End at the last prediction of the clean sample. Else the signal left after the last step is
            that of step 0 (`set_alpha_to_one` false), so a last step at 0 changes nothing and its network
            call is left out: equal to making it up to rounding (spec sparse-tracking 6.2).
    """
    sample = start
    for place, step in enumerate(steps):
        if step == 0 and not to_clean:
            break
        clean = denoise(sample, place)
        if to_clean and place + 1 == len(steps):
            return clean
        signal, noise = process.scales(step)
        next_signal, next_noise = process.scales(steps[place + 1] if place + 1 < len(steps) else 0)
        direction = (sample - signal * clean) / noise
        sample = next_signal * clean + next_noise * direction
    return sample
