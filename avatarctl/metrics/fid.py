"""Statistics of image features and their Frechet distance, as FID is published (Heusel et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.geometry.shapes import expect
from avatarctl.metrics.frechet import distance_of

Precision = Literal["published", "float64"]
TYPES = {"published": np.float32, "float64": np.float64}


@dataclass
class FeatureStats:
    """Sums over rows of features, from which mean and covariance follow; the rows are not kept.

    Args:
        most: Rows that count; those after them are left out.
        precision: published sums in float32, as the StyleGAN family does; that is 1e-4 off.
    """

    most: int | None = None
    precision: Precision = "float64"
    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, features: Tensor | np.ndarray) -> None:
        """Count rows of features [N, D]."""
        rows = np.asarray(features.detach().cpu() if isinstance(features, Tensor) else features)
        expect(torch.from_numpy(rows), "N D", "features")
        rows = rows.astype(TYPES[self.precision])
        if self.most is not None:
            rows = rows[: max(self.most - self.count, 0)]
        if not self.count:
            self.total = np.zeros(rows.shape[1], rows.dtype)
            self.products = np.zeros((rows.shape[1],) * 2, rows.dtype)
        self.count += len(rows)
        self.total += rows.sum(axis=0)
        self.products += rows.T @ rows

    @property
    def is_full(self) -> bool:
        """Whether further rows would be left out."""
        return self.most is not None and self.count >= self.most

    def fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [D] and population covariance [D, D].

        Raises:
            DataError: There are fewer than 2 rows.
        """
        if self.count < 2:
            raise DataError(f"a Frechet distance needs 2 pictures or more on each side, found {self.count}")
        mean = self.total / self.count
        return mean, self.products / self.count - np.outer(mean, mean)


def fid(real: FeatureStats, generated: FeatureStats, precision: Precision = "float64") -> float:
    """Frechet distance of generated features to real ones.

    Args:
        precision: published keeps float32 and takes the root of the product's matrix by scipy; a set is then
            about -1e-5 from itself.
    """
    (mean, spread), (other, other_spread) = generated.fitted(), real.fitted()
    if mean.shape != other.shape:
        raise DataError(f"features of {len(mean)} and of {len(other)} numbers cannot be compared")
    if precision == "float64":
        arrays = (mean, spread, other, other_spread)
        return distance_of(*(torch.from_numpy(np.asarray(one, np.float64)) for one in arrays))
    from scipy.linalg import sqrtm

    # parity: the order of the product matters in the fifth digit (generative-avatar 7.2)
    root = np.real(sqrtm(spread @ other_spread))
    return float(np.square(mean - other).sum() + np.trace(spread + other_spread - 2 * root))
