"""The made-up recordings of the open person: voices of the embedded speech, gestures of the embedded clips.

Nobody in them ever spoke while he moved: they show that training works and give the toy networks something to
say, no more. Validation and test scenes have phrases and gestures that the training scenes do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.motion import Motion
from avatarctl_audio2motion.conversations.scenes import Recorded, Recordings, Scene
from avatarctl_audio2motion.conversations.stats import Statistics
from avatarctl_audio2motion.person.face import CODES, CONTROLS
from avatarctl_audio2motion.person.gestures import gesture
from avatarctl_audio2motion.person.loading import OPEN, load
from avatarctl_audio2motion.person.speaking import converse, hear
from avatarctl_audio2motion.person.talking import talk

TRAINING, HELD_OUT = 22, 6
"""Scenes."""
FRAMES = 24 * 30
"""Of a scene."""
SPREAD = math.sqrt(CODES / CONTROLS)
"""Codes are so much redundant: without it a network sees the face through nearly any noise, and never learns
to listen to the voice."""
VERSION = "2"
"""Changes with what is made, so that stores are made again."""
JAW_RADIANS = 0.03
"""How far the skeleton's own jaw hangs open in speech; the rest is the face's."""
LEAST_STD, LEAST_CODE_STD = 0.01, 0.01
"""Deviations of numbers that hardly change, which would be blown up otherwise."""
LICENCE = (
    "made up from the embedded clips (CMU: free for all uses; wave_hello: MIT) and the embedded speech "
    "(public domain; AMI Meeting Corpus, CC BY 4.0)"
)


@dataclass(frozen=True)
class _Moved:
    """What a scene shows: body parameters [T, 104] and face codes [T, 256]."""

    pose: Tensor
    face: Tensor


def recordings() -> Recordings:
    """The made-up scenes, the same every time; the last ones, for validation and testing, are held out."""
    scenes = recordings_of(range(1, TRAINING + HELD_OUT + 1))
    return Recordings(OPEN, _statistics(), scenes, LICENCE, FRAMES * len(scenes))


def recordings_of(numbers: Iterable[int]) -> list[Recorded]:
    """Some of the scenes, by their numbers from 1 on."""
    return [
        Recorded(f"scene{number:02d}", f"open-{VERSION}-{number}", partial(_scene, number))
        for number in numbers
    ]


def voices_of(number: int) -> Tensor:
    """The voices of a scene, float32 [1600 T, 2]."""
    return converse(FRAMES, Noise.seeded(number, "voices"), held_out=number > TRAINING)


def _scene(number: int) -> Scene:
    moved = _moved(number)
    return Scene(f"scene{number:02d}", voices_of(number), moved.pose, moved.face, torch.ones(FRAMES))


@cache
def _moved(number: int) -> _Moved:
    own, partner = (hear(voice) for voice in voices_of(number).T)
    person = load()
    motion, bend = gesture(own, partner, Noise.seeded(number, "gestures"), held_out=number > TRAINING)
    pose = person.pose(motion) + bend[:, None] * _relaxed()
    assert person.face is not None
    assert person.jaw is not None
    pose[:, person.jaw] += JAW_RADIANS * own.loudness
    return _Moved(pose, person.face.codes(talk(own, partner, Noise.seeded(number, "face"))))


@cache
def _relaxed() -> Tensor:
    """The body parameters of relaxed hands on a body at rest [104]."""
    body = open_body("smplh")
    assert body.hands_mean is not None
    still = torch.zeros(body.num_joints, 3)
    hands = torch.cat([still[: -len(body.hands_mean)], body.hands_mean])
    relaxed, flat = load().pose(Motion(torch.stack([hands, still]), torch.zeros(2, 3), 30.0))
    return relaxed - flat


@cache
def _statistics() -> Statistics:
    """Means and deviations of the training scenes."""
    training = range(1, TRAINING + 1)
    pose = torch.cat([_moved(number).pose for number in training]).double()
    code = torch.cat([_moved(number).face for number in training]).double()
    power = torch.stack([voices_of(number).double().square().mean() for number in training]).mean()
    return Statistics(
        pose_mean=pose.mean(0),
        pose_std=pose.std(0).clamp(min=LEAST_STD),
        code_mean=code.mean(0),
        code_std=SPREAD * code.std(0).clamp(min=LEAST_CODE_STD),
        audio_mean=torch.zeros(2),
        audio_std=float(power.sqrt()),
    )
