"""From body poses to what the networks see: tracker features and local 6D rotations (spec 2.5, 3.2).

Joint places follow from a kinematic chain; no mesh is skinned. Long motions go through in pieces.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import BODY_PARENTS, HEAD, NUM_BODY
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError, DataError
from avatarctl.geometry.kinematics import forward_kinematics, global_rotations
from avatarctl.geometry.rotations import matrix_from_axis_angle, matrix_from_axis_angle_smpl, sixd_from_matrix
from avatarctl.motion.motion import MAX_PLACE
from avatarctl.motion.tracking import FPS, TRACKED

PIECE = 1024
"""Frames computed at once."""
HEAD_PLACE = slice(12, 15)
"""Columns of the tracker features that hold the head's place."""
FIELDS = {"sparse": 54, "sixd": 132, "head": 3, "poses": 66, "trans": 3}
"""Fields of the compact store and their widths."""


@dataclass(frozen=True)
class Features:
    """One sequence of N + 1 frames as N rows; row i is frame i + 1.

    `world` [N, K, 3, 3] and `step` [N, K, 3, 3] are float64 rotations, `places` [N, K, 3] and `place_steps`
    float32 metres, of the K joints asked for; `sixd` [N, 132] float32 the local rotations of all 22.
    """

    sixd: Tensor
    world: Tensor
    step: Tensor
    places: Tensor
    place_steps: Tensor


def compute(poses: Tensor, trans: Tensor, rest: Tensor, joints: tuple[int, ...] = TRACKED) -> Features:
    """The features of one sequence.

    Args:
        poses: Axis-angle of the body's joints, root first, float64 [N + 1, 66].
        trans: Translation of the SMPL file, metres, float64 [N + 1, 3].
        rest: Rest places of the 22 joints, metres, float32 [22, 3].
        joints: Which joints to return in world axes.
    """
    pieces = [
        _piece(poses[start : start + PIECE + 1], trans[start : start + PIECE + 1], rest, list(joints))
        for start in range(0, max(len(poses) - 1, 1), PIECE)
    ]
    return Features(
        *(torch.cat(arrays) if len(pieces) > 1 else arrays[0] for arrays in zip(*pieces, strict=True))
    )


def _piece(poses: Tensor, trans: Tensor, rest: Tensor, joints: list[int]) -> tuple[Tensor, ...]:
    angles = poses.reshape(-1, NUM_BODY, 3)
    local = matrix_from_axis_angle(angles)
    world = global_rotations(local, BODY_PARENTS)[:, joints]
    posed = matrix_from_axis_angle_smpl(angles.float())
    places = forward_kinematics(posed, rest, BODY_PARENTS, trans.float())[1][:, joints]
    return (
        sixd_from_matrix(local[1:]).flatten(1).float(),
        world[1:],
        _inverse(world[:-1]) @ world[1:],
        places[1:],
        # parity: the step is per frame, not per second (spec 3.2, step 8).
        places[1:] - places[:-1],
    )


def _inverse(matrix: Tensor) -> Tensor:
    """Inverses [..., 3, 3] by cross products of the columns; the transpose differs by 1e-5, see below."""
    # parity: a general inverse, because the rotations made from axis-angle are not quite orthogonal (spec
    # 3.1, 3.2).
    x, y, z = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], dim=-2)
    return rows / (x * rows[..., 0, :]).sum(-1)[..., None, None]


def _quantities(features: Features) -> list[Tensor]:
    """6D, 6D of the step, position, position step of each joint, float64 [N, K, 6 or 3]."""
    sixd = [sixd_from_matrix(matrix) for matrix in (features.world, features.step)]
    return [part.double() for part in (*sixd, features.places, features.place_steps)]


def tracker_rows(features: Features) -> Tensor:
    """Tracker-major rows: 6D, 6D of the step, position, position step of each tracker, float64 [N, 54]."""
    return torch.cat(_quantities(features), dim=-1).flatten(1)


def official_rows(features: Features) -> Tensor:
    """The four blocks of the official file, quantity-major, float64 [N, 396]."""
    return torch.cat([part.flatten(1) for part in _quantities(features)], dim=-1)


