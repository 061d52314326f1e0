"""Arm motion for a voice: real gestures of the open clips, warped in time so that strokes fall on beats.

The clips hold no speech. Their upper bodies are joined in random order; time runs a little faster or slower,
so that strokes (peaks of the hands' speed) meet beats of the voice, and loudness says how far the body leaves
its rest. The head nods with the own beats and, less, with the partner's. The feet stand still.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.body.tables import BODY, BODY_PARENTS, LEFT_WRIST, RIGHT_WRIST
from avatarctl.device import Noise
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import (
    axis_angle_from_quaternion,
    matrix_from_axis_angle_smpl,
    matrix_from_quaternion,
    quaternion_from_axis_angle,
    slerp,
)
from avatarctl.motion import Motion, resample
from avatarctl.motion.clips import clips
from avatarctl_audio2motion.person.speaking import FPS, Heard, smooth

TRAINING = (
    "signal_1", "signal_2", "signal_3", "signal_4", "traffic_1b", "traffic_4a", "wave_hello",
)  # fmt: skip
HELD_OUT = ("signal_5", "traffic_4b")
"""Clips whose motion only validation and testing see."""
UPPER = [
    joint for joint, name in enumerate(BODY) if joint > 2 and not name.endswith(("knee", "ankle", "foot"))
]
CALM = {
    "spine1": 0.4,
    "spine2": 0.4,
    "spine3": 0.4,
    "neck": 0.5,
    "head": 0.5,
    "left_wrist": 0.6,
    "right_wrist": 0.6,
}
"""Share of a clip's motion that these joints keep."""
JOIN = 18
"""Frames over which one clip becomes the next."""
SLOWEST, FASTEST = 0.6, 1.7
"""How the time between two strokes may be stretched, as shares of it."""
STROKE_PROMINENCE, STROKE_GAP = 0.25, 10
"""Of the hands' speed, metres a second; frames."""
QUIET, LOUD = 0.06, 0.95
"""Share of the clips' motion in silence and in the loudest speech."""
NOD_RADIANS, LISTENING_NOD, NOD_FRAMES = 0.09, 0.06, 14
SWAY_RADIANS, TURN_RADIANS = 0.012, 0.10
"""Slow drift of the body about its feet, and of the head to the sides."""
OPENING = 0.45
"""How much of the relaxed hands' bend the liveliest gestures take away."""


@dataclass(frozen=True)
class _Track:
    """Upper bodies one after the other: `turns` wxyz [N, U, 4], and the frames of their strokes."""

    turns: Tensor
    strokes: np.ndarray


def gesture(own: Heard, partner: Heard, noise: Noise, *, held_out: bool) -> tuple[Motion, Tensor]:
    """The motion of somebody who says the one voice and hears the other, y up, without hands; and how far the
    fingers are bent, as a share of relaxed hands [T]."""
    frames = len(own.loudness)
    track = _track(noise, int(frames * FASTEST) + FPS, HELD_OUT if held_out else TRAINING)
    moments = _warped(track, own.beats.tolist(), frames)
    left, fraction = resample.between(torch.arange(len(track.turns)).double(), moments)
    moving = resample.rotations_at(track.turns, left, fraction)
    gain = QUIET + (LOUD - QUIET) * smooth(own.loudness, 7.0).clamp(0, 1)
    share = torch.tensor([CALM.get(BODY[joint], 1.0) for joint in UPPER])
    turned = slerp(_rest().expand_as(moving), moving, (gain[:, None] * share).unsqueeze(-1))
    poses = torch.zeros(frames, len(BODY), 3)
    poses[:, UPPER] = axis_angle_from_quaternion(turned)
    _move_head(poses, own, partner, noise)
    bend = 1 - OPENING * gain + 0.1 * _drift(frames, noise)
    return _standing(poses, noise), bend


def _move_head(poses: Tensor, own: Heard, partner: Heard, noise: Noise) -> None:
    """Add nods and slow turns to neck and head, in place."""
    nods = _nods(own, len(poses)) * NOD_RADIANS + _nods(partner, len(poses)) * LISTENING_NOD
    aside = TURN_RADIANS * _drift(len(poses), noise)
    for joint in (BODY.index("neck"), BODY.index("head")):
        poses[:, joint, 0] += 0.5 * nods
        poses[:, joint, 1] += 0.5 * aside


def _nods(voice: Heard, frames: int) -> Tensor:
    """A short wave down from each beat on, as high as the beat is loud [T]."""
    wave = torch.sin(torch.linspace(0, np.pi, NOD_FRAMES)).square()
    found = torch.zeros(frames + NOD_FRAMES)
    for beat in voice.beats.tolist():
        found[beat : beat + NOD_FRAMES] = torch.maximum(
            found[beat : beat + NOD_FRAMES], wave * voice.loudness[beat]
        )
    return smooth(found[:frames], 1.5)


