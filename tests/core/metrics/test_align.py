"""Procrustes alignment."""

import pytest
import torch

from avatarctl.geometry.rotations import matrix_from_euler
from avatarctl.metrics.align import aligned, similarity


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_a_similarity_transform_is_found_again(leading):
    made = torch.Generator().manual_seed(0)
    points = torch.randn(*leading, 24, 3, generator=made, dtype=torch.float64)
    rotation = matrix_from_euler(torch.randn(*leading, 3, generator=made, dtype=torch.float64), "XYZ")
    moved = 1.7 * points @ rotation.mT + torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64)

    scale, found, shift = similarity(points, moved)

    torch.testing.assert_close(scale, torch.full(leading, 1.7, dtype=torch.float64))
    torch.testing.assert_close(found, rotation)
    torch.testing.assert_close(aligned(points, moved), moved)
    torch.testing.assert_close(shift, torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64).expand_as(shift))


def test_a_mirrored_set_is_turned_and_not_mirrored():
    points = torch.randn(30, 3, generator=torch.Generator().manual_seed(1))

    _, rotation, _ = similarity(points, points * torch.tensor([-1.0, 1.0, 1.0]))

    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0))


def test_points_without_weight_do_not_count():
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = points + 1
    target[7:] += 5
    weights = torch.cat([torch.ones(7), torch.zeros(3)]).double()

    _, rotation, shift = similarity(points, target, weights)

    torch.testing.assert_close(rotation, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(shift, torch.ones(3, dtype=torch.float64))


def test_no_other_transform_brings_the_points_nearer():
    made = torch.Generator().manual_seed(3)
    points, target = (torch.randn(12, 3, generator=made, dtype=torch.float64) for _ in range(2))
    scale, rotation, shift = similarity(points, target)

    def cost(scale, rotation, shift):
        return (scale * points @ rotation.mT + shift - target).square().sum()

    least = cost(scale, rotation, shift)
    for _ in range(20):
        turned = rotation @ matrix_from_euler(
            0.01 * torch.randn(3, generator=made, dtype=torch.float64), "XYZ"
        )
        moved = shift + 0.01 * torch.randn(3, generator=made, dtype=torch.float64)
        assert cost(scale * 1.003, turned, moved) > least
