"""Poses for an avatar from elsewhere: any motion, AIST++ files, another person's prepared recording.

A recording's bodies turn about the origin of the body's frame and have no root rotation (spec 2.2); those of
a motion turn about the pelvis. One place converts: `fits_of_motion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle_smpl
from avatarctl.motion import Motion
from avatarctl.motion.motion import Z_FROM_Y
from avatarctl_video_avatar.items import placed
from avatarctl_video_avatar.prepared import Fit, Prepared

AIST_SCALE, AIST_PLACE = 93.0, (0.3, -1.5, -1.2)
"""How the published code brings AIST++'s places into its recordings (spec 6)."""
AIST_TURN = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]) @ np.array(
    [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
)
"""Q: extrinsic Euler angles x 90, y 180, z 0 degrees; bodies stand at Q^T R(Rh) x + Th (spec 6)."""
AIST_FPS = 60.0
AIST_ROOM = (0.05, 0.03)
"""Pad and delta of the dilated meshes of such bodies, whatever those of the recording (spec 3.1)."""


def up_axis(fits: Sequence[Fit]) -> np.ndarray:
    """The signed axis of a recording's world that points up: where most bodies have their head [3]."""
    turns = matrix_from_axis_angle_smpl(torch.from_numpy(np.stack([fit.Rh for fit in fits])).double())
    mean = turns[:, :, 1].mean(dim=0).numpy()  # SMPL at rest has y up
    axis = int(np.abs(mean).argmax())
    return np.sign(mean[axis]) * np.eye(3)[axis]


def _upright(up: np.ndarray) -> np.ndarray:
    """The shortest turn from axes with y up to those with another axis up [3, 3]."""
    y = np.array([0.0, 1.0, 0.0])
    if up @ y > 0.5:
        return np.eye(3)
    if up @ y < -0.5:
        return np.diag([1.0, -1.0, -1.0])
    if up[2] > 0.5:
        return np.array(Z_FROM_Y)
    axis = np.cross(y, up) * np.pi / 2
    return matrix_from_axis_angle_smpl(torch.from_numpy(axis)).numpy()


def fits_of_motion(
    motion: Motion,
    root_joint: np.ndarray,
    betas: np.ndarray,
    recorded: Sequence[Fit],
    *,
    is_placed: bool = True,
) -> list[Fit]:
    """A motion as fits of a recording's person.

    Args:
        root_joint: Rest place of the pelvis, metres [3]: a motion turns about it.
        betas: Shape of the person [10]; a motion's own shape is left out, the avatar keeps its own.
        recorded: Fits of the recording, which tell which axis is up.
        is_placed: Begin where the recording begins, facing the same way. Otherwise the motion keeps its
            place, only the axis that is up changes.
    """
    motion = motion.to_skeleton("smpl").to_up("y", torch.from_numpy(root_joint).float())
    poses = motion.body_poses(24).double()
    upright = _upright(up_axis(recorded))
    turns = upright @ matrix_from_axis_angle_smpl(poses[:, 0]).numpy()
    places = (motion.root.double().numpy() + root_joint) @ upright.T  # of the pelvis
    if is_placed:
        turn, shift = _placement(turns[0], places[0], recorded[0], root_joint, up_axis(recorded))
        turns, places = turn @ turns, (places - places[0]) @ turn.T + shift
    Rh = axis_angle_from_matrix(torch.from_numpy(turns)).numpy()
    flat = poses.flatten(1).numpy()
    flat[:, :3] = 0
    return [
        Fit(
            poses=flat[row].astype(np.float32),
            Rh=Rh[row].astype(np.float32),
            Th=(places[row] - turns[row] @ root_joint).astype(np.float32),
            betas=betas.astype(np.float32),
        )
        for row in range(len(motion))
    ]


def _placement(
    turn: np.ndarray, place: np.ndarray, first: Fit, root_joint: np.ndarray, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A turn about the axis that is up [3, 3], and the new place of the first pelvis [3]."""
    recorded = matrix_from_axis_angle_smpl(torch.from_numpy(first.Rh).double()).numpy()
    side, wanted = np.cross(up, turn[:, 2]), np.cross(up, recorded[:, 2])  # SMPL looks along z
    angle = np.arctan2(np.cross(side, wanted) @ up, side @ wanted)
    about = matrix_from_axis_angle_smpl(torch.from_numpy(angle * up)).numpy()
    return about, recorded @ root_joint + first.Th.astype(np.float64)


def read_aist(path: Path) -> Motion:
    """The file of an AIST++ motion, in the axes and at the scale that the published code gives it (spec 6).

    Raises:
        DataError: It is none.
    """
    content = load_pickle(check_input_file(path, "an AIST++ motion"))
    hint = "name a .pkl from the motions folder of AIST++, or a prepared recording's folder"
    arrays = {}
    for name, width in (("smpl_poses", 72), ("smpl_trans", 3)):
        if not isinstance(content, dict) or name not in content:
            held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
            raise DataError(f"{path}: no {name} in it; it holds {held[:80]}", hint=hint)
        values = np.asarray(content[name])
        if values.ndim != 2 or values.shape[1] != width or values.dtype.kind != "f":
            raise DataError(
                f"{path}: {name} is {values.dtype} {list(values.shape)}, expected [frames, {width}]",
                hint=hint,
            )
        arrays[name] = torch.from_numpy(values.astype(np.float32))
    if len(arrays["smpl_poses"]) != len(arrays["smpl_trans"]):
        raise DataError(
            f"{path}: {len(arrays['smpl_poses'])} poses and {len(arrays['smpl_trans'])} places",
            hint="copy the file again",
        )
    return Motion(
        arrays["smpl_poses"].unflatten(1, (24, 3)), arrays["smpl_trans"], AIST_FPS, skeleton="smpl", up="y"
    ).checked(path, "copy the file again")


def fits_of_aist(motion: Motion, betas: np.ndarray) -> list[Fit]:
    """AIST++ bodies as the published code sets them down: turned by Q^T, Th scaled and moved (spec 6)."""
    poses = motion.poses.flatten(1).numpy().copy()
    turns = AIST_TURN.T @ matrix_from_axis_angle_smpl(motion.poses[:, 0].double()).numpy()
    poses[:, :3] = 0
    Rh = axis_angle_from_matrix(torch.from_numpy(turns)).numpy()
    Th = motion.root.double().numpy() / AIST_SCALE + AIST_PLACE
    return [Fit(*row, betas.astype(np.float32)) for row in zip(poses, Rh, Th, strict=True)]


def fits_of_recording(data: Prepared, betas: np.ndarray) -> dict[str, Fit]:
    """The poses of another person's recording by frame name, with the avatar's shape (spec 9, Q18)."""
    joints, dataset = data.canonical[0], data.about.dataset
    fits = {name: placed(body, joints, dataset, "exact") for name, body in data.bodies.items()}
    return {name: Fit(fit.poses, fit.Rh, fit.Th, betas.astype(np.float32)) for name, fit in fits.items()}
