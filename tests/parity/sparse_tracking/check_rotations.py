"""Rotation conversions (spec sparse-tracking 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import BODY_PARENTS, PARENTS
from avatarctl.geometry import kinematics, rotations


def check_rotations(
    case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Every conversion of the case, from its own input."""
    given = {name: torch.from_numpy(arrays[name]) for name in INPUTS["rotations"]}
    matrix = rotations.matrix_from_axis_angle(given["axis_angle"])
    from_sixd = rotations.matrix_from_sixd(given["sixd"])
    absolute = _chain(given["relative_sixd_132"], kinematics.global_rotations)
    found = {
        "matrix_from_axis_angle": matrix,
        "matrix_from_axis_angle_f64": rotations.matrix_from_axis_angle(given["axis_angle_f64"]),
        "sixd_from_axis_angle": rotations.sixd_from_matrix(matrix),
        "axis_angle_back": rotations.axis_angle_from_matrix(matrix),
        "matrix_from_sixd": from_sixd,
        "axis_angle_from_sixd": rotations.axis_angle_from_matrix(from_sixd),
        "quaternion_wxyz_from_sixd": rotations.quaternion_from_matrix(from_sixd),
        "bgs_from_sixd": from_sixd,
        "global_matrices": kinematics.global_rotations(given["local_matrices"], PARENTS["smplh"]),
        "absolute_sixd_132": absolute,
        "relative_sixd_back": _chain(absolute, kinematics.local_rotations),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def _chain(sixd: Tensor, along: Any) -> Tensor:
    matrices = rotations.matrix_from_sixd(sixd.unflatten(-1, (22, 6)))
    return rotations.sixd_from_matrix(along(matrices, BODY_PARENTS)).flatten(1)


KINDS = {"rotations": check_rotations}
INPUTS = {"rotations": ("axis_angle", "axis_angle_f64", "sixd", "local_matrices", "relative_sixd_132")}
