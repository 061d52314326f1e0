"""Somebody of the open body in the embedded office, as infer would have found them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.recovered import Recovered

from avatarctl.body import Bodies
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

OFFICE = Path(str(resources.files("avatarctl") / "_data" / "scene"))
PHOTO, ROOM, CAMERA = (OFFICE / f"office_desk_tum{end}" for end in ("_color.jpg", ".ply", ".json"))


def people():
    return People.load(Bodies(), "open")


def poses(count, samples, deviation=0.15):
    """Standing people, a little different from each other [count, samples, 24, 3]."""
    found = deviation * torch.randn(count, samples, 24, 3, generator=torch.Generator().manual_seed(5))
    found[:, :, 0] = torch.tensor([torch.pi, 0.0, 0.0])  # upright where y is down
    return found


def recovered(count=2, samples=3, **changes):
    camera = json.loads(CAMERA.read_text())
    lens, rows = camera["intrinsics"], np.ones(count)
    nothing = np.full((count, samples), 0.0)
    noise = torch.Generator().manual_seed(6)
    content = {
        "names": np.array([str(PHOTO)] * count),
        "rooms": np.array([str(ROOM)] * count),
        "betas": torch.randn(count, 1, 10, generator=noise).expand(-1, samples, -1).numpy(),
        "matrices": matrix_from_axis_angle_smpl(poses(count, samples)).numpy(),
        "transl": np.float32([[0.4 * row - 0.3, 0.2, 2.6] for row in range(count)]),
        "focal": np.float32(lens["fx"] * rows),
        "centre": np.float32([[lens["cx"], lens["cy"]]] * count),
        "box_centre": np.float32([[320, 240]] * count),
        "box_size": np.float32(300 * rows),
        "size": np.array([[640, 480]] * count),
        "camera_from_scene": np.linalg.inv([camera["world_from_camera"]] * count),
        "collision": nothing,
        "contact": nothing,
        "gap": nothing,
        "true_transl": np.full((count, 3), np.nan, np.float32),
        "body": "open",
    }
    return Recovered(**(content | changes))
