"""Tracker signals: where head and hands are, from a moving body or from a headset's recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from avatarctl.body import BodyModel, open_body
from avatarctl.body.tables import BODY_PARENTS, HEAD, LEFT_WRIST, NUM_BODY, RIGHT_WRIST
from avatarctl.errors import DataError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import (
    matrix_from_axis_angle,
    matrix_from_quaternion,
    quaternion_from_matrix,
    sixd_from_matrix,
)
from avatarctl.geometry.shapes import expect
from avatarctl.motion import resample
from avatarctl.motion.headset import HeadsetLog, check_room, read_log, write_log
from avatarctl.motion.lost import LostHands, fill
from avatarctl.motion.motion import Z_FROM_Y, Motion

TRACKED = (HEAD, LEFT_WRIST, RIGHT_WRIST)
"""Joints that stand for the trackers: head, left and right hand (the wrists; spec sparse-tracking 2.2)."""
FPS = 60.0
"""Rate that the published networks are trained at."""
SETTLING = 100
"""Logged frames that the published preparation drops while the user settles."""

Rate = Literal["resample", "native"]

T_POSE = (
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
)
"""Rotations of headset, left and right controller while their user stands in a T-pose (spec 3.3)."""


@dataclass(frozen=True)
class Tracking:
    """Head, left hand and right hand in world axes with z up, at a fixed frame rate.

    `rotations` are those of the SMPL joints that the trackers stand for: identity in the rest pose, y up.
    """

    rotations: Tensor  # world rotations, float64 [N, 3, 3, 3]
    positions: Tensor  # metres, float64 [N, 3, 3]
    fps: float

    def __post_init__(self) -> None:
        expect(self.rotations, "N 3 3 3", "rotations")
        expect(self.positions, "N 3 3", "positions")

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice) -> Tracking:
        return replace(self, rotations=self.rotations[frames], positions=self.positions[frames])

    @staticmethod
    def from_motion(motion: Motion, body: BodyModel | None = None) -> Tracking:
        """What perfect trackers on the joints of a moving body of mean shape would give.

        Args:
            body: Whose skeleton moves; the open body when left out.
        """
        rest = (body or open_body()).rest_joints[:NUM_BODY].double()
        motion = motion.to_up("z", pelvis=rest[0].float())
        local = matrix_from_axis_angle(motion.body_poses().double())
        world, places = forward_kinematics(local, rest, BODY_PARENTS, motion.root.double())
        return Tracking(world[:, list(TRACKED)], places[:, list(TRACKED)], float(motion.fps))

    @staticmethod
    def read(
        path: str | Path,
        *,
        rate: Rate = "resample",
        fps: float = FPS,
        skip_first: int = SETTLING,
    ) -> Tracking:
        """The recording of a headset and two controllers, as the headset app wrote it; see `from_log`."""
        return Tracking.from_log(read_log(path), rate=rate, fps=fps, skip_first=skip_first)

    @staticmethod
    def from_log(
        log: HeadsetLog,
        *,
        rate: Rate = "resample",
        fps: float = FPS,
        skip_first: int = SETTLING,
        lost_hands: LostHands = "keep",
    ) -> Tracking:
        """The recording in a log that is in Unity's axes and metres.

        Args:
            rate: "resample" to `fps` by the log's own clock, or "native": every frame as it is (published).
            skip_first: Frames of the log dropped at the start, while the user settles.
            lost_hands: Where hands are while they are not tracked; "keep" takes what was logged.

        Raises:
            DataError: The log is too short, or a device is nowhere or where none can be; the message names
                the line.
        """
        if len(log) - skip_first < 2:
            raise DataError(
                f"{log.path}: {len(log)} frames, the first {skip_first} are dropped; "
                "expected at least 2 more",
                hint="record for longer"
                + (f", or drop fewer frames: --skip-first {len(log) - 2}" if len(log) > 2 else ""),
            )
        # A frame of features needs the one before it, so dropping frames here drops as many rows of features.
        log = log[skip_first:]
        check_room(log)
        log = fill(log, lost_hands)
        if rate == "native":
            return from_devices(log.positions, log.quaternions, float(log.fps.median()))
        times = log.times - log.times[0]
        wanted = resample.grid(float(times[-1]), fps)
        if len(wanted) < 2:
            raise DataError(
                f"{log.path}: {float(times[-1]):.3f} s after the first {skip_first} frames; "
                f"expected at least 2 frames at {fps:g} a second",
                hint="record for longer, or drop fewer frames",
            )
        left, fraction = resample.between(times, wanted)
        unit = torch.nn.functional.normalize(log.quaternions, dim=-1)
        return from_devices(
            resample.places_at(log.positions, left, fraction),
            resample.rotations_at(unit, left, fraction),
            float(fps),
        )

    def resampled(self, fps: float) -> Tracking:
        """The same signals at another frame rate, over the same span of time."""
        if fps == self.fps or len(self) < 2:
            return replace(self, fps=float(fps))
        times = torch.arange(len(self), dtype=torch.float64) / self.fps
        left, fraction = resample.between(times, resample.grid(float(times[-1]), fps))
        turned = resample.rotations_at(quaternion_from_matrix(self.rotations), left, fraction)
        positions = resample.places_at(self.positions, left, fraction)
        return Tracking(matrix_from_quaternion(turned), positions, float(fps))

    def features(self) -> Tensor:
        """What the networks see of frames 1 and later, float64 [N - 1, 54] (spec sparse-tracking 2.5).

        Tracker by tracker (head, left, right): 6D rotation, 6D rotation step, position, position step; steps
        are from the frame before, not divided by time.
        """
        before, now = self.rotations[:-1], self.rotations[1:]
        # parity: a general inverse; rotations from four decimals are not quite orthogonal (spec 3.2, 3.3).
        step = torch.linalg.inv(before) @ now
        places = self.positions
        parts = (sixd_from_matrix(now), sixd_from_matrix(step), places[1:], places[1:] - places[:-1])
        return torch.cat([part.double() for part in parts], dim=-1).flatten(1)


def write_headset_log(tracking: Tracking, path: str | Path) -> Path:
    """Write tracker signals as a headset's log with every frame in it, to four decimals."""
    fps = torch.full((len(tracking),), tracking.fps, dtype=torch.float64)
    return write_log(fps, *to_devices(tracking), path)


