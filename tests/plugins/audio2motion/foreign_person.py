"""A capture person as published files describe one: other names, rest pose, axes and unit than the open one.

The bones are those of the open body standing with its arms down; so where each must point is known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.body.tables import NAMES, PARENTS
from avatarctl.device import Noise
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import (
    matrix_from_axis_angle_smpl,
    matrix_from_quaternion,
    quaternion_from_matrix,
)

CENTIMETRES = 100.0
SCALE = 0.2
"""The person's own scale: a binary logarithm, of all bones."""
WORDS = {
    "pelvis": "b_spine0", "spine1": "b_spine1", "spine2": "b_spine2", "spine3": "b_spine3",
    "neck": "b_neck0", "head": "b_head", "hip": "upleg", "knee": "leg", "ankle": "foot", "foot": "ball",
    "collar": "shoulder", "shoulder": "arm", "elbow": "forearm", "wrist": "wrist",
}  # fmt: skip
CHANNELS, BODY_BONES = 7, 23


def names() -> list[str]:
    """The bones: a root above the pelvis, the body, the fingers, and a twist bone at the end."""
    found = ["b_root"]
    for joint in NAMES["smplh"]:
        side, _, kind = joint.partition("_")
        word = WORDS.get(kind or side, kind)
        found.append(f"b_{side[0]}_{word}" if kind else word)
    return [*found, "b_l_forearm_twist"]


def parents() -> list[int]:
    """The bone above each; a number beyond them all for the root."""
    above = [(1 << 32) - 1, *(parent + 1 for parent in PARENTS["smplh"])]
    return [*above, names().index("b_l_forearm")]


def write(folder: Path, **changes: object) -> Path:
    """Write static_assets.pt for the person, with some bones called otherwise; the folder is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    content = assets()
    for bone in content["lbs_model_json"]["Skeleton"]["Bones"]:
        bone["Name"] = changes.get(bone["Name"], bone["Name"])
    torch.save(content, folder / "static_assets.pt")
    return folder


def assets() -> dict:
    """The skeleton and a skin of one vertex a bone."""
    world, places = _rest()
    bones = names()
    listed = []
    for bone, above in enumerate(parents()):
        axes = torch.eye(3) if above >= len(bones) else world[above]
        start = torch.zeros(3) if above >= len(bones) else places[above]
        turn = quaternion_from_matrix(axes.T @ world[bone])
        listed.append(
            {
                "Name": bones[bone],
                "Parent": above,
                "PreRotation": turn[[1, 2, 3, 0]].tolist(),
                "TranslationOffset": (axes.T @ (places[bone] - start)).tolist(),
            }
        )
    transform = _transform(bones)
    return {
        "lbs_model_json": {
            "Skeleton": {"Bones": listed},
            "SkinnedModel": {
                "SkinningWeights": [[bone, 1.0] for bone in range(len(bones))],
                "SkinningOffsets": list(range(len(bones) + 1)),
            },
        },
        "lbs_config_dict": {
            "transform": transform,
            "transform_offsets": np.zeros((1, len(transform)), np.float32),
        },
        "lbs_template_verts": places.numpy(),
        "lbs_scale": np.array([SCALE], np.float32),
        "global_scaling": np.array([10.0], np.float32),
    }


def _transform(bones: list[str]) -> np.ndarray:
    """104 parameters: root, three angles of each body joint, the bend of each finger bone, a twist."""
    drives = [(0, channel) for channel in range(6)]
    drives += [(bone, channel) for bone in range(2, BODY_BONES) for channel in (3, 4, 5)]
    drives += [(bone, 5) for bone in range(BODY_BONES, len(bones) - 1)]
    drives += [(len(bones) - 1, channel) for channel in (3, 4, 5)]
    drives += [(1, channel) for channel in (4, 5)]
    transform = np.zeros((CHANNELS * len(bones), 105), np.float32)
    for column, (bone, channel) in enumerate(drives[:104]):
        transform[CHANNELS * bone + channel, column] = 1.0
    transform[6, 104] = 1.0  # the root's scale
    return transform


def _rest() -> tuple[Tensor, Tensor]:
    """World axes [J, 3, 3] and places [J, 3] of the bones at rest: arms down, axes at random, centimetres."""
    body = open_body("smplh")
    joints = NAMES["smplh"]
    pose = torch.zeros(len(joints), 3)
    pose[joints.index("left_shoulder"), 2], pose[joints.index("right_shoulder"), 2] = -0.8, 0.8
    local = matrix_from_axis_angle_smpl(pose)
    _, places = forward_kinematics(local, body.rest_joints, PARENTS["smplh"])
    places = CENTIMETRES * torch.cat([places[:1] - 0.1, places, places[18:19]])
    turns = torch.nn.functional.normalize(Noise.seeded(3, "axes").normal((len(places), 4)), dim=1)
    axes = matrix_from_quaternion(turns)
    axes[BODY_BONES:-1] = torch.eye(3)  # fingers bend about z
    return axes, places
