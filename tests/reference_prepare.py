"""The published preparation, step by step as spec sparse-tracking 3.2 states it: the slow twin of ours.

It poses and skins the whole body for every frame where joints suffice, and keeps 22 joints in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHORTEST = 5


class WholeBody:
    """A body whose every vertex is shaped, bent and skinned in each pass, shape and soft tissue at zero."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name], np.float64)).float() for name in (
                "v_template", "shapedirs", "posedirs", "J_regressor", "weights")}  # fmt: skip
            parents = file["kintree_table"][0].astype(np.int64)
        self.template, self.regressor, self.weights = (
            arrays["v_template"],
            arrays["J_regressor"],
            arrays["weights"],
        )
        soft = torch.zeros(len(self.template), 3, 8)
        self.shapes = torch.cat([arrays["shapedirs"][..., :16], soft], dim=-1)
        self.bends = arrays["posedirs"].reshape(-1, arrays["posedirs"].shape[-1]).T
        self.parents = [-1, *parents[1:].tolist()]

    def joints(self, root: Tensor, body: Tensor, trans: Tensor) -> Tensor:
        """Posed joints, metres [T, 52, 3]; the vertices are computed on the way and dropped."""
        frames, count = len(root), len(self.parents)
        pose = torch.cat([root, body, root.new_zeros(frames, 3 * count - 66)], dim=1).reshape(-1, 3)
        coefficients = root.new_zeros(frames, self.shapes.shape[-1])
        shaped = self.template + torch.einsum("tk,vck->tvc", coefficients, self.shapes)
        rest = torch.einsum("tvc,jv->tjc", shaped, self.regressor)
        local = rodrigues_of_the_body(pose).reshape(frames, count, 3, 3)
        bent = shaped + ((local[:, 1:] - torch.eye(3)).reshape(frames, -1) @ self.bends).reshape(
            frames, -1, 3
        )
        chain = [_transform(local[:, 0], rest[:, 0])]
        for joint in range(1, count):
            parent = self.parents[joint]
            chain.append(chain[parent] @ _transform(local[:, joint], rest[:, joint] - rest[:, parent]))
        placed = torch.stack(chain, dim=1)
        posed = placed[..., :3, 3]
        back = posed - (placed[..., :3, :3] @ rest.unsqueeze(-1)).squeeze(-1)
        relative = torch.cat(
            [placed[..., :3], torch.nn.functional.pad(back, (0, 1), value=1.0).unsqueeze(-1)], dim=-1
        )
        blended = (self.weights @ relative.reshape(frames, count, 16)).reshape(frames, -1, 4, 4)
        homogeneous = torch.nn.functional.pad(bent, (0, 1), value=1.0)
        self.vertices = (blended @ homogeneous.unsqueeze(-1))[..., :3, 0] + trans.unsqueeze(1)
        return posed + trans.unsqueeze(1)


def _transform(rotation: Tensor, place: Tensor) -> Tensor:
    top = torch.cat([rotation, place.unsqueeze(-1)], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(top), 1, 4)
    return torch.cat([top, bottom], dim=1)


def rodrigues_of_the_body(vector: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] as body models make them (spec 3.1, second variant)."""
    angle = (vector + 1e-8).norm(dim=1, keepdim=True)
    cross = _cross(vector / angle)
    return (
        torch.eye(3) + angle.sin().unsqueeze(-1) * cross + (1 - angle.cos().unsqueeze(-1)) * (cross @ cross)
    )


def rodrigues(vector: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of the conversions beside the body model (spec 3.1, first variant)."""
    square = (vector * vector).sum(1, keepdim=True)
    theta = square.sqrt()
    axis = vector / (theta + 1e-6)
    cos, sin = theta.cos().unsqueeze(-1), theta.sin().unsqueeze(-1)
    eye = torch.eye(3, dtype=vector.dtype)
    turned = cos * eye + (1 - cos) * axis.unsqueeze(2) * axis.unsqueeze(1) + sin * _cross(axis)
    return torch.where(square.unsqueeze(-1) > 1e-6, turned, eye + _cross(vector))


def _cross(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)


def sixd(matrix: Tensor) -> Tensor:
    """The first two columns, one after the other [..., 6]."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)


def prepare(path: Path, body: WholeBody) -> dict[str, Any] | None:
    """The official dictionary of one archive, or None where it is left out."""
    with np.load(path, allow_pickle=True) as archive:
        if "mocap_framerate" not in archive:
            return None
        rate = float(archive["mocap_framerate"])
        stride = {120.0: 2, 60.0: 1}.get(rate) or round(rate / 60)
        poses, trans, gender = archive["poses"][::stride], archive["trans"][::stride], archive["gender"]
    if len(poses) < SHORTEST:
        return None
    flat = torch.from_numpy(poses).float()
    parameters = {
        "root_orient": flat[:, :3],
        "pose_body": flat[:, 3:66],
        "trans": torch.from_numpy(trans).float(),
    }
    joints = body.joints(*parameters.values())[:, :22]
    local6d = sixd(rodrigues(flat[:, :66].reshape(-1, 3))).reshape(len(poses), 132)
    local = rodrigues(torch.from_numpy(poses).double().reshape(-1, 3)).reshape(-1, 52, 3, 3)
    world = [local[:, 0]]
    for joint in range(1, 52):
        world.append(world[body.parents[joint]] @ local[:, joint])
    turned = torch.stack(world, dim=1)
    step = torch.linalg.inv(turned[:-1]) @ turned[1:]
    features = torch.cat([
        sixd(turned[1:, :22]).flatten(1), sixd(step[:, :22]).flatten(1), joints[1:].flatten(1),
        (joints[1:] - joints[:-1]).flatten(1),
    ], dim=1)  # fmt: skip
    head = torch.eye(4).repeat(len(poses) - 1, 1, 1)
    head[:, :3, :3], head[:, :3, 3] = turned[1:, 15].float(), joints[1:, 15]
    return {
        "rotation_local_full_gt_list": local6d[1:],
        "hmd_position_global_full_gt_list": features,
        "body_parms_list": parameters,
        "head_global_trans_list": head,
        "position_global_full_gt_world": joints[1:],
        "framerate": 60,
        "gender": gender,
        "filepath": str(path),
    }
