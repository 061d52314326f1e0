"""Diffusion: noise schedules, the forward process, and samplers that loop over chosen steps."""

from avatarctl.diffusion.process import Process, cosine_betas, leading_steps
from avatarctl.diffusion.samplers import ddim

__all__ = ["Process", "cosine_betas", "ddim", "leading_steps"]