def to_devices(tracking: Tracking) -> tuple[Tensor, Tensor]:
    """Places [N, 3, 3] and quaternions xyzw [N, 3, 4] of headset and both controllers in Unity's axes."""
    axes, rest = _frames()
    device = axes.T @ tracking.rotations.double() @ rest
    return mirrored_places(tracking.positions.double() @ axes), mirrored_quaternions(device)


def from_devices(places: Tensor, turns: Tensor, fps: float) -> Tracking:
    """World rotations and places from devices in Unity's axes, left-handed with y up (spec 3.3).

    Args:
        places: Of headset, left and right controller, metres [N, 3, 3].
        turns: Their quaternions xyzw, which are not normalised [N, 3, 4].
    """
    axes, rest = _frames()
    x, y, z, w = turns.unbind(-1)
    device = matrix_from_quaternion(torch.stack([w, x, -y, -z], dim=-1))
    return Tracking(axes @ device @ rest.mT, mirrored_places(places) @ axes.T, fps)


def mirrored_places(places: Tensor) -> Tensor:
    """Points [..., 3] in left-handed axes from right-handed ones, or back: mirrored in x."""
    return places * torch.tensor([-1.0, 1.0, 1.0], dtype=places.dtype)


def mirrored_quaternions(rotations: Tensor) -> Tensor:
    """Quaternions xyzw [..., 4] in left-handed axes of rotations [..., 3, 3] in right-handed ones."""
    w, x, y, z = quaternion_from_matrix(rotations).unbind(-1)
    return torch.stack([x, -y, -z, w], dim=-1)


def _frames() -> tuple[Tensor, Tensor]:
    """Our axes from the headset's once mirrored [3, 3], and the devices' rotations in a T-pose [3, 3, 3]."""
    return torch.tensor(Z_FROM_Y, dtype=torch.float64), torch.tensor(T_POSE, dtype=torch.float64)
