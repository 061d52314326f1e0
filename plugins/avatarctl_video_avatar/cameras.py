"""Cameras for pictures of an avatar: those of the recording, or ones that follow the person."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from avatarctl.geometry.cameras import intrinsics_from_view, look_at
from avatarctl_video_avatar.prepared import Camera

VIEW = math.radians(30)
"""What the shorter side of a picture sees."""
ROOM = 1.15
"""How much larger than the person the picture is."""
LYING = 0.1
"""Sine of the angle from up below which somebody faces up or down."""


def around(
    boxes: Sequence[np.ndarray],
    up: np.ndarray,
    size: tuple[int, int],
    *,
    turns: float,
    start: float = 0.0,
    facing: np.ndarray | None = None,
) -> list[Camera]:
    """One camera a frame, on a circle around the person, level with its middle.

    Args:
        boxes: Corners of the person in each frame, world, metres [F][2, 3].
        up: The axis of the world that points up [3].
        size: Rows and columns.
        turns: Full circles over all frames; 0 stands still.
        start: Where the first camera stands, degrees from straight before the person, whose left comes next.
        facing: Where the person looks [3]; left out, or along `up`: any direction.
    """
    middles = np.stack([box.mean(axis=0) for box in boxes])
    middles = middles.mean(axis=0, keepdims=True) if turns == 0 else middles
    middles = np.broadcast_to(middles, (len(boxes), 3)).copy()
    extent = max(float(np.linalg.norm(box[1] - box[0])) for box in boxes)
    spread = 0.0
    if turns == 0:
        spread = max(float(np.linalg.norm(box.mean(axis=0) - middles[0])) for box in boxes)
    distance = ROOM * (extent / 2 + spread) / math.tan(VIEW / 2) + extent / 4
    side = np.cross(up, facing) if facing is not None else np.zeros(3)
    if np.linalg.norm(side) < LYING:
        side = np.eye(3)[int(np.abs(up).argmin())]
    side = side / np.linalg.norm(side)
    ahead = np.cross(side, up)
    intrinsics = intrinsics_from_view(VIEW, size).double()
    intrinsics[:2, 2] -= 0.5  # here integer coordinates are pixel centres (spec 4.2)
    cameras = []
    for row, middle in enumerate(middles):
        angle = math.radians(start) + 2 * math.pi * turns * row / len(boxes)
        eye = middle + distance * (math.cos(angle) * ahead + math.sin(angle) * side)
        rotation, translation = look_at(*(torch.from_numpy(place) for place in (eye, middle, up)))
        extrinsics = np.eye(4)
        extrinsics[:3, :3], extrinsics[:3, 3] = rotation.numpy(), translation.numpy()
        cameras.append(Camera(intrinsics.numpy().astype(np.float32), extrinsics, np.zeros(5, np.float32)))
    return cameras
