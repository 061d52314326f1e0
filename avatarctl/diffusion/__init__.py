"""Diffusion: noise schedules, the forward process, and samplers that loop over chosen steps."""

from avatarctl.diffusion.process import Posterior, Process, at, cosine_betas, linear_betas
from avatarctl.diffusion.respacing import (
    kept_steps,
    leading_steps,
    sectioned_steps,
    strided_counts,
    strided_steps,
)
from avatarctl.diffusion.samplers import Denoise, ddim

__all__ = [
    "Denoise",
    "Posterior",
    "Process",
    "at",
    "cosine_betas",
    "ddim",
    "kept_steps",
    "leading_steps",
    "linear_betas",
    "sectioned_steps",
    "strided_counts",
    "strided_steps",
]
