"""Matrices to axis-angle as the published system does it for collision networks (spec 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect

LEAST = 1e-6
"""Below this, roots are taken of this."""


def axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    """Axis-angle [..., 3] of rotation matrices [..., 3, 3], in radians, with finite gradients everywhere.

    Below about 1e-3 radians the result is twice the vector part of the quaternion.
    """
    quaternion = quaternion_from_matrix(matrix)
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    # parity: the sine is clamped, not the whole factor (spec 4.1).
    square = xyz.square().sum(dim=-1, keepdim=True)
    sine = square.clamp(min=LEAST).sqrt()
    sign = torch.where(w < 0, -1.0, 1.0).to(w)
    angle = 2 * torch.atan2(sign * sine, sign * w)
    return torch.where(square > 0, angle / sine, 2.0) * xyz


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """Quaternions wxyz [..., 4] of rotation matrices [..., 3, 3], from the trace or the largest diagonal."""
    expect(matrix, "... 3 3", "matrix")
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    trace = m00 + m11 + m22
    double = [  # twice w, x, y and z, each where it is the pivot
        (square.clamp(min=LEAST)).sqrt()
        for square in (1 + trace, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22)
    ]
    x, y, z = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    rows = [[None, x, y, z], [x, None, xy, xz], [y, xy, None, yz], [z, xz, yz, None]]
    branches = torch.stack(
        [
            torch.stack([pivot / 2 if part is None else part / (2 * pivot) for part in row], dim=-1)
            for pivot, row in zip(double, rows, strict=True)
        ],
        dim=-2,
    )
    diagonal = torch.where((m00 > m11) & (m00 > m22), 1, torch.where(m11 > m22, 2, 3))
    which = torch.where(trace > 0, 0, diagonal)
    return branches.gather(-2, which[..., None, None].expand(*which.shape, 1, 4)).squeeze(-2)
