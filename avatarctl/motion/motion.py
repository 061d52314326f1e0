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

from avatarctl.body.tables import NAMES, NUM_BODY
from avatarctl.errors import DataError
from avatarctl.files import atomic
from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    axis_angle_from_quaternion,
    matrix_from_quaternion,
    quaternion_from_axis_angle,
)
from avatarctl.geometry.shapes import expect
from avatarctl.motion import resample

Skeleton = Literal["smpl", "smplh", "smplx"]
Z_FROM_Y = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""Axes with z up from axes with y up (SMPL at rest, glTF, BVH): (x, y, z) becomes (x, -z, y)."""
MAX_FPS = 1000.0
MAX_ANGLE = 100.0
"""Radians; longer axis-angle vectors are degrees or damage."""
MAX_PLACE = 1e5
"""Metres."""


@dataclass(frozen=True)
class Motion:
    """A body moving: local joint rotations and root path at a fixed frame rate.

    `root` is the translation of SMPL files (the pelvis stands at root + its rest place), and turns with
    nothing. A motion may carry fewer joints than its skeleton has; the rest, the hands mostly, are at rest.
    """

    poses: Tensor  # axis-angle, radians [T, J, 3]
    root: Tensor  # metres [T, 3]
    fps: float
    betas: Tensor = field(default_factory=lambda: torch.zeros(16))  # [K], K as stored by the source
    gender: str = "neutral"
    skeleton: Skeleton = "smplh"
    up: Literal["y", "z"] = "z"

    def __post_init__(self) -> None:
        expect(self.poses, "T J 3", "poses")
        expect(self.root, f"{len(self.poses)} 3", "root")

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
        """The motion in a file: AMASS npz, SMPL or animation pickle, or BVH (also .bvh.gz).

        Raises:
            DataError: The file is broken or is no motion.
        """
        from avatarctl.motion.files import read

        return read(path)

    def write(self, path: str | Path) -> Path:
        """Write an AMASS npz, atomically and with the same bytes every time.

        Raises:
            DataError: The motion has no frames or numbers that are not finite, or the file cannot be written.
        """
        arrays = self.checked("the motion", "nothing was written").amass()
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
        rate = np.array(float(self.fps))
        return {
            "poses": motion.body_poses(len(NAMES[self.skeleton])).flatten(1).float().numpy(),
            "trans": motion.root.float().numpy(),
            "betas": self.betas.float().numpy(),
            "gender": np.array(self.gender),
            "mocap_framerate": rate,
            "mocap_frame_rate": rate,
        }

    def checked(self, source: str | Path, remedy: str) -> Motion:
        """The same motion, once it is known to have frames, a sane rate and sane numbers.

        Args:
            source: Where it is from, for the message.
            remedy: What to do.

        Raises:
            DataError: It has not; the message names field and frame.
        """
        if not len(self):
            raise DataError(f"{source}: poses: 0 frames; expected at least 1", hint=remedy)
        if not 0.1 <= self.fps <= MAX_FPS:
            raise DataError(
                f"{source}: frame rate: found {self.fps:g}; expected up to {MAX_FPS:g} a second", hint=remedy
            )
        for name, values, most, unit in (
            ("poses", self.poses.flatten(1), MAX_ANGLE, "radians"),
            ("trans", self.root, MAX_PLACE, "metres"),
            ("betas", self.betas[None], MAX_PLACE, "standard deviations"),
        ):
            bad = ~(values.abs() <= most).all(1)  # NaN compares false
            if bad.any():
                frame = int(bad.nonzero()[0])
                where = f"{name}: frame {frame}" if name != "betas" else name
                found = values[frame][~(values[frame].abs() <= most)][0]
                raise DataError(
                    f"{source}: {where}: found {float(found):g}; expected {unit}, up to {most:g}", hint=remedy
                )
        return self

    def body_poses(self, joints: int = NUM_BODY) -> Tensor:
        """Axis-angle of the first joints, zeros where the motion has none [T, joints, 3]."""
        poses = self.poses[:, :joints]
        missing = joints - poses.shape[1]
        return torch.cat([poses, poses.new_zeros(len(self), missing, 3)], dim=1) if missing else poses

    def to_skeleton(self, skeleton: Skeleton) -> Motion:
        """The same motion on another skeleton of the family: joints of the same name, the others at rest."""
        if skeleton == self.skeleton:
            return self
        names = NAMES[self.skeleton][: self.poses.shape[1]]
        wanted = [names.index(name) if name in names else -1 for name in NAMES[skeleton]]
        while wanted and wanted[-1] < 0:
            wanted.pop()
        poses = self.poses.new_zeros(len(self), len(wanted), 3)
        for joint, source in enumerate(wanted):
            if source >= 0:
                poses[:, joint] = self.poses[:, source]
        return replace(self, poses=poses, skeleton=skeleton)

    def to_up(self, up: Literal["y", "z"], pelvis: Tensor | None = None) -> Motion:
        """The same motion with another axis up.

        Args:
            pelvis: Rest place of the pelvis, about which the body turns [3]; the open body's when left out.
        """
        if up == self.up:
            return self
        from avatarctl.body import open_body

        pelvis = (open_body().rest_joints[0] if pelvis is None else pelvis).to(self.root)
        turn = torch.tensor(Z_FROM_Y).to(self.root)
        turn = turn if up == "z" else turn.T
        poses = self.poses.clone()
        upright = matrix_from_quaternion(quaternion_from_axis_angle(self.poses[:, 0]))
        poses[:, 0] = axis_angle_from_matrix(turn.to(poses) @ upright)
        return replace(self, poses=poses, root=(self.root + pelvis) @ turn.T - pelvis, up=up)

    def resampled(self, fps: float, method: Literal["slerp", "nearest"] = "slerp") -> Motion:
        """The same motion at another frame rate, over the same span of time."""
        if fps == self.fps or len(self) < 2:
            return replace(self, fps=float(fps))
        times = torch.arange(len(self), dtype=torch.float64) / self.fps
        left, fraction = resample.between(times, resample.grid(float(times[-1]), fps))
        if method == "nearest":
            index = resample.nearest(left, fraction)
            return replace(self, poses=self.poses[index], root=self.root[index], fps=float(fps))
        turned = resample.rotations_at(quaternion_from_axis_angle(self.poses), left, fraction)
        root = resample.places_at(self.root, left, fraction)
        return replace(self, poses=axis_angle_from_quaternion(turned), root=root, fps=float(fps))
