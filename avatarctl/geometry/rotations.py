"""Rotations: matrix, quaternion (wxyz), axis-angle, 6D and Euler angles; any leading shape.

Names read `result_from_source`. The axis-angle and matrix conversions are the variants of the published
sparse-tracking system (spec sparse-tracking 3.1), with gradients that stay finite at the identity; 6D is from
Zhou et al., "On the Continuity of Rotation Representations in Neural Networks" (CVPR 2019).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect

Layout = Literal["columns", "interleaved", "rows"]
"""6D layouts: the first two columns one after the other, the same interleaved, or the first two rows."""


def cross_matrix(vector: Tensor) -> Tensor:
    """The matrix [v]x with [v]x w = v x w [..., 3, 3] of vectors [..., 3]."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians."""
    expect(axis_angle, "... 3", "axis_angle")
    square = (axis_angle * axis_angle).sum(-1, keepdim=True)
    is_large = square > 1e-6
    theta = torch.where(is_large, square, torch.ones_like(square)).sqrt()
    # parity: the axis is divided by theta + 1e-6, R is slightly non-orthogonal (sparse-tracking 3.1).
    axis = axis_angle / (theta + 1e-6)
    cos, sin = theta.cos().unsqueeze(-1), theta.sin().unsqueeze(-1)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    outer = axis.unsqueeze(-1) * axis.unsqueeze(-2)
    large = cos * eye + (1 - cos) * outer + sin * cross_matrix(axis)
    return torch.where(is_large.unsqueeze(-1), large, eye + cross_matrix(axis_angle))


