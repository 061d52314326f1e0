"""Labels by editing others: views, motions, cameras."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label, labels
from avatarctl_generative_avatar.body import scaled_body
from scipy.spatial.transform import Rotation

from avatarctl.body import open_body
from avatarctl.body.tables import NAMES
from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips

BODY = open_body("smpl")
JOINT = NAMES["smpl"].index
UNEVEN = 3e-4
"""Metres: weights of the open body sum to 1 within 3e-4, so that it moves a little as it turns."""


def bodies(count: int = 2) -> torch.Tensor:
    """Labels of people that stand about upright in a picture whose y points down."""
    noise = Noise.seeded(0, "labels")
    poses = 0.2 * noise.normal((count, label.JOINTS, 3))
    poses[:, 0, 0] += math.pi
    return label.made(poses, noise.normal((count, 10)), transl=0.1 * noise.normal((count, 3)))


def vertices(given: torch.Tensor) -> np.ndarray:
    return scaled_body(BODY, given).vertices.double().numpy()


def test_published_views_swing_to_both_sides():
    sides = [0, 8, 16, 24, 32, 40, 32, 24, 16, 8, 0, -8, -16, -24, -32, -40, -32, -24, -16, -8, 0]
    assert labels.swing().tolist() == sides


@pytest.mark.parametrize(("azimuth", "elevation"), [(30.0, 0.0), (-100.0, 25.0), (180.0, -90.0)])
def test_bodies_turn_as_a_whole_about_the_pelvis(azimuth, elevation):
    given = bodies()
    made = labels.turned(given, torch.full((2,), azimuth), elevation)
    turn = Rotation.from_euler("x", elevation, degrees=True) * Rotation.from_euler(
        "y", -azimuth, degrees=True
    )
    pelvis = scaled_body(BODY, given).joints[:, :1].double().numpy()
    wanted = (vertices(given) - pelvis) @ turn.as_matrix().T + pelvis
    np.testing.assert_allclose(vertices(made), wanted, atol=UNEVEN)
    kept = [place for place in range(label.SIZE) if not 29 <= place < 32]
    assert torch.equal(made[:, kept], given[:, kept])


def test_one_person_is_turned_to_many_views():
    made = labels.turned(bodies(1), labels.swing(), 10)
    assert made.shape == (21, label.SIZE)
    assert torch.equal(made[0], made[10])


def test_the_camera_goes_to_the_right_of_the_person_and_above_it():
    plain = label.canonical_pose(bodies(1))
    aside = scaled_body(BODY, labels.turned(plain, torch.tensor([90.0]))).joints[0, :, 2]
    assert aside[JOINT("right_shoulder")] < aside[JOINT("left_shoulder")]  # the camera is at negative z
    above = scaled_body(BODY, labels.turned(plain, torch.tensor([0.0]), 45)).joints[0, :, 2]
    assert above[JOINT("head")] < above[JOINT("left_foot")]


@pytest.mark.parametrize("columns", [66, 165])
def test_published_animations_take_no_other_skeleton(columns):
    with pytest.raises(DataError, match=f"{columns} columns"):
        labels.published_frames(torch.zeros(9, columns))


@pytest.mark.parametrize(("frames", "made"), [(1, 0), (8, 1), (9, 1), (31, 3), (2000, 100)])
def test_published_animations_have_every_ninth_frame_and_an_end(frames, made):
    assert (
        len(labels.published_animation(bodies(1), labels.published_frames(torch.zeros(frames, 72)))) == made
    )


def test_published_animations_of_motions_too_short_for_a_frame_are_refused():
    motion = clips()["walk_2"].motion()
    assert len(labels.published_of_motion(motion[:7], bodies(1))) == 1
    with pytest.raises(DataError, match="found 6 frames; a published animation needs 7"):
        labels.published_of_motion(motion[:6], bodies(1))


def test_published_animations_of_other_skeletons_have_the_joints_of_the_same_name():
    motion = clips()["walk_2"].motion()[:30].to_skeleton("smplx")
    made = labels.published_of_motion(motion, bodies(1))
    same = labels.published_of_motion(motion.to_skeleton("smpl"), bodies(1))
    assert torch.equal(made, same)
    assert made[:, 32:98].abs().max() > 0.1


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_motion_stands_as_the_body_model_poses_it(up):
    motion = clips()["jump_4"].motion()[::20].to_skeleton("smpl").to_up(up)
    given = bodies(1)
    made = labels.of_motion(motion, given, BODY)
    shaped = BODY.shape(label.betas(given)[0])
    plain = motion.to_up("y", shaped.joints[0])
    posed = shaped.pose(plain.body_poses(24), plain.root).vertices().double().numpy()
    facing = Rotation.from_rotvec(plain.poses[0, 0].double()).as_matrix()[:, 2]
    yaw = np.degrees(np.arctan2(facing[0], facing[2]))
    wanted = Rotation.from_euler("y", -yaw, degrees=True).apply(posed.reshape(-1, 3)).reshape(posed.shape)
    wanted *= (1, -1, -1)
    found = vertices(made)
    # Up and down is kept but for one shift of all frames; across the floor the body stays where it is.
    shift = found - wanted
    np.testing.assert_allclose(shift[..., 1], shift[0, 0, 1], atol=UNEVEN)
    np.testing.assert_allclose(shift, shift[:, :1] + 0 * shift, atol=UNEVEN)
    assert shift[:, 0, [0, 2]].std(axis=0).max() > 0.05
    assert np.abs(found[..., 1].min() + found[..., 1].max()) < 1e-4
    np.testing.assert_array_equal(made[:, : label.CAMERA], given[:, : label.CAMERA].expand(len(made), -1))
    np.testing.assert_array_equal(label.betas(made), label.betas(given).expand(len(made), -1))
    first = Rotation.from_rotvec(made[0, label.ROOT].double()).as_matrix()[:, 2]
    assert first[2] < 0  # to the camera
    assert abs(first[0]) < 1e-6


def test_poses_of_clips_are_inside_the_picture_and_face_ahead():
    made = labels.of_clips(BODY)
    assert len(made) > 100
    label.check(made)
    low, high = labels.extent(BODY, made)
    assert torch.maximum(-low, high)[:, :2].max() < 1
    assert torch.maximum(-low, high)[:, 2].max() < 0.3
    turns = Rotation.from_rotvec(made[:, label.ROOT].double()).as_matrix()
    assert np.abs(turns[:, 0, 2]).max() < 1e-5  # what is ahead has no x
    assert (turns[:, 2, 2] < 0).all()


def test_how_far_bodies_reach_is_that_of_their_vertices():
    given = bodies(3)
    given[1, label.SCALE] = 0.8
    low, high = labels.extent(BODY, given)
    posed = scaled_body(BODY, given).vertices
    torch.testing.assert_close(low, posed.amin(dim=1))
    torch.testing.assert_close(high, posed.amax(dim=1))


def test_a_camera_on_a_sphere_looks_at_its_target():
    target = torch.tensor([0.1, 0.2, -0.1])
    camera = labels.looking_camera(0.7, 1.1, target, 3.0)
    eye, turn = camera[:3, 3], camera[:3, :3]
    torch.testing.assert_close(eye.norm(), torch.tensor(3.0))
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), rtol=0, atol=1e-6)
    ahead = turn.T @ (target - eye)
    assert ahead[:2].abs().max() < 1e-6
    assert ahead[2] > 0
    assert turn[1, 1] < 0  # y of the picture points down


def test_intrinsics_see_the_angle_along_the_diagonal():
    inner = labels.intrinsics_of(40.0)
    corner = torch.tensor([1.0, 1.0]) - inner[:2, 2]
    seen = 2 * math.degrees(math.atan(float(corner.norm() / inner[0, 0])))
    assert seen == pytest.approx(40, abs=0.01)  # the published root of 2 is 1.414


def test_a_motion_without_hands_and_one_with_them_pose_alike():
    motion = clips()["walk_2"].motion()[:5]
    with_hands = Motion(motion.body_poses(52), motion.root, motion.fps)
    given = bodies(1)
    assert torch.equal(labels.of_motion(motion, given, BODY), labels.of_motion(with_hands, given, BODY))
