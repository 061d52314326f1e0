"""Sampling of poses: several bodies for each image at once, each from random streams of its own (spec 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.diffusion import Process, cosine_betas, ddim, kept_steps
from avatarctl.errors import UsageError
from avatarctl_ego_hmr.collision.partition import seeded
from avatarctl_ego_hmr.guidance import Guide

if TYPE_CHECKING:
    from avatarctl_ego_hmr.model.diffusion import Condition, PoseDiffusion

STEPS = 50
Spacing = Literal["ddpm", "ddim5"]


@cache
def schedule() -> Process:
    """The noise schedule of the poses, float64 (spec 6.1)."""
    return Process(cosine_betas(STEPS))


@dataclass(frozen=True)
class Streams:
    """Randomness of one body: of its pose, and of the points on its surface that collision looks at."""

    pose: Noise
    surface: Noise


def streams(seed: int, names: Sequence[str], samples: int) -> list[Streams]:
    """Streams of each image's samples, those of an image side by side; no body's depend on another's.

    Args:
        names: What tells images apart.
    """
    return [
        Streams(*(Noise.seeded(seed, f"{name}/{sample}/{what}") for what in ("pose", "surface")))
        for name in names
        for sample in range(samples)
    ]


@dataclass(frozen=True)
class Samples:
    """Sampled bodies: `matrices` [B, S, 24, 3, 3], root first, and `betas` [B, S, 10]."""

    matrices: Tensor
    betas: Tensor


@torch.no_grad()
def sample(
    network: PoseDiffusion,
    condition: Condition,
    points: Tensor,
    noises: Sequence[Streams],
    *,
    spacing: Spacing = "ddpm",
    fuse: bool = True,
    guide: Guide | None = None,
) -> Samples:
    """Bodies of each image; how many, the streams say.

    Args:
        condition: What the network knows of the images [B].
        points: The room around each body, in its axes, metres [B, N, 3].
        noises: Streams of each body [B S].
        spacing: All steps, or five of them.
        fuse: Take joints that are not seen from the room alone.

    Raises:
        UsageError: Five steps cannot be guided.
    """
    if guide is not None and spacing != "ddpm":
        raise UsageError(
            f"sampler {spacing}: collision guidance does not work with it",  # found by the authors (Q26)
            hint="--sampler ddpm, or --guidance none",
        )
    rows = torch.arange(len(points), device=points.device).repeat_interleave(len(noises) // len(points))
    condition, around = condition[rows], points[rows]
    betas = network.betas(condition)

    def denoise(noisy: Tensor, step: int) -> Tensor:
        steps = torch.full((len(noisy),), step, device=noisy.device)
        return network(noisy, steps, condition, fuse=fuse)

    def draw() -> Tensor:
        return torch.stack([noise.pose.normal(network.pose_mean.shape) for noise in noises]).to(around)

    def push(noisy: Tensor, step: int, variance: float) -> Tensor | float:
        share = guide.share(step, variance, len(points)) if guide is not None else 0.0
        if guide is None or not share:
            return 0.0
        surfaces = seeded([noise.surface for noise in noises], guide.surface)
        return share * guide.gradient(network.poses_from(noisy), betas, around, surfaces)

    if spacing == "ddpm":
        with network.packed((1 + fuse) * len(noises)):
            clean = ddpm(schedule(), denoise, draw, push)
    else:
        kept = kept_steps(spacing, STEPS)[::-1]
        clean = ddim(
            schedule(), kept, lambda noisy, place: denoise(noisy, kept[place]), draw(), to_clean=True
        )
    matrices, shapes = (one.unflatten(0, (len(points), -1)) for one in (network.matrices(clean), betas))
    return Samples(matrices, shapes)


def ddpm(
    process: Process,
    denoise: Callable[[Tensor, int], Tensor],
    draw: Callable[[], Tensor],
    push: Callable[[Tensor, int, float], Tensor | float],
) -> Tensor:
    """The clean sample that the last step predicts, after all steps back from noise.

    Args:
        draw: Gives normal noise of the sample's shape.
        push: From the noisy sample, the step and its variance to what is added to the mean.
    """
    posterior = process.posterior()
    noisy = draw()
    for step in reversed(range(1, len(process))):
        clean = denoise(noisy, step)
        mean = float(posterior.clean[step]) * clean + float(posterior.noisy[step]) * noisy
        mean = mean + push(noisy, step, float(posterior.variance[step]))
        noisy = mean + float((posterior.log_variance[step] / 2).exp()) * draw()
    # What the last step would add goes nowhere: the result is its prediction (spec 6.2).
    return denoise(noisy, 0)
