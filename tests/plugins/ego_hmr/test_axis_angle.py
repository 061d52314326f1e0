"""Matrices to axis-angle as collision networks are given it, with its clamps."""

import math

import pytest
import torch
from avatarctl_ego_hmr.rotations import axis_angle_from_matrix
from scipy.spatial.transform import Rotation

from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

AXES = torch.nn.functional.normalize(Noise.seeded(0, "axes").normal((50, 3), torch.float64), dim=-1)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_the_angle_is_that_of_scipy(leading):
    count = math.prod(leading)
    angles = torch.linspace(0.1, 3.1, max(count, 2), dtype=torch.float64)[:count, None]
    matrices = torch.from_numpy(Rotation.from_rotvec((AXES[:count] * angles).numpy()).as_matrix())

    found = axis_angle_from_matrix(matrices.reshape(*leading, 3, 3))

    torch.testing.assert_close(found.reshape(-1, 3), AXES[:count] * angles)


@pytest.mark.parametrize("angle", [0.01, 1.0, 2.0, 3.0, 3.14])
def test_every_branch_gives_the_vector_back(angle):
    vectors = AXES * angle

    found = axis_angle_from_matrix(matrix_from_axis_angle_smpl(vectors))

    torch.testing.assert_close(found, vectors, rtol=1e-4, atol=1e-6)  # 1e-8 is added before the norm


def test_tiny_rotations_are_twice_the_quaternion_s_vector():
    vectors = AXES * 1e-4

    found = axis_angle_from_matrix(matrix_from_axis_angle_smpl(vectors))

    torch.testing.assert_close(found, 2 * math.sin(5e-5) * AXES, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "axis", [(0.0, 0, 0), (math.pi, 0, 0), (0, math.pi, 0), (0, 0, math.pi), (1e-9, 0, 0)]
)
def test_gradients_are_finite_where_branches_meet(axis):
    matrix = matrix_from_axis_angle_smpl(torch.tensor(axis)).requires_grad_()

    (gradient,) = torch.autograd.grad(axis_angle_from_matrix(matrix).sum(), matrix)

    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_gradients_agree_with_finite_differences():
    vectors = (AXES[:8] * torch.linspace(0.3, 3.0, 8, dtype=torch.float64)[:, None]).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda values: axis_angle_from_matrix(matrix_from_axis_angle_smpl(values)), (vectors,)
    )
