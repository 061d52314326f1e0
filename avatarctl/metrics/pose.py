"""Errors of poses: distances of joints, and the three rotation errors that papers call MPJRE.

The three agree for small errors only (spec sparse-tracking 7.1): say which one is printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from avatarctl.geometry.rotations import axis_angle_from_matrix, geodesic, matrix_from_axis_angle
from avatarctl.geometry.shapes import expect


def mpjpe(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Mean distance of joints over frames and joints, in the unit of the places; a scalar.

    Args:
        predicted: Joint places [..., J, 3].
        truth: The same of the truth [..., J, 3].
        joints: Which joints count; all when left out.
    """
    return joint_distances(predicted, truth, joints).mean()


def joint_distances(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Distance of each joint from its truth [..., J], in the unit of the places [..., J, 3]."""
    _expect_pair(predicted, truth)
    distances: Tensor = (_of(predicted, joints) - _of(truth, joints)).norm(dim=-1)
    return distances


def mpjre(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Rotation error as the published sparse-tracking evaluation computes it, radians; a scalar.

    Args:
        predicted: Axis-angle vectors, radians [..., J, 3].
        truth: The same of the truth [..., J, 3].
        joints: Which joints count; all when left out.
    """
    return vector_errors(predicted, truth, joints).mean()


def vector_errors(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """The rotation error of each joint of which `mpjre` is the mean, radians [..., J]; arguments as there."""
    _expect_pair(predicted, truth)
    # parity: vectors are subtracted, wrapped through a matrix, averaged by component (spec 7.1).
    difference = _of(truth, joints) - _of(predicted, joints)
    return axis_angle_from_matrix(matrix_from_axis_angle(difference)).abs().mean(-1)


def mpjre_agrol(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Rotation error as AGRoL computes it, radians: each component wrapped into -pi to pi; a scalar."""
    _expect_pair(predicted, truth)
    difference = _of(truth, joints) - _of(predicted, joints)
    return ((difference + math.pi) % (2 * math.pi) - math.pi).abs().mean()


def mean_geodesic(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Mean angle between rotations given as axis-angle vectors [..., J, 3], radians; a scalar."""
    return angles_between(predicted, truth, joints).mean()


def angles_between(predicted: Tensor, truth: Tensor, joints: Sequence[int] | None = None) -> Tensor:
    """Angle of each joint between rotations given as axis-angle vectors [..., J, 3], radians [..., J]."""
    _expect_pair(predicted, truth)
    first, second = (matrix_from_axis_angle(_of(angles, joints)) for angles in (predicted, truth))
    return geodesic(first, second)


def _of(values: Tensor, joints: Sequence[int] | None) -> Tensor:
    return values if joints is None else values[..., list(joints), :]


def _expect_pair(predicted: Tensor, truth: Tensor) -> None:
    expect(predicted, "... J 3", "predicted")
    if predicted.shape != truth.shape:
        raise ValueError(f"truth has shape {list(truth.shape)}, predicted {list(predicted.shape)}")
