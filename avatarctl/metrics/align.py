"""Alignment of point sets before they are compared (Procrustes analysis; Umeyama 1991)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


def aligned(predicted: Tensor, truth: Tensor, fitted: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The predicted points, turned, scaled and moved to lie nearest to the true ones [..., N, 3].

    Args:
        predicted: [..., N, 3].
        truth: [..., N, 3].
        fitted: Points that the transform is fitted to in place of those, predicted and true [..., M, 3].
    """
    expect(predicted, "... N 3", "predicted")
    source, target = fitted if fitted is not None else (predicted, truth)
    scale, rotation, shift = similarity(source, target)
    moved: Tensor = scale[..., None, None] * (predicted @ rotation.mT) + shift[..., None, :]
    return moved


def similarity(
    source: Tensor, target: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity transform that brings points nearest to others in the sum of squares.

    Args:
        source: [..., N, 3].
        target: [..., N, 3].
        weights: Of the points, not negative [..., N]; left out: all count alike.

    Returns:
        Scale [...], rotation [..., 3, 3] and shift [..., 3]: scale * rotation p + shift.
    """
    share = torch.ones_like(source[..., 0]) if weights is None else weights
    share = (share / share.sum(-1, keepdim=True)).unsqueeze(-1)
    middle, wanted = ((share * points).sum(-2, keepdim=True) for points in (source, target))
    around, about = source - middle, target - wanted
    left, values, right = torch.linalg.svd((share * around).mT @ about)
    sign = torch.ones_like(values)
    sign[..., -1] = torch.sign(torch.linalg.det(left @ right))  # a rotation, no mirror
    rotation = right.mT @ (sign.unsqueeze(-1) * left.mT)
    spread = (share * around.square()).sum((-2, -1))
    scale = (values * sign).sum(-1) / spread
    shift = wanted - scale[..., None, None] * (middle @ rotation.mT)
    return scale, rotation, shift.squeeze(-2)