def _standing(poses: Tensor, noise: Noise) -> Motion:
    """The motion with feet on the floor, leaning slowly about them; y up."""
    body = open_body("smplh")
    lean = SWAY_RADIANS * torch.stack([_drift(len(poses), noise) for _ in range(3)], dim=1)
    poses[:, 0] = lean
    ankles = [BODY.index("left_ankle"), BODY.index("right_ankle")]
    poses[:, ankles] = -lean.unsqueeze(1)
    middle = body.rest_joints[ankles].mean(0)
    arm = middle - body.rest_joints[0]
    root = (
        arm
        - (matrix_from_axis_angle_smpl(lean) @ arm)
        - torch.tensor([0.0, 1.0, 0.0]) * body.template[:, 1].min()
    )
    return Motion(poses, root, float(FPS), up="y")


def _warped(track: _Track, beats: list[int], frames: int) -> Tensor:
    """The moment of the track for each frame, float64 [T]: strokes meet the beats that are near enough."""
    times, places = [0.0], [0.0]
    for stroke in track.strokes.tolist():
        span = stroke - places[-1]
        if times[-1] >= frames:
            break
        near = [beat for beat in beats if SLOWEST * span <= beat - times[-1] <= FASTEST * span]
        natural = times[-1] + span
        times.append(float(min(near, key=lambda beat: abs(beat - natural))) if near else natural)
        places.append(float(stroke))
    times.append(times[-1] + len(track.turns) - places[-1])
    places.append(float(len(track.turns)))
    wanted = PchipInterpolator(times, places)(np.arange(frames))
    return torch.from_numpy(wanted).clamp(0, len(track.turns) - 1)


def _track(noise: Noise, frames: int, names: tuple[str, ...]) -> _Track:
    """Clips in random order, each faded over to the next, until there are enough frames."""
    turns = torch.empty(0, len(UPPER), 4)
    while len(turns) < frames:
        for index in noise.permutation(len(names)).tolist():
            clip = _upper(names[index])
            first = int(noise.integers(0, len(clip) // 3, (1,)))
            turns = _joined(turns, clip[first:])
    return _Track(turns, _strokes(turns))


def _joined(before: Tensor, after: Tensor) -> Tensor:
    """One track after another [N + M - JOIN, U, 4]."""
    if not len(before):
        return after
    share = torch.linspace(0, 1, JOIN)[:, None, None]
    share = share * share * (3 - 2 * share)
    middle = slerp(before[-JOIN:], after[:JOIN], share.expand(JOIN, len(UPPER), 1))
    return torch.cat([before[:-JOIN], middle, after[JOIN:]])


@cache
def _upper(name: str) -> Tensor:
    """The turns of a clip's upper body against its pelvis at 30 frames a second, wxyz [N, U, 4]."""
    motion = clips()[name].motion().resampled(FPS)
    return quaternion_from_axis_angle(motion.poses[:, UPPER])


@cache
def _rest() -> Tensor:
    """The upper body of the frame in which the hands hang lowest [U, 4]."""
    turns = torch.cat([_upper(name) for name in TRAINING])
    return turns[_hands(turns)[..., 1].amax(1).argmin()]


def _hands(turns: Tensor) -> Tensor:
    """Where the wrists are, seen from the pelvis, metres [N, 2, 3]."""
    local = torch.eye(3).repeat(len(turns), len(BODY), 1, 1)
    local[:, UPPER] = matrix_from_quaternion(turns)
    rest = open_body("smplh").rest_joints[: len(BODY)]
    _, places = forward_kinematics(local, rest, BODY_PARENTS)
    return places[:, [LEFT_WRIST, RIGHT_WRIST]] - rest[0]


def _strokes(turns: Tensor) -> np.ndarray:
    """The frames in which the hands are fastest."""
    speed = _hands(turns).diff(dim=0).norm(dim=2).sum(1).numpy() * FPS
    peaks, _ = find_peaks(gaussian_filter1d(speed, 2.0), prominence=STROKE_PROMINENCE, distance=STROKE_GAP)
    return peaks


def _drift(frames: int, noise: Noise) -> Tensor:
    """A slow random wave of deviation about 1 [T]."""
    wave = smooth(noise.normal((frames + 8 * FPS,)), 1.2 * FPS)
    return ((wave - wave.mean()) / wave.std())[4 * FPS : 4 * FPS + frames]
