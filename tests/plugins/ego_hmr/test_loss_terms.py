"""The terms that both stages' losses are made of."""

from __future__ import annotations

import pytest
import torch
from avatarctl_ego_hmr import losses

from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl


@pytest.fixture
def noise() -> Noise:
    return Noise.seeded(0, "terms")


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_keypoints_weigh_as_much_as_their_confidence_but_neck_and_hips_nothing(noise, leading):
    made, true = noise.normal((*leading, 25, 2)), noise.normal((*leading, 25, 3)).abs()
    wanted = torch.zeros(leading)
    for joint in set(range(25)) - {1, 9, 12}:
        error = (made[..., joint, :] - true[..., joint, :2]).abs().sum(dim=-1)
        wanted = wanted + true[..., joint, 2] * error
    before = true.clone()
    torch.testing.assert_close(losses.keypoints_2d(made, true), wanted)
    assert torch.equal(true, before)


def test_sums_and_means_are_the_published_ones():
    ones = torch.ones(2, 5, 3)
    assert losses.points_3d(ones, torch.zeros(5, 3)).tolist() == [15, 15]
    assert losses.vertices(ones, torch.zeros(5, 3)).tolist() == [1, 1]
    assert losses.rotations(2 * torch.ones(4, 3, 3), torch.zeros(4, 3, 3)) == 4 * 9 * 4
    assert losses.shapes(2 * torch.ones(10), torch.zeros(10)) == 40


def test_columns_of_rotations_are_orthogonal_and_scaled_ones_are_not(noise):
    columns = matrix_from_axis_angle_smpl(noise.normal((2, 24, 3)))[..., :2]
    torch.testing.assert_close(losses.orthogonal(columns), torch.zeros(2), rtol=0, atol=1e-10)
    # A^T A is 4 I: the two entries on the diagonal are 3 too large.
    torch.testing.assert_close(losses.orthogonal(2 * columns), torch.full((2,), 4.5))


def test_a_point_on_the_axis_is_in_the_middle_of_a_picture_of_any_size():
    centre = torch.tensor([320.0, 240.0])
    found = losses.in_picture(
        torch.zeros(1, 3), torch.tensor([0.0, 0, 2]), torch.tensor(500.0), centre, (640, 480)
    )
    assert found.tolist() == [[0, 0]]
