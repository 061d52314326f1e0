"""What a training step minimises (spec 5): colours of patches, the mask, slope of the surface, skinning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.metrics.image import Lpips, ssim

if TYPE_CHECKING:
    from avatarctl_video_avatar.model.rendering import Rendered
    from avatarctl_video_avatar.sample import Patches, Rays, Sample
    from avatarctl_video_avatar.settings_train import Losses

SMOOTH = 0.1
"""Difference of colours at which the smoothed L1 becomes straight."""
SHARPNESS, SHARPER_AFTER = 50.0, (10_000, 20_000, 30_000, 40_000, 50_000)
"""Of the mask term; doubled after each of these steps."""


class Criterion:
    """The loss terms with their weights and schedules."""

    def __init__(self, settings: Losses, perceptual: Lpips | None) -> None:
        """
        Args:
            perceptual: The network of the perceptual term; None leaves the term out.
        """
        self.settings, self.perceptual = settings, perceptual

    def terms(self, made: Rendered, sample: Sample, step: int) -> dict[str, Tensor]:
        """The weighed terms of a sample with patches, and their sum "total", all scalars.

        Args:
            step: Steps finished before.
        """
        assert sample.patches is not None
        assert made.sdf is not None
        weights, rays = self.settings, sample.rays
        drawn = unpacked(made.color, rays.hits, sample.patches, sample.background)
        seen, truth = drawn, sample.patches.colours
        if not weights.perceptual:
            # parity: without the perceptual term colours are compared ray by ray below the mask (spec 5).
            seen, truth = made.color * rays.alpha[:, None], rays.colours * rays.alpha[:, None]
        found = {
            "rgb": weights.rgb * difference(seen, truth, weights.rgb_type),
            "mse": weights.mse * functional.mse_loss(seen, truth),
            "nssim": weights.nssim * (1 - _ssim(drawn, sample.patches.colours)),
            "eikonal": weights.eikonal * made.gradient_error,
            "mask": weights.mask * mask_loss(made.sdf, rays, sharpness(step)),
        }
        if self.perceptual is not None and weights.perceptual:
            pairs = (2 * patches.permute(0, 3, 1, 2) - 1 for patches in (drawn, sample.patches.colours))
            found["perceptual"] = weights.perceptual * self.perceptual(*pairs).mean()
        if made.pts_W_pred is not None and made.pts_W_sampled is not None and step < weights.kick_out_iter:
            share = max(1 - step / weights.weight_decay_end, 0.0)
            found["skinning"] = weights.skinning * share * skinning(made.pts_W_pred, made.pts_W_sampled)
        found = {name: term for name, term in found.items() if getattr(weights, name)}
        return {"total": torch.stack(list(found.values())).sum(), **found}


def unpacked(colours: Tensor, hits: Tensor, patches: Patches, background: Tensor) -> Tensor:
    """Colours of rays [n, 3] as patches [N, P, P, 3]; background where no ray is, or none that hits [n]."""
    places = patches.masks.flatten().nonzero()[:, 0][hits]
    canvas = background.expand(patches.masks.numel(), 3)
    return canvas.index_put((places,), colours[hits]).view(*patches.masks.shape, 3)


def difference(seen: Tensor, truth: Tensor, kind: str) -> Tensor:
    """The mean difference of colours: l1, mse or smoothed_l1."""
    if kind == "mse":
        return functional.mse_loss(seen, truth)
    if kind == "smoothed_l1":
        return functional.smooth_l1_loss(seen, truth, beta=SMOOTH)
    return functional.l1_loss(seen, truth)


def _ssim(drawn: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of patches [N, P, P, 3]."""
    # parity: rows pass for channels, so that windows lie over columns and colours (spec 9, Q15).
    return ssim(drawn, truth).mean()


def skinning(predicted: Tensor, nearest: Tensor) -> Tensor:
    """How far skinning weights [N, 24] are from those of the nearest vertices: L1, mean over points."""
    return (predicted - nearest).abs().sum(dim=-1).mean()


def crossings(sdf: Tensor) -> Tensor:
    """Where signed distances along rays [n, S] change their sign before the next sample [n, S - 1]."""
    return sdf[:, :-1] * sdf[:, 1:] < 0


def sharpness(step: int) -> float:
    """Of the mask term after so many steps."""
    return SHARPNESS * 2.0 ** sum(step > one for one in SHARPER_AFTER)


def mask_loss(sdf: Tensor, rays: Rays, sharpness: float) -> Tensor:
    """Binary cross-entropy of the least signed distance of each ray, where the mask contradicts it or may.

    Rays outside the mask should stay outside the body, rays in it that miss the surface should not; rays at
    its edge have no say. 0 where there is neither (spec 9, Q16).

    Args:
        sdf: Signed distances along rays, metres [n, S].
    """
    is_free = rays.alpha == 0
    is_missed = (rays.alpha == 1) & ~crossings(sdf).any(dim=-1)
    chosen = is_free | is_missed
    logits = -sharpness * sdf.amin(dim=-1)
    terms = functional.binary_cross_entropy_with_logits(logits, is_missed.to(sdf), reduction="none")
    return (terms * chosen).sum() / chosen.sum().clamp(min=1) / sharpness
