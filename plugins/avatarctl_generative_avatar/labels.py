"""Labels by editing others: bodies turned before the camera, in the poses of motions; cameras (spec 6).

Bodies turn and the camera stands still: rays are sampled around the plane z = 0, so it can only look along z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import NAMES
from avatarctl.errors import DataError
from avatarctl.geometry.cameras import look_at
from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    matrix_about,
    matrix_from_quaternion,
    quaternion_from_axis_angle,
)
from avatarctl.geometry.shapes import expect
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl_generative_avatar import label

MOST, STEP = 40, 8
"""Degrees to which the published views swing to each side, and between two of them."""
EVERY, LONGEST = 3, 300
"""Published animations take every third frame, twice, and so many of them between."""
SMPL_OF_SMPLH = (*range(66), 72, 73, 74, 117, 118, 119)
"""Columns of SMPL-H's poses that published animations take for SMPL's."""
CLIPS, SECONDS = 4, 0.25
"""Of so many embedded clips one gives poses, and the time between two of them."""
ROOM, DEPTH = 0.97, 0.3
"""How far poses of clips may reach from the middle across the picture, and along z, metres."""
CHUNK = 64
"""Bodies posed at a time."""


def swing() -> Tensor:
    """The published views: degrees from the front to one side, to the other, and back [21]."""
    there, across = torch.arange(0, MOST, STEP), torch.arange(MOST, -MOST, -STEP)
    return torch.cat([there, across, torch.arange(-MOST, STEP, STEP)])


def turned(labels: Tensor, azimuth: Tensor, elevation: float = 0.0) -> Tensor:
    """The same bodies seen from another side [..., 111].

    Args:
        labels: [..., 111].
        azimuth: Degrees to which the camera seems to go around the body, which turns the other way [...].
        elevation: Degrees from which the camera seems to look down.
    """
    about = matrix_about("Y", -torch.deg2rad(azimuth.double()))
    tilt = matrix_about("X", torch.tensor(math.radians(elevation), dtype=torch.float64))
    made = labels.expand(*torch.broadcast_shapes(labels.shape[:-1], azimuth.shape), -1).clone()
    made[..., label.ROOT] = _turned_root(tilt @ about.cpu(), made[..., label.ROOT])
    return made


def _turned_root(turn: Tensor, root: Tensor) -> Tensor:
    """Axis-angle of `turn` [..., 3, 3] after `root` [..., 3]."""
    return axis_angle_from_matrix(turn.to(root.device) @ _matrix(root)).to(root)


def _matrix(axis_angle: Tensor) -> Tensor:
    """Rotation matrices in float64 [..., 3, 3]."""
    return matrix_from_quaternion(quaternion_from_axis_angle(axis_angle.double()))


def published_frames(poses: Tensor) -> Tensor:
    """What a label says of the body, at every third frame of AMASS poses, mean shape, turned to face ahead.

    Args:
        poses: Axis-angle of SMPL or SMPL-H [T, 72 or 156].

    Returns:
        [T / 3, 86], roots relative to the first.

    Raises:
        DataError: The poses are of another skeleton.
    """
    if poses.shape[1] not in (72, 156):
        raise DataError(
            f"poses: found {poses.shape[1]} columns, expected 72 of SMPL or 156 of SMPL-H",
            hint="--animation timed takes any motion",
        )
    kept = poses[::EVERY] if poses.shape[1] == 72 else poses[::EVERY, list(SMPL_OF_SMPLH)]
    made = kept.new_zeros(len(kept), label.SIZE)
    made[:, label.SCALE] = 1
    made[:, label.POSES] = kept
    made[:, label.ROOT] = _turned_root(_matrix(kept[0, :3]).mT, kept[:, :3])
    return made[:, label.CAMERA :]


def published_animation(labels: Tensor, frames: Tensor) -> Tensor:
    """Labels of an animation as published, at most 100 [F, 111].

    Args:
        labels: Whose camera is taken [1, 111].
        frames: Of `published_frames`.
    """
    kept = frames[: min(LONGEST, len(frames)) // EVERY * EVERY : EVERY]
    made = torch.cat([labels[..., : label.CAMERA].expand(len(kept), -1), kept.to(labels)], dim=1)
    made[:, label.ROOT] = _turned_root(label.world_from_y_up(), made[:, label.ROOT])
    return made


def published_of_motion(motion: Motion, labels: Tensor) -> Tensor:
    """Labels of a motion as published animations have them [F, 111].

    Raises:
        DataError: It is too short for a frame of them, or of another skeleton.
    """
    least = EVERY * (EVERY - 1) + 1
    if len(motion) < least:
        raise DataError(
            f"motion: found {len(motion)} frames; a published animation needs {least} for its first",
            hint="--animation timed takes any motion",
        )
    if motion.skeleton == "smplx":  # the published code puts zeros in its place
        motion = motion.to_skeleton("smpl")
    poses = motion.body_poses(len(NAMES[motion.skeleton])).flatten(1)
    return published_animation(labels, published_frames(poses))


def of_motion(motion: Motion, labels: Tensor, body: BodyModel) -> Tensor:
    """Labels of a motion's frames [T, 111], whose body faces the camera in the first frame.

    It moves up and down as in the motion, and stays where it is across the floor; all frames together are in
    the middle of the picture's height.

    Args:
        labels: Whose camera and shape are taken [1, 111].
        body: Of the labels.
    """
    expect(labels, f"1 {label.SIZE}", "labels")
    motion = motion.to_skeleton("smpl").to_up(
        "y", body.shape(label.betas(labels)[0].to(body.template)).joints[0]
    )
    made = _standing(motion.body_poses(label.JOINTS), labels, is_each_ahead=False)
    made[:, label.TRANSL.start + 1] = (motion.root[0, 1] - motion.root[:, 1]).to(made)
    low, high = extent(body, made)
    made[:, label.TRANSL.start + 1] -= (low[:, 1].amin() + high[:, 1].amax()) / 2
    return made


def of_clips(body: BodyModel) -> Tensor:
    """Poses of the embedded clips, facing ahead in the middle, as labels of mean shape [M, 111]."""
    poses = []
    for clip in list(clips().values())[::CLIPS]:
        motion = clip.motion().to_skeleton("smpl").to_up("y")
        poses.append(motion.body_poses(label.JOINTS)[:: round(SECONDS * motion.fps)])
    plain = label.made(torch.zeros(1, label.JOINTS, 3))
    made = _standing(torch.cat(poses), plain, is_each_ahead=True)
    low, high = extent(body, made)
    made[:, label.TRANSL] = -(low + high) / 2
    fits = ((high - low) / 2 < low.new_tensor([ROOM, ROOM, DEPTH])).all(dim=1)
    return made[fits]


def _standing(poses: Tensor, labels: Tensor, *, is_each_ahead: bool) -> Tensor:
    """Labels of poses [T, 24, 3] in a world with y up, each facing ahead or the first [T, 111]."""
    turns = _matrix(poses[:, 0])
    yaw = torch.atan2(turns[:, 0, 2], turns[:, 2, 2])  # SMPL looks along z
    ahead = matrix_about("Y", -(yaw if is_each_ahead else yaw[:1]))
    made = labels.repeat(len(poses), 1)
    made[:, label.SCALE] = 1
    made[:, label.TRANSL] = 0
    made[:, label.POSES] = poses.flatten(1).to(made)
    made[:, label.ROOT] = axis_angle_from_matrix(label.world_from_y_up() @ ahead @ turns).to(made)
    return made


@torch.no_grad()
def extent(body: BodyModel, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest x, y and z of bodies in the labels' world, metres, both [N, 3]."""
    parts = []
    for part in labels.to(body.template).split(CHUNK):
        posed = body.shape(label.betas(part)).pose(label.poses(part), label.transl(part))
        vertices = posed.vertices() * label.scale(part)[:, None]
        parts.append(torch.stack([vertices.amin(dim=1), vertices.amax(dim=1)]))
    low, high = torch.cat(parts, dim=1).to(labels.device)
    return low, high


def looking_camera(azimuth: float, height: float, target: Tensor, radius: float) -> Tensor:
    """Camera to world [4, 4], with OpenCV's axes, of a camera on a sphere around the origin; y points up.

    Args:
        azimuth: Around y, radians; pi / 2 stands at positive z.
        height: From 0 at the top to pi at the bottom, even in the sphere's area.
        target: What is in the picture's middle [3].
        radius: Of the sphere, metres.
    """
    y = 1 - 2 * height / math.pi
    level = math.sqrt(1 - y * y)
    eye = target.new_tensor([-level * math.cos(azimuth), y, level * math.sin(azimuth)]) * radius
    rotation, _ = look_at(eye, target, target.new_tensor([0.0, 1.0, 0.0]))
    made = torch.eye(4, dtype=target.dtype, device=target.device)
    made[:3, :3], made[:3, 3] = rotation.T, eye
    return made


def intrinsics_of(angle: float) -> Tensor:
    """Intrinsics over the picture's size [3, 3]; the picture's diagonal sees an angle, degrees."""
    focal = 1 / (math.tan(math.radians(angle) / 2) * 1.414)  # parity: the root of 2, rounded (case tools)
    return torch.tensor([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
