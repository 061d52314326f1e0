"""Golden checks of small tools: views, motions, cameras, colours and the grid of meshes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from avatarctl_generative_avatar import label, labels, mesh
from avatarctl_generative_avatar.deform.template import Template
from generative_avatar import inputs
from torch import Tensor

from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

EXACT = 1e-5
LOOKING = (1.2, 1.4, 0.0, 0.1, 0.0, 2.0)
"""Angles, target and radius that the packaged case names."""


def check(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The tools of the published test script."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    number = r"(-?[\d.]+)"
    camera = rf"camera\({number},{number},\({number},{number},{number}\),radius {number}\)"
    across, height, *target, radius = inputs.told(case, camera, *LOOKING)
    (view,) = inputs.told(case, rf"FOV_to_intrinsics\({number}\)", 18.837)
    (steps,) = inputs.told(case, r"create_samples\((\d+)\)", 12)
    palette = Template.of(inputs.body(folder)).palette
    found = {
        "angles": labels.swing(),
        "novel_orient": labels.turned(given["c"], given["angles"])[:, label.ROOT],
        "cano_label": label.canonical_pose(given["c"]),
        "lookat": labels.looking_camera(across, height, torch.tensor(target), radius)[None],
        "intr": labels.intrinsics_of(view),
        # In float64: a rounding step of float32 is more than the case's tolerance at values up to 255.
        "w_colors": ((given["w"] * mesh.DIMMED).double() @ palette.double() * 255).float(),
        f"grid{steps:.0f}": grid(given["grid_verts"], int(steps))[None],
    }
    for columns in (72, 156):
        frames = labels.published_frames(given[f"amass_poses_{columns}"])
        found[f"amass_smpl_{columns}"] = frames
        found[f"anim_labels_{columns}"] = labels.published_animation(given["c"], frames)
    for name, first in (("novel_orient", 0), *((f"amass_smpl_{c}", 4) for c in (72, 156))):
        found[name] = same_sign(found[name], given[name], slice(first, first + 3))
    for columns in (72, 156):
        name = f"anim_labels_{columns}"
        found[name] = same_sign(found[name], given[name], label.ROOT)
    return {name: tensor.numpy() for name, tensor in found.items()}


def same_sign(found: Tensor, wanted: Tensor, place: slice) -> Tensor:
    """The case compares rotation vectors as matrices: equal ones take the expected vector's sign."""
    matrices = (matrix_from_axis_angle_smpl(one[:, place].double()) for one in (found, wanted))
    is_equal = torch.stack(list(matrices)).diff(dim=0)[0].abs().flatten(1).amax(dim=1) < EXACT
    made = found.clone()
    made[:, place] = torch.where(is_equal[:, None], wanted[:, place], found[:, place])
    return made


def grid(vertices: Tensor, n: int) -> Tensor:
    """Where the published extraction asks a field around a body [n^3, 3]."""
    asked: list[Tensor] = []

    def values(points: Tensor) -> Tensor:
        asked.append(points[0])
        return torch.zeros(points.shape[:2])

    field = SimpleNamespace(space=None, template=SimpleNamespace(vertices=vertices), values=values)
    mesh.published_volume(field, n)  # type: ignore[arg-type]
    return torch.cat(asked)


KINDS = {"tools": check}
INPUTS = {"tools": ("c", "amass_poses_*", "w", "grid_verts")}
TOLERANCES = {"tools": {"*": {"rtol": 0.0, "atol": EXACT}}}
