"""Rays through pixels, even depths, and depths where the first pass found something."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.model.rays import coarse_depths, importance, middles, rays

from avatarctl.device import Noise
from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.rotations import matrix_from_axis_angle

SIDE = 7


def labels_of(count: int = 2) -> torch.Tensor:
    """Labels with cameras of their own."""
    turns = matrix_from_axis_angle(0.3 * Noise.seeded(0, "turns").normal((count, 3)))
    made = label.made(torch.zeros(count, 24, 3))
    world = torch.eye(4).repeat(count, 1, 1)
    world[:, :3, :3] = turns
    world[:, :3, 3] = torch.tensor([0.3, -0.2, -4.0])
    made[:, :16] = world.flatten(1)
    made[:, 16:25] = torch.tensor([2.0, 0.0, 0.45, 0.0, 2.5, 0.55, 0.0, 0.0, 1.0])
    return made


def test_rays_are_those_of_a_pinhole_camera_row_by_row():
    labels = labels_of()
    origins, directions = rays(labels, SIDE)
    inner = label.intrinsics(labels).clone()
    inner[:, :2] *= SIDE
    rotation = label.cam2world(labels)[:, :3, :3].mT
    centre = label.cam2world(labels)[:, :3, 3]
    camera = Camera(inner, rotation, -(rotation @ centre[..., None]).squeeze(-1))
    wanted = torch.nn.functional.normalize(camera.rays((SIDE, SIDE)), dim=-1).flatten(1, 2)
    torch.testing.assert_close(directions, wanted, rtol=0, atol=1e-6)  # float32
    torch.testing.assert_close(origins, centre[:, None].expand_as(wanted))


def test_a_skew_moves_pixels_of_lower_rows():
    labels = labels_of(1)
    skewed = labels.clone()
    skewed[:, 17] = 0.4
    plane = []
    for one in (labels, skewed):
        directions = rays(one, SIDE)[1] @ label.cam2world(one)[:, :3, :3]
        plane.append(directions[..., 0] / directions[..., 2])
    v = (torch.arange(SIDE) + 0.5).repeat_interleave(SIDE) / SIDE
    shift = 0.4 * (0.55 - v) / 2.5 / 2.0
    torch.testing.assert_close(plane[1] - plane[0], shift[None], rtol=0, atol=1e-6)


def test_even_depths_start_at_the_plane_of_zero_and_move_by_shares_of_a_step():
    origins = torch.tensor([0.5, 0.0, -10.0]).expand(1, 2, 3)
    shares = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.25, 1.0]]])
    found = coarse_depths(origins, shares, -0.5, 0.5)
    wanted = torch.tensor([[[9.5, 10.0, 10.5], [9.75, 10.125, 11.0]]])
    torch.testing.assert_close(found, wanted)


def plain_importance(depths: np.ndarray, weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The same of one ray, by the words of the spec."""
    padded = np.concatenate([[-np.inf], weights, [-np.inf]])
    peaks = np.maximum(padded[:-1], padded[1:])
    smooth = ((peaks[:-1] + peaks[1:]) / 2 + 0.01)[1:-1] + 1e-5
    bins = (depths[:-1] + depths[1:]) / 2
    ends = np.concatenate([[0], np.cumsum(smooth / smooth.sum())])
    made = []
    for u in draws:
        index = int(np.searchsorted(ends, u, side="right"))
        below, above = max(index - 1, 0), min(index, len(ends) - 1)
        width = ends[above] - ends[below]
        share = (u - ends[below]) / (width if width >= 1e-5 else 1)
        made.append(bins[below] + share * (bins[above] - bins[below]))
    return np.array(made)


@pytest.mark.parametrize("samples", [4, 12])
def test_finer_depths_follow_the_weights_of_the_first_pass(samples):
    noise = Noise.seeded(samples, "importance")
    depths = noise.uniform((5, samples), torch.float64).sort(dim=-1).values
    weights = noise.uniform((5, samples - 1), torch.float64) ** 4
    weights[0] = 0
    draws = noise.uniform((5, 9), torch.float64)
    found = importance(depths, weights, draws)
    wanted = [
        plain_importance(*row) for row in zip(depths.numpy(), weights.numpy(), draws.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), np.stack(wanted), rtol=1e-9)


def test_without_draws_finer_depths_are_in_order():
    depths = torch.linspace(1, 2, 8).expand(3, 8)
    found = importance(depths, torch.rand(3, 7), middles(6, depths).expand(3, 6))
    assert (found.diff(dim=-1) > 0).all()
    assert math.isclose(float(middles(4, depths)[0]), 0.125)
