"""Loss terms of the diffusion networks, one number per sample (spec 5.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarctl.diffusion import Process, at

HALF_STEP = 1 / 255
"""Half the width of a bin in the published likelihood at step 0, taken over from images."""
OPEN = 0.999
"""Clean values beyond it, on either side, stand for everything further out."""
LEAST = 1e-12
"""Smallest probability whose logarithm is taken."""


def diffusion_losses(
    made: Tensor, clean: Tensor, inside: Tensor, known: Tensor, velocity: float
) -> dict[str, Tensor]:
    """Squared errors of predicted motion, and "total", their weighted sum; all [B].

    Args:
        made, clean: Predicted and true motion, normalised [B, T, C].
        inside: Frames that are no padding [B, T].
        known: Frames whose truth is known [B, T]; those of a recording's missing faces are not.
        velocity: Weight of the error of frame-to-frame differences; 0 leaves it out.
    """
    error = made - clean
    terms = {"rotation": masked_mean(error.square(), inside & known)}
    total = terms["rotation"]
    if velocity:
        # parity: a difference counts where its second frame is no padding, known or not (spec 5.1).
        terms["velocity"] = masked_mean(error.diff(dim=1).square(), inside[:, 1:])
        total = total + velocity * terms["velocity"]
    return {"total": total, **terms}


def masked_mean(values: Tensor, frames: Tensor) -> Tensor:
    """Mean [B] of values [B, T, C] over some frames [B, T]."""
    return (values * frames[..., None]).sum(dim=(1, 2)) / (values.shape[-1] * frames.sum(dim=1))


def variational_bound(process: Process, made: Tensor, clean: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
    """Bits per number that a step back from x_t costs [B]; logged only, padding included as published.

    Args:
        made, clean, noisy: Predicted and true x_0, and x_t [B, T, C].
        steps: Step of each sample [B].
    """
    posterior = process.posterior()
    weight, rest = at(posterior.clean, steps, clean), at(posterior.noisy, steps, clean)
    log_variance = at(posterior.log_variance, steps, clean)
    true_mean, made_mean = (weight * start + rest * noisy for start in (clean, made))
    divergence = 0.5 * (true_mean - made_mean).square() * torch.exp(-log_variance)
    likelihood = -binned_log_likelihood(clean, made_mean, 0.5 * log_variance)
    nats = torch.where((steps == 0)[:, None, None], likelihood, divergence)
    return nats.mean(dim=(1, 2)) / math.log(2)


def binned_log_likelihood(values: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Logarithm of a Gaussian's probability of the bin around each value."""
    centred, sharpness = values - mean, torch.exp(-log_scale)
    above = normal_cdf(sharpness * (centred + HALF_STEP))
    below = normal_cdf(sharpness * (centred - HALF_STEP))
    probability = torch.where(values < -OPEN, above, torch.where(values > OPEN, 1 - below, above - below))
    return probability.clamp(min=LEAST).log()


def normal_cdf(x: Tensor) -> Tensor:
    """The published approximation of the standard normal distribution function."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
