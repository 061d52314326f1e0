"""Motions of the bones from the canonical star pose to a pose (spec 4.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.body.tables import PARENTS
from avatarctl_video_avatar.sample import Pose


def chain(rotations: Tensor, offsets: Tensor) -> Tensor:
    """Transforms of the joints [24, 4, 4] of rotations [24, 3, 3] and offsets [24, 3] relative to parents."""
    last = rotations.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rotations), 1, 4)
    local = torch.cat([torch.cat([rotations, offsets[..., None]], dim=-1), last], dim=1)  # [24, 4, 4]
    made = [local[0]]
    for joint, parent in enumerate(PARENTS["smpl"][1:], start=1):
        made.append(made[parent] @ local[joint])
    return torch.stack(made)


def bone_transforms(pose: Pose, refined: Tensor | None = None) -> Tensor:
    """From star pose to the pose, in the body's frame, metres [24, 4, 4].

    Args:
        refined: Turns each joint but the root further [23, 3, 3].
    """
    rotations = pose.rotations
    if refined is not None:
        rotations = torch.cat([rotations[:1], rotations[1:] @ refined])
    joints = chain(rotations, pose.offsets)
    places = joints[:, :3, 3] - (joints[:, :3, :3] @ pose.joints[..., None])[..., 0]
    motions = torch.cat([torch.cat([joints[:, :3, :3], places[..., None]], dim=-1), joints[:, 3:]], dim=1)
    return motions @ torch.linalg.inv(pose.star)
