"""Poses from elsewhere: motions, AIST++ files and other recordings, as fits of an avatar's person."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import va_recording
from avatarctl_video_avatar import driving
from avatarctl_video_avatar.body_fit import posed
from avatarctl_video_avatar.items import placed, pose_of, sample_of
from avatarctl_video_avatar.prepared import SUBJECT, Fit, FrameBody, Prepared
from avatarctl_video_avatar.preparing import bodies_of
from avatarctl_video_avatar.settings_model import Rendering
from scipy.spatial.transform import Rotation

from avatarctl.body import open_body
from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips

BODY = open_body("smpl")
BETAS = np.linspace(-0.5, 0.5, 10).astype(np.float32)
JOINTS = BODY.shape(torch.from_numpy(BETAS)).joints.double().numpy()
TURNS = {"y": (0.0, 0.3, 0.0), "-y": (np.pi, 0.0, 0.0), "z": (np.pi / 2, 0.0, 0.0), "-z": (-np.pi / 2, 0, 0)}
"""How a body that stands is turned, by the axis of the world that points up."""
UPRIGHT = {
    "y": np.eye(3),
    "-y": np.diag([1.0, -1, -1]),
    "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "-z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
}


def clip(name: str = "walk_2", step: int = 60) -> Motion:
    return clips()[name].motion()[::step]


def fit(Rh, Th=(0.4, 0.2, -0.3)) -> Fit:
    return Fit(np.zeros(72, np.float32), np.array(Rh, np.float32), np.array(Th, np.float32), BETAS)


def world(fits: list[Fit]) -> np.ndarray:
    """Vertices in the world [F, V, 3]: R(Rh) x + Th."""
    vertices, _ = posed(BODY, fits)
    turns = Rotation.from_rotvec([one.Rh for one in fits]).as_matrix()
    return np.einsum("fab,fvb->fva", turns, vertices) + np.stack([one.Th for one in fits])[:, None]


def by_the_body_model(motion: Motion) -> np.ndarray:
    """Vertices of a motion with y up [F, V, 3]."""
    motion = motion.to_skeleton("smpl").to_up("y", torch.from_numpy(JOINTS[0]).float())
    shown = BODY.shape(torch.from_numpy(BETAS)).pose(motion.body_poses(24), motion.root)
    return shown.vertices().double().numpy()


@pytest.mark.parametrize("up", TURNS)
def test_a_motion_stands_where_the_body_model_poses_it(up):
    motion = clip()
    fits = driving.fits_of_motion(motion, JOINTS[0], BETAS, [fit(TURNS[up])], is_placed=False)
    assert all((one.poses[:3] == 0).all() for one in fits)
    expected = by_the_body_model(motion) @ np.array(UPRIGHT[up]).T
    np.testing.assert_allclose(world(fits), expected, atol=2e-5)  # metres; fits are float32


@pytest.mark.parametrize("up", TURNS)
def test_a_placed_motion_begins_at_the_first_fit_and_is_moved_as_a_whole(up):
    motion, first = clip("salsa_01_a"), fit(TURNS[up])
    args = (motion, JOINTS[0], BETAS, [first, fit(TURNS[up], (9, 9, 9))])
    ours, plain = (world(driving.fits_of_motion(*args, is_placed=placed)) for placed in (True, False))
    # One rigid motion, about the axis that is up, takes all frames.
    points, origin = plain.reshape(-1, 3)[::50], ours.reshape(-1, 3)[::50]
    turn, _ = Rotation.align_vectors(origin - origin.mean(0), points - points.mean(0))
    np.testing.assert_allclose(
        turn.apply(points - points.mean(0)) + origin.mean(0), origin, atol=5e-5
    )  # metres
    axis = np.array(UPRIGHT[up])[:, 1]
    np.testing.assert_allclose(turn.apply(axis), axis, atol=1e-5)
    fits = driving.fits_of_motion(*args, is_placed=True)
    begun, wanted = (Rotation.from_rotvec(one.Rh).as_matrix() for one in (fits[0], first))
    np.testing.assert_allclose(begun @ JOINTS[0] + fits[0].Th, wanted @ JOINTS[0] + first.Th, atol=1e-6)
    looks = [matrix[:, 2] - axis * (axis @ matrix[:, 2]) for matrix in (begun, wanted)]
    assert looks[0] @ looks[1] / np.prod([np.linalg.norm(look) for look in looks]) == pytest.approx(1)


@pytest.mark.parametrize("up", TURNS)
def test_up_is_the_axis_of_the_heads(up):
    leaning = (Rotation.from_rotvec(TURNS[up]) * Rotation.from_rotvec([0.5, 0.3, 0])).as_rotvec()
    np.testing.assert_array_equal(
        driving.up_axis([fit(leaning), fit(TURNS[up])]), np.array(UPRIGHT[up])[:, 1].round()
    )


def aist(folder: Path, **changes) -> Path:
    draw = np.random.default_rng(0)
    content = {
        "smpl_poses": draw.normal(0, 0.3, (4, 72)),
        "smpl_trans": draw.normal(0, 80, (4, 3)),
        "smpl_scaling": [93.0],
        **changes,
    }
    path = folder / "gBR_sBM.pkl"
    path.write_bytes(pickle.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def test_aist_bodies_stand_as_published(tmp_path):
    path = aist(tmp_path)
    content = pickle.loads(path.read_bytes())
    camera = va_recording.camera_at(0.3)
    quarter = Rotation.from_euler("xyz", [90, 180, 0], degrees=True).as_matrix()  # Q
    fits = driving.fits_of_aist(driving.read_aist(path), BETAS)
    for row in (0, 3):
        pose = content["smpl_poses"][row].astype(np.float32)
        # E' = E [Q^T R(Rh) | trans / 93 + (0.3, -1.5, -1.2)] (spec 6)
        moved = np.eye(4)
        moved[:3, :3] = quarter.T @ Rotation.from_rotvec(pose[:3]).as_matrix()
        moved[:3, 3] = content["smpl_trans"][row] / 93 + (0.3, -1.5, -1.2)
        body = bodies_of({"a": fits[row]}, BODY, *driving.AIST_ROOM)["a"]
        sample = sample_of(
            pose_of(body, JOINTS), camera, body, va_recording.SIZE, Rendering(inner_sampling=False), None
        )
        expected = camera.extrinsics @ moved
        np.testing.assert_allclose(sample.shot.extrinsics.numpy(), expected, atol=1e-6)
        np.testing.assert_array_equal(body.poses[:3], np.zeros(3))
        np.testing.assert_array_equal(body.poses[3:], pose[3:])
        np.testing.assert_array_equal(body.betas, BETAS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"smpl_poses": None}, "no smpl_poses in it; it holds smpl_trans"),
        ({"smpl_poses": np.zeros((4, 66))}, "smpl_poses is float64 [4, 66], expected [frames, 72]"),
        ({"smpl_poses": np.zeros((4, 72), int)}, "smpl_poses is int64 [4, 72]"),
        ({"smpl_trans": np.zeros((3, 3))}, "4 poses and 3 places"),
        ({"smpl_trans": np.full((4, 3), np.nan)}, "frame 0: found nan"),
        ({"smpl_poses": np.zeros((0, 72)), "smpl_trans": np.zeros((0, 3))}, "0 frames"),
    ],
)
def test_what_is_no_aist_motion_is_told(changes, said, tmp_path):
    with pytest.raises(DataError) as caught:
        driving.read_aist(aist(tmp_path, **changes))
    assert said in caught.value.message
    assert "gBR_sBM.pkl" in caught.value.message


@pytest.mark.parametrize("dataset", ["zju-mocap", "people-snapshot"])
def test_another_persons_poses_keep_their_places(dataset, tmp_path):
    folder = va_recording.write(tmp_path / "Other")
    data = Prepared(folder)
    (folder / SUBJECT).write_text(json.dumps(asdict(replace(data.about, dataset=dataset))))
    fits = driving.fits_of_recording(Prepared(folder), BETAS)
    assert list(fits) == list(data.bodies)
    rest = data.canonical[0][0]
    for name, one in fits.items():
        theirs = data.bodies[name]
        assert not isinstance(one, FrameBody)
        np.testing.assert_array_equal(one.betas, BETAS)
        np.testing.assert_array_equal(one.poses, theirs.poses)
        turn = Rotation.from_rotvec(theirs.Rh).as_matrix()
        # SMPL's own files turn about the root joint (spec 9, Q7): the root stays.
        root = rest + theirs.Th if dataset == "people-snapshot" else turn @ rest + theirs.Th
        np.testing.assert_allclose(turn @ rest + one.Th, root, atol=1e-6)
        np.testing.assert_array_equal(one.Th, placed(theirs, data.canonical[0], dataset, "exact").Th)