def store_rows(poses: Tensor, trans: Tensor, features: Features) -> dict[str, np.ndarray]:
    """The fields of the compact store, float32 [N, width], from features of the trackers or of all joints.

    Args:
        poses, trans: As `compute` took them.
    """
    if features.places.shape[1] != len(TRACKED):
        picked = (
            getattr(features, name)[:, list(TRACKED)] for name in ("world", "step", "places", "place_steps")
        )
        features = Features(features.sixd, *picked)
    return {
        "sparse": tracker_rows(features).float().numpy(),
        "sixd": features.sixd.numpy(),
        "head": features.places[:, 0].numpy(),
        "poses": poses[1:].float().numpy(),
        "trans": trans[1:].float().numpy(),
    }


def official_file(
    poses: Tensor, trans: Tensor, features: Features, gender: str, listed: str
) -> dict[str, object]:
    """The dictionary of an official prepared file, from features of all 22 joints (spec 2.5)."""
    head = torch.eye(4).repeat(len(features.sixd), 1, 1)
    head[:, :3, :3] = features.world[:, HEAD].float()
    head[:, :3, 3] = features.places[:, HEAD]
    return {
        "rotation_local_full_gt_list": features.sixd,
        "hmd_position_global_full_gt_list": official_rows(features),
        "body_parms_list": {
            "root_orient": poses[:, :3].float(),
            "pose_body": poses[:, 3:].float(),
            "trans": trans.float(),
        },
        "head_global_trans_list": head,
        "position_global_full_gt_world": features.places,
        "framerate": 60,  # parity: whatever the truth (spec 2.5)
        "gender": np.array(gender),
        "filepath": listed,
    }


def rest_digest(rest: Tensor) -> str:
    """What a body's rest skeleton is recognised by: its 22 joints [J, 3], to a hundredth of a millimetre."""
    rounded = (rest[:NUM_BODY].double() * 1e5).round().long()
    return hashlib.sha256(rounded.numpy().astype("<i8").tobytes()).hexdigest()[:16]


def read_recording(path: str | Path) -> tuple[Tensor, float]:
    """The feature rows, float64 [N, 54], and the frame rate in a file that `avatarctl prepare headset` wrote.

    Raises:
        DataError: It is no such .npz or published .pt file, or holds numbers that are not finite.
    """
    path = Path(path)
    hint = "make it from the log: avatarctl prepare headset LOG"
    if path.suffix == ".pt":
        try:
            sparse, fps = load_torch(path), FPS  # the published file does not say its rate
        except CheckpointError as error:
            raise DataError(error.message, hint=hint) from error
    else:
        arrays = read_npz(path, ("sparse", "fps"))
        if arrays.keys() != {"sparse", "fps"}:
            raise DataError(f"{path}: no tracker features; expected sparse [N, 54] and fps", hint=hint)
        rate = arrays["fps"]
        fps = float(rate) if rate.size == 1 and rate.dtype.kind in "fiu" else 0.0
        rows = arrays["sparse"]
        sparse = torch.from_numpy(rows.astype(np.float64)) if rows.dtype.kind == "f" else None
    is_rows = isinstance(sparse, Tensor) and sparse.dim() == 2 and sparse.is_floating_point()
    if not is_rows or sparse.shape[1] != FIELDS["sparse"]:
        raise DataError(f"{path}: sparse: expected numbers [N, {FIELDS['sparse']}]", hint=hint)
    if not len(sparse):
        raise DataError(f"{path}: sparse: no frames; expected at least 1", hint=hint)
    bad = ~(sparse.abs() <= MAX_PLACE).all(1)  # NaN compares false
    if bad.any():
        frame = int(bad.nonzero()[0])
        raise DataError(
            f"{path}: sparse: frame {frame}: a number that is not finite, or beyond {MAX_PLACE:g} metres",
            hint=hint,
        )
    if not 1.0 <= fps <= 1000.0:
        raise DataError(f"{path}: fps: found {fps:g}; expected 1 to 1000", hint=hint)
    return sparse.double(), fps
