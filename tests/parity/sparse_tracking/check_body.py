"""Posed joints and skinned vertices of the stand-in body, read from its official file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch

from avatarctl.body import Bodies


def check_body(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The male SMPL-H body of `fixtures.write_body_model`, posed with and without translation."""
    with tempfile.TemporaryDirectory() as temporary:
        body = Bodies().load("smplh", "male", golden.recipes(folder).write_body_model(temporary))
    given = {name: torch.from_numpy(arrays[name]) for name in INPUTS["body_model"]}
    poses = torch.cat([given["root_orient"], given["pose_body"]], dim=1).unflatten(1, (22, 3))
    posed = body.shape().pose(poses, given["trans"])
    return {
        "joints": posed.joints.numpy(),
        "vertices": posed.vertices().numpy(),
        "joints_without_trans": body.shape().pose(poses).joints[:, :22].numpy(),
    }


KINDS = {"body_model": check_body}
INPUTS = {"body_model": ("root_orient", "pose_body", "trans")}
