"""Body parameters that bring the bones of a capture skeleton to given turns: least squares, frame by frame.

The start inverts each bone's Euler angles and shares them out to the parameters. Gauss-Newton steps follow,
for skeletons whose parameters cannot give every bone every turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_about, matrix_from_quaternion
from avatarctl_audio2motion.avatar.skeleton import CHANNELS, Skeleton

STEPS, DAMPING, SETTLED = 8, 1e-3, 1e-5
"""Most Gauss-Newton steps, their damping, and the change of parameters (radians) that ends them."""
CHUNK = 128
"""Frames solved together; bounds the memory."""
ROOT = slice(0, 3)
"""The body parameters that move the whole skeleton (spec 2.2)."""


@dataclass(frozen=True)
class Wanted:
    """How `bones` N are to be turned in the world, float64 [T, N, 3, 3], and how much each counts [N]."""

    bones: list[int]
    turns: Tensor
    weights: Tensor


def solve(skeleton: Skeleton, wanted: Wanted, hips: Sequence[int], place: Tensor) -> Tensor:
    """Body parameters [T, P] that turn bones as wanted and bring the mid-point of the hips to a place.

    Args:
        hips: The bones whose mid-point is placed.
        place: Where to, in the skeleton's unit and world, float64 [T, 3].
    """
    start = _start(skeleton, wanted)
    parts = [
        _refined(skeleton, replace(wanted, turns=wanted.turns[part]), start[part])
        for part in (slice(first, first + CHUNK) for first in range(0, len(start), CHUNK))
    ]
    pose = torch.cat(parts)
    pose[:, ROOT] = 0.0
    shifts = torch.eye(3, skeleton.num_pose, dtype=pose.dtype)
    probes = torch.cat([shifts, torch.zeros_like(shifts[:1])])
    moved, found = (skeleton.states(one).places[:, list(hips)].mean(1) for one in (probes, pose))
    pose[:, ROOT] = torch.linalg.solve((moved[:3] - moved[3]).T, (place - found).T).T
    return pose


def _start(skeleton: Skeleton, wanted: Wanted) -> Tensor:
    """Parameters [T, P] from the Euler angles of the bones, each as if the others had their turns."""
    bones, turns = wanted.bones, wanted.turns
    worlds: list[Tensor] = []
    angles = []
    before = matrix_from_quaternion(skeleton.pre_rotation)
    bind = matrix_from_quaternion(skeleton.bind.quaternions)
    for bone, above in enumerate(skeleton.parents):
        parent = torch.eye(3, dtype=turns.dtype).expand(len(turns), 3, 3) if above < 0 else worlds[above]
        if bone in bones:
            worlds.append(turns[:, bones.index(bone)])
            angles.append(continuous(euler_from_matrix((parent @ before[bone]).mT @ worlds[bone])))
        else:
            worlds.append(parent @ (bind[bone] if above < 0 else bind[above].T @ bind[bone]))
    rows = [CHANNELS * bone + channel for bone in sorted(bones) for channel in (3, 4, 5)]
    still = skeleton.channels(turns.new_zeros(skeleton.num_pose))[rows]
    inverse = torch.linalg.pinv(skeleton.transform[rows, : skeleton.num_pose])
    return (torch.cat(angles, dim=1) - still) @ inverse.T


def _refined(skeleton: Skeleton, wanted: Wanted, pose: Tensor) -> Tensor:
    """Parameters [T, P] after Gauss-Newton steps on the angles between turns and wanted turns."""
    bones, weights = wanted.bones, wanted.weights
    # Whether a bone hangs from a joint, or is it [N, J].
    below = torch.zeros(len(bones), len(skeleton.parents), dtype=pose.dtype)
    for row, bone in enumerate(bones):
        while bone >= 0:
            below[row, bone] = 1.0
            bone = skeleton.parents[bone]
    shares = skeleton.transform.unflatten(0, (-1, CHANNELS))[:, 3:6, : skeleton.num_pose]  # [J, 3, P]
    eye = DAMPING * torch.eye(skeleton.num_pose, dtype=pose.dtype)
    for _ in range(STEPS):
        world = matrix_from_quaternion(skeleton.states(pose).quaternions)
        off = weights[:, None] * axis_angle_from_matrix(wanted.turns @ world[:, bones].mT)  # [T, N, 3]
        if off.abs().max() < SETTLED:
            break
        by_joint = torch.einsum("tjac,jcp->tjap", _axes(skeleton, world, pose), shares)
        slope = torch.einsum("nj,tjap->tnap", weights[:, None] * below, by_joint).flatten(1, 2)  # [T, 3N, P]
        normal = slope.mT @ slope + eye
        step = torch.linalg.solve(normal, (slope.mT @ off.flatten(1).unsqueeze(-1)).squeeze(-1))
        pose = pose + step
        if step.abs().max() < SETTLED:
            break
    return pose


def _axes(skeleton: Skeleton, world: Tensor, pose: Tensor) -> Tensor:
    """World axes about which the x, y and z angles of each joint turn it, as columns [T, J, 3, 3]."""
    angles = skeleton.channels(pose).unflatten(-1, (-1, CHANNELS))[..., 3:6]
    parents = torch.eye(3, dtype=pose.dtype).repeat(len(pose), len(skeleton.parents), 1, 1)
    inner = [joint for joint, above in enumerate(skeleton.parents) if above >= 0]
    parents[:, inner] = world[:, [skeleton.parents[joint] for joint in inner]]
    base = parents @ matrix_from_quaternion(skeleton.pre_rotation)
    about_z = base @ matrix_about("Z", angles[..., 2])
    about_y = about_z @ matrix_about("Y", angles[..., 1])
    return torch.stack([about_y[..., 0], about_z[..., 1], base[..., 2]], dim=-1)


def euler_from_matrix(matrix: Tensor) -> Tensor:
    """Angles x, y, z [..., 3] in radians with R = Rz Ry Rx of rotation matrices [..., 3, 3]."""
    sine = -matrix[..., 2, 0].clamp(-1, 1)
    cosine = (matrix[..., 2, 1].square() + matrix[..., 2, 2].square()).sqrt()
    x = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    z = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([x, torch.atan2(sine, cosine), z], dim=-1)


def continuous(angles: Tensor) -> Tensor:
    """Euler angles [T, 3] of the same rotations without jumps, on the whole near zero.

    Every rotation has two triples: (x, y, z) and (x + pi, pi - y, z + pi). The one nearer to that of the
    frame before is taken, then whole turns are.
    """
    half, turn = math.pi, 2 * math.pi
    other = torch.stack([angles[:, 0] + half, half - angles[:, 1], angles[:, 2] + half], dim=1)

    def distance(one: Tensor, two: Tensor) -> Tensor:
        return (torch.remainder(two - one + half, turn) - half).abs().sum(1)

    swaps = distance(angles[:-1], other[1:]) < distance(angles[:-1], angles[1:])
    is_other = torch.cat([swaps.new_zeros(1), swaps]).cumsum(0) % 2 == 1
    if is_other.sum() * 2 > len(is_other):
        is_other = ~is_other
    chosen = torch.where(is_other[:, None], other, angles)
    steps = torch.remainder(chosen.diff(dim=0) + half, turn) - half
    whole = torch.cat([chosen[:1], chosen[:1] + steps.cumsum(0)])
    return whole - turn * torch.round(whole.mean(0) / turn)
