"""Hands that a headset did not track for a while: where they may have been.

A controller that the cameras do not see stands still in the room, or jumps to the origin. Here lost hands are
carried with the head: what is said of them holds beside a head that walks and turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl.errors import DataError
from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    matrix_from_quaternion,
    matrix_from_sixd,
    quaternion_from_matrix,
    sixd_from_matrix,
    slerp,
)
from avatarctl.motion.headset import DEVICES, HeadsetLog, intervals, vector

LostHands = Literal["keep", "hold", "extrapolate", "interpolate", "mask"]
SLOWING = 0.05
"""Seconds in which a movement that goes on by itself falls to a third."""
FORGETTING = 0.5
"""Seconds in which the last known pose gives way to the usual one, as far as to a third."""
PACE_FRAMES = 3
"""Frames from which the speed before a loss is taken."""


@dataclass(frozen=True)
class Beside:
    """Poses beside a head that turns about the vertical: places [M, 3], metres, rotations [M, 3, 3]."""

    places: Tensor
    turns: Tensor

    def __getitem__(self, frames: int | slice | Tensor) -> Beside:
        frames = slice(frames, frames + 1) if isinstance(frames, int) else frames
        return Beside(self.places[frames], self.turns[frames])

    def towards(self, other: Beside, share: Tensor) -> Beside:
        """Poses between these and others, on straight lines and shorter arcs, at shares of the way [M]."""
        share = share[:, None]
        start, end = (quaternion_from_matrix(one.turns).expand(len(share), 4) for one in (self, other))
        places = self.places + share * (other.places - self.places)
        return Beside(places, matrix_from_quaternion(slerp(start, end, share)))


def fill(log: HeadsetLog, how: LostHands) -> HeadsetLog:
    """A log in Unity's axes whose hands are somewhere sensible while they were lost.

    Args:
        how: "keep" takes what was logged. "hold" keeps the last pose beside the head, "extrapolate" lets its
            movement run out, "interpolate" goes straight to the pose in which the hand is found again, "mask"
            takes the hand for unknown: it goes to where it mostly is, and to where it is found again.

    Raises:
        DataError: A device has no rotation in some frame, where nothing is filled, or a hand is never
            tracked; the message names the lines.
    """
    _check(log, how)
    if how == "keep" or not log.lost[:, 1:].any():
        return log
    positions, quaternions = log.positions.clone(), log.quaternions.clone()
    upright = heading(rotations_of(log.quaternions[:, 0]))
    for hand in (1, 2):
        lost = log.lost[:, hand]
        beside = Beside(
            ((positions[:, hand] - positions[:, 0])[:, None] @ upright)[:, 0],
            upright.mT @ rotations_of(quaternions[:, hand]),
        )
        for first, end in intervals(lost):
            made = _between(beside, lost, log.times, (first, end), how)
            turned = upright[first:end]
            positions[first:end, hand] = positions[first:end, 0] + (turned @ made.places[..., None])[..., 0]
            quaternions[first:end, hand] = quaternion_from_matrix(turned @ made.turns).roll(-1, dims=-1)
    return replace(log, positions=positions, quaternions=quaternions)


def _between(beside: Beside, lost: Tensor, times: Tensor, stretch: tuple[int, int], how: LostHands) -> Beside:
    """Poses for the frames of a stretch without tracking."""
    first, end = stretch
    last, following = (first - 1 if first else None), (end if end < len(lost) else None)
    known = beside[last if last is not None else end]
    since = times[first:end] - times[max(first - 1, 0)]
    nowhere = torch.zeros_like(since)
    if how == "interpolate" and last is not None and following is not None:
        return known.towards(beside[following], since / (times[following] - times[last]))
    if how == "extrapolate" and first > PACE_FRAMES and not lost[first - 1 - PACE_FRAMES : first].any():
        return _running_out(
            beside[first - 1 - PACE_FRAMES], known, since, times[first - 1] - times[first - 1 - PACE_FRAMES]
        )
    if how != "mask":
        return known.towards(known, nowhere)
    usual = Beside(
        beside.places[~lost].mean(0, keepdim=True),
        matrix_from_sixd(sixd_from_matrix(beside.turns[~lost]).mean(0, keepdim=True)),
    )
    gone = 1 - torch.exp(-since / FORGETTING) if last is not None else torch.ones_like(since)
    made = known.towards(usual, gone)
    if following is None:
        return made
    return made.towards(beside[following], torch.exp((times[first:end] - times[following]) / FORGETTING))


def _running_out(before: Beside, last: Beside, since: Tensor, took: Tensor) -> Beside:
    """The movement from one pose to another, which took some time, going on ever more slowly."""
    share = (SLOWING * (1 - torch.exp(-since / SLOWING)) / took)[:, None]
    turn = axis_angle_from_matrix(last.turns @ before.turns.mT)
    return Beside(
        last.places + share * (last.places - before.places),
        matrix_from_axis_angle(share * turn) @ last.turns,
    )


def _check(log: HeadsetLog, how: LostHands) -> None:
    nothing = (log.quaternions == 0).all(-1)
    for device in range(len(DEVICES)):
        stretches = intervals(nothing[:, device])
        if stretches and (device == 0 or how == "keep"):
            first, end = stretches[0]
            raise DataError(
                f"{log.path}: line {log.line(first)}: {DEVICES[device]}-Rotation: found "
                f"{vector(log.quaternions[first, device])}: tracking was lost, up to line "
                f"{log.line(end - 1)} ({int(nothing[:, device].sum())} frames in all)",
                hint="fill it: --lost-hands interpolate (or hold, extrapolate, mask)"
                if device
                else "cut the recording there",
            )
        if device and how != "keep" and log.lost[:, device].all():
            raise DataError(
                f"{log.path}: {DEVICES[device]}: not tracked in any of the {len(log)} frames",
                hint="record again with both controllers on",
            )


def rotations_of(quaternions: Tensor) -> Tensor:
    """Rotations [..., 3, 3] of quaternions xyzw of any length [..., 4], identity where they are zero."""
    nothing = (quaternions == 0).all(-1, keepdim=True)
    wxyz = quaternions.roll(1, dims=-1)
    wxyz = torch.where(nothing, wxyz.new_tensor([1.0, 0.0, 0.0, 0.0]), wxyz)
    return matrix_from_quaternion(normalize(wxyz, dim=-1))


def facing(turned: Tensor) -> Tensor:
    """Where heads with rotations [N, 3, 3] face along the floor, in Unity's axes: unit vectors [N, 3].

    Looking down, the crown points ahead; looking up, it points back.
    """
    look, crown = turned[..., 2], turned[..., 1]
    ahead = look - look[:, 1:2] * crown
    return normalize(ahead * ahead.new_tensor([1.0, 0.0, 1.0]), dim=-1)


def heading(turned: Tensor) -> Tensor:
    """Rotations about the vertical [N, 3, 3] that heads with rotations [N, 3, 3] have."""
    ahead = facing(turned)
    up = torch.zeros_like(ahead)
    up[:, 1] = 1
    return torch.stack([torch.linalg.cross(up, ahead), up, ahead], dim=-1)
