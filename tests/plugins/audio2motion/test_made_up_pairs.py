"""The made-up recordings: the same every time, hands that follow the voice, feet that stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.person import gestures, listening, load, pairs
from avatarctl_audio2motion.person.speaking import hear, phrases

from avatarctl.body import open_body
from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.checkpoints import open_weights
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.plugin.registry import Registry

SPEAKING = 1
"""A training scene in which the person speaks alone."""


@pytest.fixture(scope="module")
def scene():
    return pairs.recordings_of([SPEAKING])[0].read()


@pytest.fixture(scope="module")
def joints(scene):
    """Where the body's joints are, metres [T, 22, 3], z up."""
    motion = load().motion(scene.pose)
    local = matrix_from_axis_angle_smpl(motion.body_poses())
    return forward_kinematics(local, open_body().rest_joints[:22], BODY_PARENTS, motion.root)[1]


def test_a_scene_is_whole(scene):
    assert scene.audio.shape == (1600 * len(scene), 2)
    assert scene.pose.shape == (len(scene), 104)
    assert scene.face.shape == (len(scene), 256)
    assert all(torch.isfinite(one).all() for one in (scene.audio, scene.pose, scene.face))


def test_a_scene_is_the_same_every_time(scene):
    pairs._moved.cache_clear()
    again = pairs.recordings_of([SPEAKING])[0].read()
    assert torch.equal(again.audio, scene.audio)
    assert torch.equal(again.pose, scene.pose)
    assert torch.equal(again.face, scene.face)


def test_hands_move_when_the_voice_is_loud(scene, joints):
    hands = joints[:, [BODY.index("left_wrist"), BODY.index("right_wrist")]]
    speed = hands.diff(dim=0).norm(dim=2).sum(1)
    loud = hear(scene.audio[:, 0]).loudness[1:]
    smooth = torch.nn.functional.avg_pool1d(torch.stack([speed, loud]), 15, 1, 7)
    assert torch.corrcoef(smooth)[0, 1] > 0.3


def test_strokes_meet_beats():
    voice = pairs.voices_of(SPEAKING)[:, 0]
    heard = hear(voice)
    frames = len(heard.loudness)
    track = gestures._track(gestures.Noise.seeded(1, "track"), 2 * frames, gestures.TRAINING)
    moments = gestures._warped(track, heard.beats.tolist(), frames).numpy()
    assert (np.diff(moments) > 0).all()
    met = np.interp(track.strokes, moments, np.arange(frames))[track.strokes < moments[-1]]
    away = np.abs(met[:, None] - heard.beats.numpy()).min(1)
    by_chance = np.abs(np.arange(frames)[:, None] - heard.beats.numpy()).min(1)
    assert np.median(away) <= 1  # frames
    assert np.median(by_chance) > 5


def test_the_mouth_opens_with_the_voice(scene):
    face = load().face
    assert face is not None
    jaw = face.expression(scene.face).jaw
    loud = hear(scene.audio[:, 0]).loudness
    assert torch.corrcoef(torch.stack([jaw, loud]))[0, 1] > 0.9
    assert jaw.max() > 0.1  # radians


def test_the_feet_stand_on_the_floor(joints):
    ankles = joints[:, [BODY.index("left_ankle"), BODY.index("right_ankle")]]
    assert (ankles - ankles.mean(0)).norm(dim=2).max() < 0.005  # metres
    sole = open_body().rest_joints[7, 1] - open_body().template[:, 1].min()
    torch.testing.assert_close(ankles[..., 2].mean(), sole, rtol=0, atol=0.005)


def test_held_out_scenes_have_their_own_phrases_and_gestures():
    assert not {*gestures.TRAINING} & {*gestures.HELD_OUT}
    training, held_out = phrases(held_out=False), phrases(held_out=True)
    ours = torch.cat([one for listed in training.values() for one in listed])
    for phrase in (one for listed in held_out.values() for one in listed):
        piece = phrase[len(phrase) // 2 :][:4000]
        size = 1 << (len(ours) + 4000).bit_length()
        spectrum = torch.fft.rfft(ours, size) * torch.fft.rfft(piece, size).conj()
        likeness = torch.fft.irfft(spectrum)[: len(ours) - 4000]
        total = ours.double().square().cumsum(0)
        power = (total[4000:] - total[:-4000]).clamp(min=0)
        assert (likeness / (power.sqrt() * piece.norm() + 1e-3)).max() < 0.9


def test_the_designed_front_end_is_the_one_that_is_shipped():
    declared = next(one for one in Registry.load().weights() if one.name == "open-audio")
    shipped, made = open_weights(declared.path), listening.open_audio()
    assert shipped.config["networks"] == made.config["networks"]
    for name, tensor in made.parts["audio"].items():
        torch.testing.assert_close(shipped.parts["audio"][name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 4000.0])
def test_the_designed_front_end_hears_a_tone_in_its_band(hertz):
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * hertz * time) * (time > 0.5)
    heard = listening.open_front_end()(tone[None])[0]
    assert heard.shape[0] == 40
    assert 28 <= heard.shape[1] <= 31
    loud = heard[:, 18:28].mean(1) - heard[:, :12].mean(1)
    mels = 1127 * torch.log1p(700**-1 * torch.tensor([100.0, hertz, 7000.0]))
    band = 39 * (mels[1] - mels[0]) / (mels[2] - mels[0])
    assert abs(int(loud.argmax()) - float(band)) <= 1
