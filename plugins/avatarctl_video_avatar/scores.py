"""What rendered pictures measure beside the true ones (spec 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from avatarctl.checkpoints import Weights
from avatarctl.errors import AssetError
from avatarctl.metrics.image import Lpips, find_lpips, load_lpips, lpips_of, psnr, ssim
from avatarctl_video_avatar import pictures
from avatarctl_video_avatar.model.rendering import Picture
from avatarctl_video_avatar.official import LPIPS
from avatarctl_video_avatar.sample import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from avatarctl.runs import Run

Backbone = Literal["vgg", "alex"]
SMALLEST = 16
"""Sides of rectangles that LPIPS can still look at, pixels."""


def lpips_for(
    weights: Weights, run: Run, files: Sequence[Path] = (), backbone: Backbone = "vgg"
) -> Lpips | None:
    """The perceptual network of files, of the weights, or of the user's assets; None without one."""
    if files:
        network = load_lpips([run.input(path, "lpips") for path in files], backbone)
    elif backbone == "vgg" and weights.holds(LPIPS):
        network = lpips_of(weights)
    else:
        try:
            network = load_lpips([run.input(path, "lpips") for path in find_lpips(backbone)], backbone)
        except AssetError as error:
            run.log.warning("no LPIPS: %s; %s", error.message.splitlines()[0], error.hint)
            return None
    return network.to(run.device)


def scores(picture: Picture, sample: Sample, lpips: Lpips | None) -> dict[str, float]:
    """The published numbers of one picture, in the rectangle of the body's box."""
    predicted, truth = pictures.compared(picture, sample)
    found = {"psnr": float(psnr(predicted, truth)), "ssim": float(ssim(predicted, truth))}
    if lpips is not None and min(predicted.shape[-2:]) >= SMALLEST:
        # parity: validation feeds values of 0 to 1, which the network takes for -1 to 1 (spec 9, Q21)
        with torch.no_grad():
            found["lpips"] = float(lpips(predicted, truth))
    return found


def scores_neuralbody(picture: Picture, sample: Sample, lpips: Lpips | None) -> dict[str, float]:
    """The numbers of one picture as NeuralBody and ARAH define them."""
    from skimage.metrics import structural_similarity

    assert sample.box is not None, "whole pictures have a box"
    box = sample.box.to(picture.image.device)
    predicted, truth = picture.image.clamp(0, 1), pictures.truth(sample) / pictures.FULL
    found = {"psnr": float(psnr(predicted[box], truth[box]))}
    rectangle = pictures.box_of(sample)
    pair = [pixels[rectangle] for pixels in (predicted, truth)]
    arrays = [pixels.double().cpu().numpy() for pixels in pair]
    if min(arrays[0].shape[:2]) >= 7:
        found["ssim"] = float(structural_similarity(*arrays, channel_axis=2, data_range=1.0))  # type: ignore[no-untyped-call]
    if lpips is not None and min(pair[0].shape[:2]) >= SMALLEST:
        with torch.no_grad():
            found["lpips"] = float(lpips(*(2 * pixels.permute(2, 0, 1) - 1 for pixels in pair)))
    return found


def means(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of each number over all pictures that have it."""
    names = dict.fromkeys(name for one in measured for name in one)
    return {name: float(np.mean([one[name] for one in measured if name in one])) for name in names}
