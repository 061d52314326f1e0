"""Rotations against closed forms, scipy, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from avatarctl.geometry import rotations

LEADING = [(), (2,), (2, 3), (0,)]


def draws(leading, size, dtype=torch.float64):
    return torch.randn(*leading, size, generator=torch.Generator().manual_seed(7), dtype=dtype)


def scipy_matrices(axis_angle):
    flat = axis_angle.reshape(-1, 3).numpy()
    matrices = Rotation.from_rotvec(flat).as_matrix() if len(flat) else np.zeros((0, 3, 3))
    return torch.from_numpy(matrices).reshape(*axis_angle.shape[:-1], 3, 3)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("convert", [rotations.matrix_from_axis_angle, rotations.matrix_from_axis_angle_smpl])
def test_matrices_are_those_of_rodrigues(leading, convert):
    axis_angle = 2 * draws(leading, 3)

    # Both published variants shift the axis by some 1e-6.
    torch.testing.assert_close(convert(axis_angle), scipy_matrices(axis_angle), rtol=0, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 9.9e-4, 1.1e-3, 1.0, math.pi - 1e-4, math.pi, 4.0])
def test_axis_angle_goes_there_and_back(angle):
    axis = torch.nn.functional.normalize(draws((5,), 3), dim=-1)
    axis_angle = angle * axis

    quaternion = rotations.quaternion_from_axis_angle(axis_angle)
    back = rotations.axis_angle_from_quaternion(quaternion)

    torch.testing.assert_close(
        rotations.matrix_from_quaternion(quaternion), scipy_matrices(axis_angle), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(scipy_matrices(back), scipy_matrices(axis_angle), rtol=0, atol=1e-12)
    assert back.norm(dim=-1).max() <= math.pi + 1e-12


@pytest.mark.parametrize("leading", LEADING)
def test_quaternions_of_matrices_are_scipys(leading):
    matrix = scipy_matrices(3 * draws(leading, 3))

    found = rotations.quaternion_from_matrix(matrix)

    torch.testing.assert_close(rotations.matrix_from_quaternion(found), matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(leading, dtype=torch.float64))


def test_each_of_the_four_branches_is_right():
    for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1e-3, 0, 0)):
        matrix = scipy_matrices(3.0 * torch.tensor([axis], dtype=torch.float64))

        found = rotations.matrix_from_quaternion(rotations.quaternion_from_matrix(matrix))

        torch.testing.assert_close(found, matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", ["columns", "interleaved", "rows"])
@pytest.mark.parametrize("leading", [*LEADING, (3,)])
def test_6d_goes_there_and_back_whatever_its_length(layout, leading):
    matrix = scipy_matrices(draws(leading, 3))

    sixd = rotations.sixd_from_matrix(matrix, layout)
    back = rotations.matrix_from_sixd(1.7 * sixd, layout)

    torch.testing.assert_close(back, matrix, rtol=0, atol=1e-12)


def test_6d_layouts_are_what_they_say():
    matrix = torch.arange(9.0).reshape(3, 3)

    assert rotations.sixd_from_matrix(matrix).tolist() == [0, 3, 6, 1, 4, 7]
    assert rotations.sixd_from_matrix(matrix, "interleaved").tolist() == [0, 1, 3, 4, 6, 7]
    assert rotations.sixd_from_matrix(matrix, "rows").tolist() == [0, 1, 2, 3, 4, 5]


def test_slerp_takes_the_shorter_arc_as_scipy_does():
    turns = Rotation.random(2, random_state=3)
    start, end = (torch.from_numpy(np.roll(turn.as_quat(), 1)) for turn in turns)
    fractions = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]

    for sign in (1, -1):
        found = rotations.slerp(start, sign * end, fractions)
        wanted = torch.from_numpy(Slerp([0, 1], turns)(fractions[:, 0].numpy()).as_matrix())
        torch.testing.assert_close(rotations.matrix_from_quaternion(found), wanted, rtol=0, atol=1e-12)


def test_slerp_of_equal_rotations_is_that_rotation():
    quaternion = torch.tensor([1.0, 0.0, 0.0, 0.0])

    assert torch.equal(rotations.slerp(quaternion, -quaternion, torch.tensor([0.3])).abs(), quaternion)


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "ZYX", "YXZ"])
def test_euler_angles_are_intrinsic_as_in_scipy(order):
    angles = draws((6,), 3)

    found = rotations.matrix_from_euler(angles, order)

    wanted = torch.from_numpy(Rotation.from_euler(order, angles.numpy()).as_matrix())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_zxy_angles_go_there_and_back_at_the_poles_too():
    poles = torch.tensor([[0.3, math.pi / 2, 0.0], [0.3, -math.pi / 2, 0.7]], dtype=torch.float64)
    angles = torch.cat([draws((20,), 3), poles])
    matrix = rotations.matrix_from_euler(angles, "ZXY")

    back = rotations.matrix_from_euler(rotations.euler_zxy_from_matrix(matrix), "ZXY")

    torch.testing.assert_close(back, matrix, rtol=0, atol=1e-9)


def test_the_smallest_rotation_turns_one_direction_to_another():
    source, target = draws((40,), 3), draws((41,), 3)[1:]
    source[0], source[1] = -2 * target[0], 3 * target[1]  # opposite, and equal

    turn = rotations.minimal_rotation(source, target)

    unit = torch.nn.functional.normalize
    torch.testing.assert_close(
        (turn @ unit(source, dim=-1)[..., None])[..., 0], unit(target, dim=-1), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(
        turn @ turn.mT, torch.eye(3, dtype=turn.dtype).expand_as(turn), rtol=0, atol=1e-9
    )
    angle = torch.acos((unit(source, dim=-1) * unit(target, dim=-1)).sum(-1).clamp(-1, 1))
    found = rotations.geodesic(turn, torch.eye(3, dtype=turn.dtype).expand_as(turn))
    torch.testing.assert_close(found, angle, rtol=0, atol=1e-6)


@pytest.mark.parametrize("angle", [1e-8, 1e-3, 1.0, 3.1])
def test_the_geodesic_is_the_angle_between(angle):
    base = scipy_matrices(draws((4,), 3))
    axis = torch.nn.functional.normalize(draws((4,), 3), dim=-1)

    found = rotations.geodesic(base, base @ scipy_matrices(angle * axis))

    torch.testing.assert_close(found, torch.full((4,), angle, dtype=torch.float64), rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(
    "convert",
    [
        rotations.matrix_from_axis_angle,
        rotations.quaternion_from_axis_angle,
        lambda a: rotations.axis_angle_from_matrix(rotations.matrix_from_axis_angle(a)),
    ],
)
def test_gradients_are_finite_at_the_identity_and_right_elsewhere(convert):
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    convert(zero).sum().backward()

    assert torch.isfinite(zero.grad).all()
    somewhere = draws((3,), 3).requires_grad_()
    assert torch.autograd.gradcheck(convert, (somewhere,))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"axis_angle has shape \[4\], expected \[... 3\]"):
        rotations.matrix_from_axis_angle(torch.zeros(4))
    with pytest.raises(ValueError, match="sixd has shape"):
        rotations.matrix_from_sixd(torch.zeros(2, 5))


@pytest.mark.parametrize("leading", LEADING)
def test_a_product_of_quaternions_turns_by_the_right_one_first(leading):
    left, right = draws(leading, 4), draws(leading, 4).flip(-1)
    left, right = (torch.nn.functional.normalize(one, dim=-1) for one in (left, right))
    product = rotations.matrix_from_quaternion(rotations.quaternion_product(left, right))
    wanted = rotations.matrix_from_quaternion(left) @ rotations.matrix_from_quaternion(right)
    torch.testing.assert_close(product, wanted, rtol=0, atol=1e-12)  # float64
