"""Joint states, skinning and its inverse of the stand-in person (spec 7.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch
from avatarctl_audio2motion.avatar.fields import Fields
from avatarctl_audio2motion.avatar.skeleton import States, quaternion_from_euler, read_skeleton

inputs = golden.module(Path(__file__).with_name("inputs.py"))


def check_lbs(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """A pose to channels, states, matrices and vertices, and back."""
    assets = json.loads(Path(case["path"]).with_name("body_assets.json").read_text())
    skeleton = read_skeleton(Fields(assets, "body_assets.json"))
    pose, delta = (torch.from_numpy(inputs.value_of(case["inputs"][name])) for name in ("pose", "delta"))
    posed, template = skeleton.posed(pose, delta), skeleton.posed(pose)
    found = {
        "joint_params": skeleton.channels(pose),
        "states": joined(skeleton.states(pose)),
        "bind_state": joined(skeleton.bind)[None],
        "matrices": skeleton.matrices(pose),
        "posed": posed,
        "template_pose": template,
        "unposed_delta": skeleton.unposed(posed, pose),
        "render_geom": template,
        "quat_xyz": quaternion_from_euler(pose[:, None, 3:6])[..., [1, 2, 3, 0]],
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def joined(states: States) -> torch.Tensor:
    """Place, quaternion xyzw and scale side by side [..., J, 8], as the case has them."""
    return torch.cat([states.places, states.quaternions[..., [1, 2, 3, 0]], states.scales], dim=-1)


KINDS = {"lbs": check_lbs}
