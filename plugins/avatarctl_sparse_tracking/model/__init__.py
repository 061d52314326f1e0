"""The networks, and how they are built again from what a weights file says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from avatarctl_sparse_tracking.model.decoder import Decoder, Refiner
from avatarctl_sparse_tracking.model.denoiser import LatentDiffusion
from avatarctl_sparse_tracking.model.vqvae import Vqvae

WINDOW = 20
"""Frames in a window."""


def build(part: str, sizes: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        part: upper_vqvae, lower_vqvae, upper, lower, decoder or refiner: the part of a weights file.
        sizes: Its sizes by name; the published ones where left out.
    """
    if part.endswith("_vqvae"):
        return Vqvae(part.removesuffix("_vqvae"), **sizes)  # type: ignore[arg-type]
    if part in ("upper", "lower"):
        return LatentDiffusion(part, **sizes)
    return {"decoder": Decoder, "refiner": Refiner}[part](**sizes)


__all__ = ["WINDOW", "Decoder", "LatentDiffusion", "Refiner", "Vqvae", "build"]
