"""The avatar in star pose, its canonical one: the surface there, and how it follows a skeleton.

Its shares of the joints are the avatar's own: a motion of the skeleton moves the surface by the inverse of
what brings points of a posed body to the star pose (spec 4.6, 4.7); non-rigid motion is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import PARENTS
from avatarctl.export.gltf import Bones, Figure
from avatarctl.geometry.kinematics import forward_kinematics, local_rotations
from avatarctl.geometry.meshes import Mesh
from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle_smpl,
    minimal_rotation,
)
from avatarctl.motion import Motion
from avatarctl_video_avatar.body_fit import blended, star_transforms, star_vertices
from avatarctl_video_avatar.driving import up_axis
from avatarctl_video_avatar.items import POSE_SHIFT
from avatarctl_video_avatar.model.avatar import Avatar
from avatarctl_video_avatar.model.nearest import NEIGHBOURS, Nearest, skinning_of
from avatarctl_video_avatar.pipeline import Person
from avatarctl_video_avatar.prepared import Fit
from avatarctl_video_avatar.sample import Pose

SMPL = PARENTS["smpl"]


@dataclass(frozen=True)
class Skeleton:
    """Joints in T-pose, metres [24, 3], and the motions from T-pose to star pose [24, 4, 4]; float64."""

    joints: Tensor
    star: Tensor

    @classmethod
    def of(cls, joints: np.ndarray) -> Skeleton:
        """That of canonical joints [24, 3]."""
        return cls(torch.from_numpy(joints).double(), torch.from_numpy(star_transforms(joints)).double())

    @property
    def binds(self) -> Tensor:
        """From star pose into the axes of each joint [24, 4, 4]."""
        to_joints = torch.eye(4, dtype=torch.float64).repeat(len(self.joints), 1, 1)
        to_joints[:, :3, 3] = -self.joints
        return to_joints @ torch.linalg.inv(self.star)

    def motions(self, motion: Motion) -> Tensor:
        """From star pose to each frame of a motion, in its axes [T, 24, 4, 4]."""
        local = matrix_from_axis_angle_smpl(motion.body_poses(len(SMPL)).double())
        world, places = forward_kinematics(local, self.joints, SMPL, motion.root.double())
        joints = torch.eye(4, dtype=torch.float64).repeat(len(motion), len(SMPL), 1, 1)
        joints[..., :3, :3], joints[..., :3, 3] = world, places
        return joints @ self.binds


def star_pose(person: Person) -> Pose:
    """The pose in which bodies are canonical: its bones move nothing."""
    canonical = person.data.canonical
    joints, star = torch.from_numpy(canonical[0]).float(), Skeleton.of(canonical[0]).star.float()
    rotations = local_rotations(star[:, :3, :3], SMPL)
    return Pose(
        joints=joints,
        star=star,
        rotations=rotations,
        offsets=torch.cat([joints[:1], joints[1:] - joints[list(SMPL[1:])]]),
        numbers=axis_angle_from_matrix(rotations[1:]).flatten() + POSE_SHIFT,
        vertices=torch.from_numpy(star_vertices(person.body, *canonical)).float(),
    )


@torch.no_grad()
def shares_of(person: Person, points: Tensor, pose: Pose) -> Tensor:
    """How much each joint moves canonical points [N, 3] [N, 24]: by the network, else by nearest vertices."""
    if person.avatar.skinning_model is not None:
        return person.avatar.skinning()(points)
    return skinning_of(*Nearest(pose.vertices.to(points))(points, NEIGHBOURS), person.subject.skinning)


def figure_of(mesh: Mesh, colours: Tensor, shares: Tensor, skeleton: Skeleton) -> Figure:
    """A surface in star pose that follows the skeleton.

    Args:
        mesh: Faces look outwards.
        colours: 0 to 1 [V, 3].
        shares: Of the joints [V, 24].
    """
    return Figure(
        torch.from_numpy(mesh.vertices),
        torch.from_numpy(mesh.faces),
        colours.cpu(),
        Bones("smpl", skeleton.joints),
        shares.cpu(),
        skeleton.binds,
    )


def moved(points: np.ndarray, shares: Tensor, motions: Tensor) -> np.ndarray:
    """Points of star pose [V, 3] moved by shares [V, 24] of the joints' motions [24, 4, 4]."""
    return blended(shares.double().cpu().numpy(), motions.numpy(), points)


def motion_of(fits: Sequence[Fit], root_joint: np.ndarray, fps: float) -> Motion:
    """A recording's bodies as a motion with y up.

    Args:
        fits: Frame by frame, as bodies stand in the world.
        root_joint: Rest place of the pelvis, metres [3]: a motion turns about it.
    """
    pelvis = torch.from_numpy(root_joint).double()
    poses = torch.from_numpy(np.stack([fit.poses for fit in fits])).double().unflatten(1, (len(SMPL), 3))
    turns = matrix_from_axis_angle_smpl(torch.from_numpy(np.stack([fit.Rh for fit in fits])).double())
    shifts = torch.from_numpy(np.stack([fit.Th for fit in fits])).double()
    upright = minimal_rotation(torch.from_numpy(up_axis(fits)), torch.tensor([0.0, 1.0, 0.0]).double())
    turns, places = upright @ turns, (turns @ pelvis + shifts) @ upright.T
    poses[:, 0] = axis_angle_from_matrix(turns)
    return Motion(poses.float(), (places - pelvis).float(), fps, skeleton="smpl", up="y")


@torch.no_grad()
def refined(avatar: Avatar, motion: Motion) -> Motion:
    """A motion with each joint but the root corrected by the avatar's pose decoder."""
    poses = motion.body_poses(len(SMPL))
    device = next(avatar.parameters()).device
    turns = avatar.pose_decoder(poses[:, 1:].flatten(1).to(device) + POSE_SHIFT).to(poses)
    better = axis_angle_from_matrix(matrix_from_axis_angle_smpl(poses[:, 1:]) @ turns)
    return motion.replace(poses=torch.cat([poses[:, :1], better], dim=1))