def matrix_from_axis_angle_smpl(axis_angle: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians, as SMPL body models make them.

    1e-8 is added to each component before the norm.
    """
    expect(axis_angle, "... 3", "axis_angle")
    # parity: sparse-tracking 3.1, second variant; smplx does the same.
    angle = (axis_angle + 1e-8).norm(dim=-1, keepdim=True)
    cross = cross_matrix(axis_angle / angle)
    cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """Quaternions wxyz [..., 4] of rotation matrices [..., 3, 3], by the four-branch method."""
    expect(matrix, "... 3 3", "matrix")
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    branches = torch.stack(
        [
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], -1),
            torch.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], -1),
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
        ],
        dim=-2,
    )
    is_low = m22 < 1e-6
    which = torch.where(
        is_low, torch.where(m00 > m11, 0, 1), torch.where(m00 < -m11, 2, 3)
    )  # branch x, y, z or w
    chosen = branches.gather(-2, which[..., None, None].expand(*which.shape, 1, 4)).squeeze(-2)
    pivot = torch.tensor([1, 2, 3, 0], device=matrix.device)[which]
    t = chosen.gather(-1, pivot.unsqueeze(-1))
    return chosen * (0.5 / t.sqrt())


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of unit quaternions wxyz [..., 4]; nothing is normalised."""
    expect(quaternion, "... 4", "quaternion")
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        1 - 2 * y * y - 2 * z * z, 2 * x * y - 2 * w * z, 2 * x * z + 2 * w * y,
        2 * x * y + 2 * w * z, 1 - 2 * x * x - 2 * z * z, 2 * y * z - 2 * w * x,
        2 * x * z - 2 * w * y, 2 * y * z + 2 * w * x, 1 - 2 * x * x - 2 * y * y,
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_product(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton products wxyz [..., 4]: the rotation `right`, then `left`; leading shapes broadcast."""
    expect(left, "... 4", "left")
    expect(right, "... 4", "right")
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    parts = [
        a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w,
    ]  # fmt: skip
    return torch.stack(parts, dim=-1)


def axis_angle_from_quaternion(quaternion: Tensor) -> Tensor:
    """Axis-angle vectors [..., 3] with angles up to pi of quaternions wxyz [..., 4]."""
    expect(quaternion, "... 4", "quaternion")
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    square = (xyz * xyz).sum(-1, keepdim=True)
    is_turned = square > 1e-20
    sine = torch.where(is_turned, square, torch.ones_like(square)).sqrt()
    # By the tangent of half of it: unlike atan2, whose last bit depends on the place in the tensor, atan
    # gives every element the same whatever stands beside it, as streams need that equal their recordings.
    half = 2 * torch.atan(sine / (w.abs() + (square + w * w).sqrt()))
    half = torch.where(w < 0, -half, half)
    return torch.where(is_turned, 2 * half / sine, torch.full_like(w, 2.0)) * xyz


def quaternion_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Unit quaternions wxyz [..., 4] of axis-angle vectors [..., 3]."""
    expect(axis_angle, "... 3", "axis_angle")
    square = (axis_angle * axis_angle).sum(-1, keepdim=True)
    is_turned = square > 1e-12
    angle = torch.where(is_turned, square, torch.ones_like(square)).sqrt()
    scale = torch.where(is_turned, (angle / 2).sin() / angle, 0.5 - square / 48)
    cos = torch.where(is_turned, (angle / 2).cos(), 1 - square / 8)
    return torch.cat([cos, scale * axis_angle], dim=-1)


def axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    """Axis-angle vectors [..., 3] with angles up to pi of rotation matrices [..., 3, 3]."""
    return axis_angle_from_quaternion(quaternion_from_matrix(matrix))


def sixd_from_matrix(matrix: Tensor, layout: Layout = "columns") -> Tensor:
    """6D rotations [..., 6] of matrices [..., 3, 3]."""
    expect(matrix, "... 3 3", "matrix")
    if layout == "rows":
        return matrix[..., :2, :].flatten(-2)
    columns = matrix[..., :, :2]
    return columns.flatten(-2) if layout == "interleaved" else columns.mT.flatten(-2)


def matrix_from_sixd(sixd: Tensor, layout: Layout = "columns") -> Tensor:
    """Rotation matrices [..., 3, 3] by Gram-Schmidt from 6D rotations [..., 6] of any length."""
    expect(sixd, "... 6", "sixd")
    if layout == "interleaved":
        first, second = sixd[..., 0::2], sixd[..., 1::2]
    else:
        first, second = sixd[..., :3], sixd[..., 3:]
    first = torch.nn.functional.normalize(first, dim=-1)
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-2 if layout == "rows" else -1)


def slerp(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """Quaternions [..., 4] on the shorter arc from `start` to `end` (both [..., 4]) at fractions [..., 1]."""
    cosine = (start * end).sum(-1, keepdim=True)
    end = torch.where(cosine < 0, -end, end)
    cosine = cosine.abs().clamp(max=1.0)
    is_wide = cosine < 1 - 1e-6
    angle = torch.acos(torch.where(is_wide, cosine, torch.zeros_like(cosine)))
    left = torch.where(is_wide, ((1 - fraction) * angle).sin() / angle.sin(), 1 - fraction)
    right = torch.where(is_wide, (fraction * angle).sin() / angle.sin(), fraction)
    return torch.nn.functional.normalize(left * start + right * end, dim=-1)


def matrix_about(axis: Literal["X", "Y", "Z"], angle: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] about one coordinate axis by angles [...] in radians."""
    cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        "X": [one, zero, zero, zero, cos, -sin, zero, sin, cos],
        "Y": [cos, zero, sin, zero, one, zero, -sin, zero, cos],
        "Z": [cos, -sin, zero, sin, cos, zero, zero, zero, one],
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_from_euler(angles: Tensor, order: str) -> Tensor:
    """Rotation matrices [..., 3, 3]: the elementary rotations multiplied in the order listed (intrinsic).

    Args:
        angles: Radians, in the order listed [..., len(order)].
        order: Axes such as "ZXY".
    """
    result = matrix_about(order[0], angles[..., 0])  # type: ignore[arg-type]
    for index, axis in enumerate(order[1:], start=1):
        result = result @ matrix_about(axis, angles[..., index])  # type: ignore[arg-type]
    return result


def euler_zxy_from_matrix(matrix: Tensor) -> Tensor:
    """Angles (z, x, y) [..., 3] in radians with R = Rz Rx Ry; at the poles y is 0."""
    expect(matrix, "... 3 3", "matrix")
    sin_x = matrix[..., 2, 1].clamp(-1, 1)
    is_pole = sin_x.abs() > 1 - 1e-12
    z = torch.where(
        is_pole,
        torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0]),
        torch.atan2(-matrix[..., 0, 1], matrix[..., 1, 1]),
    )
    cos_x = (matrix[..., 0, 1] ** 2 + matrix[..., 1, 1] ** 2).sqrt()
    y = torch.where(is_pole, torch.zeros_like(z), torch.atan2(-matrix[..., 2, 0], matrix[..., 2, 2]))
    return torch.stack([z, torch.atan2(sin_x, cos_x), y], dim=-1)


def minimal_rotation(source: Tensor, target: Tensor) -> Tensor:
    """The smallest rotations [..., 3, 3] that turn directions `source` [..., 3] into `target` [..., 3]."""
    source = torch.nn.functional.normalize(source, dim=-1)
    target = torch.nn.functional.normalize(target, dim=-1)
    cross = torch.linalg.cross(source, target, dim=-1)
    dot = (source * target).sum(-1)[..., None, None]
    eye = torch.eye(3, dtype=source.dtype, device=source.device)
    k = cross_matrix(cross)
    turned = eye + k + k @ k / (1 + dot).clamp(min=1e-12)
    other = torch.nn.functional.one_hot(source.abs().argmin(-1), 3).to(source)
    normal = torch.nn.functional.normalize(torch.linalg.cross(source, other, dim=-1), dim=-1)
    half_turn = 2 * normal.unsqueeze(-1) * normal.unsqueeze(-2) - eye
    return torch.where(dot < -1 + 1e-9, half_turn, turned)


def geodesic(first: Tensor, second: Tensor) -> Tensor:
    """Angles [...] in radians between rotation matrices [..., 3, 3], exact for small ones."""
    quaternion = quaternion_from_matrix(first.mT @ second)
    return 2 * torch.atan2(quaternion[..., 1:].norm(dim=-1), quaternion[..., 0].abs())
