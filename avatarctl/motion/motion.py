"""`Motion`: what flows between the systems, in AMASS conventions."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import NUM_BODY
from avatarctl.files import atomic
from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    axis_angle_from_quaternion,
    matrix_from_axis_angle,
    quaternion_from_axis_angle,
    slerp,
)

JOINTS = {"smpl": 24, "smplh": 52, "smplx": 55}


@dataclass(frozen=True)
class Motion:
    """A body moving: local joint rotations and root path at a fixed frame rate.

    `root` is the translation of SMPL files (the pelvis stands at root + its rest place), and turns with nothing. A motion
    may carry fewer joints than its skeleton has; the rest, the hands mostly, are at rest.
    """

    poses: Tensor  # axis-angle, radians [T, J, 3]
    root: Tensor  # metres [T, 3]
    fps: float
    betas: Tensor = field(default_factory=lambda: torch.zeros(16))  # [K], K as stored by the source
    gender: str = "neutral"
    skeleton: Literal["smpl", "smplh", "smplx"] = "smplh"
    up: Literal["y", "z"] = "z"

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, frames: slice) -> Motion:
        return replace(self, poses=self.poses[frames], root=self.root[frames])

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self) / self.fps

    def replace(self, **changes: object) -> Motion:
        """The same motion with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @staticmethod
    def read(path: str | Path) -> Motion:
        """The motion in a file: AMASS npz, animation pickle, or BVH (also .bvh.gz).

        Raises:
            DataError: The file is broken or is no motion.
        """
        from avatarctl.motion.files import read

        return read(path)

    def write(self, path: str | Path) -> Path:
        """Write an AMASS npz, atomically and with the same bytes every time."""
        arrays = self.amass()
        with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
        return Path(path)

    def amass(self) -> dict[str, np.ndarray]:
        """The arrays of an AMASS archive; both spellings of the frame rate.

        `poses` has 156 columns for SMPL-H, 165 for SMPL-X, 72 for SMPL; joints left out are zero.
        """
        motion = self.to_up("z")
        poses = torch.zeros(len(self), JOINTS[self.skeleton], 3)
        poses[:, : motion.poses.shape[1]] = motion.poses
        rate = np.array(float(self.fps))
        return {
            "poses": poses.flatten(1).numpy(),
            "trans": motion.root.numpy(),
            "betas": self.betas.numpy(),
            "gender": np.array(self.gender),
            "mocap_framerate": rate,
            "mocap_frame_rate": rate,
        }

    def body_poses(self, joints: int = NUM_BODY) -> Tensor:
        """Axis-angle of the first joints, zeros where the motion has none [T, joints, 3]."""
        poses = self.poses[:, :joints]
        missing = joints - poses.shape[1]
        return torch.cat([poses, poses.new_zeros(len(self), missing, 3)], dim=1) if missing else poses

    def to_up(self, up: Literal["y", "z"], pelvis: Tensor | None = None) -> Motion:
        """The same motion with another axis up.

        Args:
            pelvis: Rest place of the pelvis, about which the body turns, metres [3]; the open body's when left out.
        """
        if up == self.up:
            return self
        from avatarctl.body import open_body

        pelvis = open_body().rest_joints[0] if pelvis is None else pelvis
        z_from_y = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        turn = z_from_y if up == "z" else z_from_y.T
        poses = self.poses.clone()
        poses[:, 0] = axis_angle_from_matrix(turn @ matrix_from_axis_angle(self.poses[:, 0]))
        root = (self.root + pelvis) @ turn.T - pelvis
        return replace(self, poses=poses, root=root, up=up)

    def resampled(self, fps: float, method: Literal["slerp", "nearest"] = "slerp") -> Motion:
        """The same motion at another frame rate, over the same span of time."""
        if fps == self.fps or len(self) < 2:
            return replace(self, fps=float(fps))
        count = int((len(self) - 1) / self.fps * fps + 1e-6) + 1
        place = torch.arange(count, dtype=torch.float64) * (self.fps / fps)
        if method == "nearest":
            index = place.round().long().clamp(max=len(self) - 1)
            return replace(self[:], poses=self.poses[index], root=self.root[index], fps=float(fps))
        left = place.floor().long().clamp(max=len(self) - 2)
        fraction = (place - left).to(self.poses.dtype)[:, None]
        quaternions = quaternion_from_axis_angle(self.poses)
        turned = slerp(quaternions[left], quaternions[left + 1], fraction[..., None])
        root = torch.lerp(self.root[left], self.root[left + 1], fraction)
        return replace(self, poses=axis_angle_from_quaternion(turned), root=root, fps=float(fps))
