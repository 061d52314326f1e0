"""The Frechet distance, against closed forms."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch

from avatarctl.metrics.frechet import frechet_distance


def rows(seed: int, count: int, width: int = 5) -> torch.Tensor:
    """Correlated normal rows [count, width]."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=draw, dtype=torch.float64)
    return torch.randn(count, width, generator=draw, dtype=torch.float64) @ mix + seed


def test_distance_is_that_of_the_matrix_square_root():
    first, second = rows(1, 300), rows(2, 200)
    spreads = [torch.cov(one.T).numpy() for one in (first, second)]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    wanted = float((first.mean(0) - second.mean(0)).square().sum())
    wanted += spreads[0].trace() + spreads[1].trace() - 2 * root.trace()
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-9)


def test_in_one_dimension_it_is_the_closed_form():
    first, second = rows(3, 50, 1), 4 * rows(3, 50, 1) + 7
    mean, std = float(first.mean()), float(first.std())
    other_mean, other_std = float(second.mean()), float(second.std())
    wanted = (mean - other_mean) ** 2 + (std - other_std) ** 2
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-9)


def test_fewer_rows_than_dimensions_are_no_trouble():
    few = rows(4, 6, 20)
    # The roots of eigenvalues that are 0 but for rounding (1e-16 of the trace, some 500) remain.
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(few, few + 2) == pytest.approx(20 * 4, rel=1e-6)


def test_one_row_has_no_distance():
    assert math.isnan(frechet_distance(rows(5, 1), rows(5, 9)))
