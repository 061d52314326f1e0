"""The open capture person: a skeleton of 104 body parameters over the open body, in the published layout.

Bones are those of SMPL-X, lengths decimetres, y up, facing +z. Root: place and Euler angles, heading last.
Every other joint of the body has three angles, the jaw opens, and each hand has 17 parameters, of which those
of a finger's middle bend the tip along. Euler axes are chosen so that no pose of a standing person comes near
an angle of 90 degrees about the middle one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel, open_body
from avatarctl.body.tables import FINGERS, NAMES, NUM_BODY, PARENTS
from avatarctl.geometry.rotations import quaternion_from_matrix

JOINTS, ABOVE = NAMES["smplx"], PARENTS["smplx"]
UNIT = 10.0
"""Lengths in a metre: decimetres."""
ROOT_PARENT = (1 << 32) - 1
CHANNELS = ("tx", "ty", "tz", "rx", "ry", "rz", "sc")
TIP = 0.65
"""A finger's last joint bends so much of the middle one (spec open-body 9)."""
UP, LEFT, FRONT = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
RAISED = (0.0, 2**-0.5, 2**-0.5)
"""Half way between up and front, where upper arms seldom point."""
THUMB_BEND = (0.176, 0.969, -0.173)
"""What a left thumb's last joints bend about."""
# The axes of the first and the last of a joint's rotations (Rz and Rx); the last one is the bone's.
FRAMES = {
    "pelvis": (UP, LEFT), "hip": (LEFT, UP), "knee": (LEFT, UP), "ankle": (LEFT, UP), "foot": (LEFT, UP),
    "spine1": (LEFT, UP), "spine2": (LEFT, UP), "spine3": (LEFT, UP), "neck": (LEFT, UP), "head": (LEFT, UP),
    "jaw": (LEFT, UP), "collar": (UP, LEFT), "shoulder": (RAISED, LEFT), "elbow": (UP, LEFT),
    "wrist": (FRONT, LEFT), "thumb1": (UP, LEFT), "thumb2": (THUMB_BEND, LEFT), "thumb3": (THUMB_BEND, LEFT),
}  # fmt: skip
FLAT = (FRONT, LEFT)
"""The axes of the other fingers: bends, then twists."""


@cache
def open_assets() -> dict[str, Any]:
    """What the published static assets of a person hold of its skeleton and skin, for the open person."""
    body = open_body("smplx")
    frames, places = _frames(), body.rest_joints.double()
    bones = []
    for joint, name in enumerate(JOINTS):
        above = ABOVE[joint]
        axes = torch.eye(3, dtype=torch.float64) if above < 0 else frames[above].T
        step = places[joint] - (0.0 if above < 0 else places[above])
        turn = quaternion_from_matrix(axes @ frames[joint])
        bones.append(
            {
                "Name": name,
                "Parent": ROOT_PARENT if above < 0 else above,
                "PreRotation": turn[[1, 2, 3, 0]].numpy(),
                "TranslationOffset": (UNIT * axes @ step).numpy(),
            }
        )
    names, transform = _parameters()
    template = UNIT * body.template.numpy()
    return {
        "lbs_model_json": {"Skeleton": {"Bones": bones}, "SkinnedModel": _skin(body, template)},
        "lbs_config_dict": {
            "channel_names": list(CHANNELS),
            "transform": transform,
            "transform_offsets": np.zeros((1, len(transform)), np.float32),
            "limits": [],
            "nr_scaling_params": 1,
            "nr_position_params": len(names),
            "joint_names": list(JOINTS),
        },
        "model_param_names": [*names, "scale"],
        "lbs_template_verts": template,
        "lbs_scale": np.zeros(1, np.float32),
        "global_scaling": np.array([1000 / UNIT], np.float32),  # to millimetres
    }


def _frames() -> Tensor:
    """World axes of each joint at rest, as columns, float64 [J, 3, 3]."""
    frames = []
    for name in JOINTS:
        side, _, kind = name.partition("_") if "_" in name else ("", "", name)
        first, last = (torch.tensor(axis, dtype=torch.float64) for axis in FRAMES.get(kind, FLAT))
        if side == "right" and kind.startswith("thumb"):
            first = first * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        last = torch.nn.functional.normalize(last - (last @ first) * first, dim=0)
        frames.append(torch.stack([last, torch.linalg.cross(first, last), first], dim=1))
    return torch.stack(frames)


def _parameters() -> tuple[list[str], np.ndarray]:
    """Names of the 104 body parameters, and what they do to the joint channels [7J, 104 + 1 of scale]."""
    drives: dict[str, dict[tuple[str, str], float]] = {
        f"pelvis_{channel}": {("pelvis", channel): 1.0} for channel in CHANNELS[:6]
    }
    for name in JOINTS[1:NUM_BODY]:
        drives |= {f"{name}_{channel}": {(name, channel): 1.0} for channel in CHANNELS[3:6]}
    drives["jaw_open"] = {("jaw", "rz"): 1.0}
    for side in ("left", "right"):
        drives |= _hand(side, -1.0 if side == "left" else 1.0)
    drives["scale"] = {("pelvis", "sc"): 1.0}
    transform = np.zeros((len(CHANNELS) * len(JOINTS), len(drives)), np.float32)
    for column, driven in enumerate(drives.values()):
        for (joint, channel), share in driven.items():
            transform[len(CHANNELS) * JOINTS.index(joint) + CHANNELS.index(channel), column] = share
    return list(drives)[:-1], transform


def _hand(side: str, inward: float) -> dict[str, dict[tuple[str, str], float]]:
    """The 17 parameters of a hand; bending is positive on both sides, `inward` is its sign about z."""
    drives: dict[str, dict[tuple[str, str], float]] = {}
    for finger in FINGERS[:4]:
        base, middle, tip = (f"{side}_{finger}{link}" for link in (1, 2, 3))
        drives[f"{base}_bend"] = {(base, "rz"): inward}
        drives[f"{base}_spread"] = {(base, "ry"): inward}
        drives[f"{middle}_bend"] = {(middle, "rz"): inward, (tip, "rz"): TIP * inward}
    thumb = [f"{side}_thumb{link}" for link in (1, 2, 3)]
    drives |= {f"{thumb[0]}_{channel}": {(thumb[0], channel): 1.0} for channel in CHANNELS[3:6]}
    drives |= {f"{one}_bend": {(one, "rz"): -inward} for one in thumb[1:]}
    return drives


def _skin(body: BodyModel, template: np.ndarray) -> dict[str, Any]:
    """Mesh and skinning weights, the latter as pairs of joint and share with a start for each vertex."""
    vertex, joint = body.weights.nonzero().unbind(1)
    shares = (body.weights / body.weights.sum(1, keepdim=True))[vertex, joint]
    corners = body.extras["ft"].numpy()
    counts = torch.bincount(vertex, minlength=len(template))
    return {
        "RestPositions": template,
        "SkinningWeights": torch.stack([joint.to(shares), shares], dim=1).numpy(),
        "SkinningOffsets": np.concatenate([[0], counts.cumsum(0).numpy()]),
        "Faces": {
            "Indices": body.faces.flatten().numpy(),
            "TextureIndices": corners.flatten(),
            "TextureCoordinates": body.extras["vt"].numpy(),
        },
    }
