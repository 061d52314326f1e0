"""The Frechet distance between two sets of features, as FID and its relatives use it."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Frechet distance between normal distributions fitted to two sets; NaN for fewer than 2 rows.

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), with unbiased covariances, in float64. The trace of the
    root is taken from the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), which are those of S1 S2.

    Args:
        first: Features [N, D].
        second: Features [M, D].
    """
    expect(first, "N D", "first")
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"second has shape {list(second.shape)}, first {list(first.shape)}")
    if min(len(first), len(second)) < 2:
        return float("nan")
    return distance_of(*_fitted(first), *_fitted(second))


def distance_of(mean: Tensor, spread: Tensor, other_mean: Tensor, other_spread: Tensor) -> float:
    """The same between two normal distributions, given means [D] and covariances [D, D] in float64."""
    root = _root(spread)
    shared = torch.linalg.eigvalsh(root @ other_spread @ root).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + spread.trace() + other_spread.trace() - 2 * shared
    return max(float(distance), 0.0)  # below 0 by rounding only


def _fitted(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and unbiased covariance [D, D]."""
    rows = rows.double()
    mean = rows.mean(0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def _root(matrix: Tensor) -> Tensor:
    """The symmetric root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
