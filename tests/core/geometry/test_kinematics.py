"""Kinematic chains and skinning against 4x4 transforms multiplied one by one."""

from __future__ import annotations

import pytest
import torch

from avatarctl.body.tables import BODY_PARENTS
from avatarctl.geometry.kinematics import (
    forward_kinematics,
    global_rotations,
    joint_positions,
    local_rotations,
)
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl.geometry.skinning import blend

LEADING = [(), (2,), (2, 3), (0,)]


def draws(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def transforms(local, rest):
    """World transforms [J, 4, 4] of one skeleton."""
    world = []
    for joint, parent in enumerate(BODY_PARENTS):
        step = torch.eye(4, dtype=torch.float64)
        step[:3, :3] = local[joint]
        step[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        world.append(step if parent < 0 else world[parent] @ step)
    return torch.stack(world)


@pytest.mark.parametrize("leading", LEADING)
def test_places_and_rotations_are_those_of_the_transforms(leading):
    local = matrix_from_axis_angle(draws(*leading, 22, 3))
    rest, transl = draws(22, 3), draws(*leading, 3)

    world, places = forward_kinematics(local, rest, BODY_PARENTS, transl)

    assert places.shape == (*leading, 22, 3)
    flat = zip(local.reshape(-1, 22, 3, 3), transl.reshape(-1, 3), strict=True)
    wanted = [(transforms(one, rest), shift) for one, shift in flat]
    for index, (chain, shift) in enumerate(wanted):
        torch.testing.assert_close(world.reshape(-1, 22, 3, 3)[index], chain[:, :3, :3], rtol=0, atol=1e-12)
        torch.testing.assert_close(
            places.reshape(-1, 22, 3)[index], chain[:, :3, 3] + shift, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("leading", LEADING)
def test_local_rotations_are_the_inverse_of_global_ones(leading):
    turned = draws(*leading, 22, 3)
    local = torch.linalg.matrix_exp(_cross(turned))  # exactly orthogonal

    back = local_rotations(global_rotations(local, BODY_PARENTS), BODY_PARENTS)

    torch.testing.assert_close(back, local, rtol=0, atol=1e-12)


def _cross(vector):
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def test_the_root_stays_at_its_rest_place():
    rest = draws(22, 3)

    places = joint_positions(torch.eye(3, dtype=rest.dtype).expand(5, 22, 3, 3), rest, BODY_PARENTS)

    torch.testing.assert_close(places, rest.expand(5, 22, 3), rtol=0, atol=1e-12)


def test_skinned_vertices_are_the_weighted_mean_of_rigid_motions():
    local, rest, vertices = matrix_from_axis_angle(draws(22, 3)), draws(22, 3), draws(50, 3)
    weights = torch.softmax(draws(50, 22), dim=-1)
    world, places = forward_kinematics(local, rest, BODY_PARENTS)

    found = blend(vertices, weights, world, places, rest)

    moved = torch.stack([(vertices - rest[j]) @ world[j].T + places[j] for j in range(22)], dim=1)
    torch.testing.assert_close(found, (weights[..., None] * moved).sum(1), rtol=0, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    axis_angle, rest = draws(22, 3).requires_grad_(), draws(22, 3).requires_grad_()

    def some(axis_angle, rest):
        return forward_kinematics(matrix_from_axis_angle(axis_angle), rest, BODY_PARENTS)[1][::5]

    assert torch.autograd.gradcheck(some, (axis_angle, rest))
