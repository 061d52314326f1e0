"""BVH files of SMPL motion: metres, y up, Euler angles in the order Z X Y (R = Rz Rx Ry), degrees.

Joints have SMPL's names and their offsets at rest with the shape applied; the root's OFFSET is the pelvis's
place at rest, its position channels the pelvis's place in the room. `Motion.read` gives the same motion back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import NAMES
from avatarctl.files import atomic
from avatarctl.geometry.rotations import (
    euler_zxy_from_matrix,
    matrix_from_quaternion,
    quaternion_from_axis_angle,
)
from avatarctl.motion import Motion

ROTATIONS = "Zrotation Xrotation Yrotation"
POSITIONS = "Xposition Yposition Zposition"
PIECE = 3000
"""Frames whose rotations are worked out at once."""
TIP = 0.5
"""Length of an end site, as a share of the bone before it: fingertips, toes, the top of the head."""


def write(motion: Motion, body: BodyModel, path: str | Path) -> Path:
    """Write a motion on the skeleton of a body of its shape, with all joints of the body's family."""
    rest = body.shape(motion.betas).joints.double()
    motion = motion.to_skeleton(body.family).to_up("y", rest[0])  # type: ignore[arg-type]
    lines: list[str] = ["HIERARCHY"]
    order: list[int] = []
    _joint(lines, order, 0, body, rest.numpy(), "")
    poses = motion.body_poses(body.num_joints).split(PIECE)  # an hour of matrices would be large
    turns = (matrix_from_quaternion(quaternion_from_axis_angle(some.double())) for some in poses)
    angles = np.rad2deg(_continuous(torch.cat([euler_zxy_from_matrix(some) for some in turns])))[:, order]
    root = (motion.root.double() + rest[0]).numpy()
    rows = np.concatenate([root, angles.reshape(len(motion), -1)], axis=1) + 0.0
    form = " ".join(["%.6f"] * rows.shape[1])
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1.0 / motion.fps:.12g}"]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.writelines(f"{form % tuple(row.tolist())}\n" for row in rows)
    return Path(path)


def _joint(
    lines: list[str], order: list[int], joint: int, body: BodyModel, rest: np.ndarray, indent: str
) -> None:
    """Append a joint and all below it, depth first, which is the order of the channels."""
    order.append(joint)
    parent = body.parents[joint]
    step = rest[joint] - rest[parent] if joint else rest[0]
    lines += [
        f"{indent}{'JOINT' if joint else 'ROOT'} {NAMES[body.family][joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {_numbers(step)}",
        f"{indent}  CHANNELS {3 if joint else 6} {ROTATIONS if joint else f'{POSITIONS} {ROTATIONS}'}",
    ]
    children = [child for child, above in enumerate(body.parents) if child and above == joint]
    for child in children:
        _joint(lines, order, child, body, rest, indent + "  ")
    if not children:
        lines += [
            f"{indent}  End Site",
            f"{indent}  {{",
            f"{indent}    OFFSET {_numbers(TIP * step)}",
            f"{indent}  }}",
        ]
    lines.append(f"{indent}}}")


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values + 0.0)


def _continuous(angles: Tensor) -> np.ndarray:
    """The same rotations by angles that change as little as possible from frame to frame [T, J, 3], radians.

    Rz(z) Rx(x) Ry(y) is also Rz(z + pi) Rx(pi - x) Ry(y + pi), and full turns do not count; programs that
    interpolate angles, or show curves, need the nearest.
    """
    found: np.ndarray = angles.numpy().copy()
    turn = 2 * np.pi
    for frame in range(1, len(found)):
        z, x, y = np.moveaxis(found[frame], -1, 0)
        both = np.stack([found[frame], np.stack([z + np.pi, np.pi - x, y + np.pi], axis=-1)])
        both -= turn * np.round((both - found[frame - 1]) / turn)
        is_nearer = np.abs(both - found[frame - 1]).sum(axis=-1).argmin(axis=0)
        found[frame] = np.take_along_axis(both, is_nearer[None, :, None], axis=0)[0]
    return found
