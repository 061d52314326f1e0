"""Capture persons: the open one loses nothing, any other keeps its limbs' directions, and the way back."""

from __future__ import annotations

import math
from dataclasses import replace

import foreign_person
import pytest
import torch
from avatarctl_audio2motion.person import load
from avatarctl_audio2motion.person.names import rig_of
from avatarctl_audio2motion.person.open import UNIT, open_assets
from avatarctl_audio2motion.person.solve import euler_from_matrix

from avatarctl.body import open_body
from avatarctl.body.tables import NAMES
from avatarctl.errors import AssetError, DataError
from avatarctl.geometry.rotations import (
    geodesic,
    matrix_about,
    matrix_from_axis_angle_smpl,
    matrix_from_quaternion,
)
from avatarctl.motion import bvh
from avatarctl.motion.clips import clips
from avatarctl.motion.rigs import RIGS, TABLE

FAMILIES = {
    "cmu-daz": "salsa_01_a",
    "cmu-motionbuilder": "walk_1",
    "cmu-max": "style_131_02",
    "fair": "wave_hello",
}


@pytest.fixture(scope="module")
def motion():
    return clips()["signal_1"].motion().resampled(30)[:40]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return load(foreign_person.write(tmp_path_factory.mktemp("person") / "XYZ123"))


def matrices(motion):
    return matrix_from_axis_angle_smpl(motion.poses.double())


def test_the_open_person_has_the_published_layout():
    config, names = open_assets()["lbs_config_dict"], open_assets()["model_param_names"]
    assert config["nr_position_params"] == load().skeleton.num_pose == 104
    assert names[:6] == [f"pelvis_{channel}" for channel in ("tx", "ty", "tz", "rx", "ry", "rz")]
    assert len(set(names)) == len(names) == config["transform"].shape[1]
    assert torch.linalg.matrix_rank(torch.from_numpy(config["transform"])) == len(names)


def test_the_open_persons_skin_is_the_open_bodys(motion):
    person, body = load(), open_body("smplx")
    plain = replace(
        body, pose_directions=torch.zeros_like(body.pose_directions)
    )  # skinning without correctives
    upright = person.motion(person.pose(motion[:3])).to_up("y").to_skeleton("smplx")
    expected = plain.shape().pose(upright.body_poses(55), upright.root).vertices()
    found = person.skeleton.posed(person.pose(motion[:3])) / 1000  # from millimetres
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)  # weights of the file sum to 1 to 0.1 %


def test_the_open_person_brings_every_motion_back(motion):
    person = load()
    again = person.motion(person.pose(motion), 30)
    assert math.degrees(geodesic(matrices(again)[:, :22], matrices(motion)).max()) < 1e-3
    torch.testing.assert_close(again.root, motion.root, rtol=0, atol=1e-4)
    assert (again.skeleton, again.up, again.fps) == ("smplh", "z", 30)


def test_the_open_persons_angles_do_not_jump():
    turning = clips()["signal_2"].motion().resampled(30)
    assert load().pose(turning)[:, 3:].diff(dim=0).abs().max() < 0.6  # radians in a thirtieth of a second


def test_hands_come_back_as_far_as_their_17_parameters_go(motion):
    person = load()
    poses = torch.zeros(2, 52, 3)
    poses[:, 22 + 3 * 1, 2], poses[:, 37 + 3 * 1, 2] = -0.8, 0.8  # both middle fingers bend
    given = motion[:2].replace(poses=poses, skeleton="smplh")
    again = person.motion(person.pose(given))
    assert math.degrees(geodesic(matrices(again), matrices(given)).max()) < 0.01


def test_limbs_of_another_skeleton_keep_their_directions(foreign, motion):
    errors = foreign.errors(foreign.pose(motion))
    assert errors.limbs_deg < 0.01
    assert errors.places_m < 1e-4  # its bones are as long as the open body's
    assert errors.back_deg < 0.01
    assert errors.back_m < 1e-4


def test_another_skeleton_and_back_gives_the_motion(foreign, motion):
    again = foreign.motion(foreign.pose(motion), 30)
    found, given = matrices(again)[:, :22], matrices(motion)
    off = torch.rad2deg(geodesic(found, given))
    assert (
        off[:, [joint for joint, name in enumerate(NAMES["smplh"][:22]) if "wrist" not in name]].max() < 0.01
    )
    assert off.max() < 1  # the fingers of this skeleton only bend, and pull at the wrists a little
    moved = again.root - motion.root
    assert (moved - moved.mean(0)).abs().max() < 1e-4  # the floor may be another


def test_a_world_that_points_down_is_turned_upright(foreign, motion):
    pose = foreign.pose(motion[:10]).double()
    skeleton = foreign.skeleton
    before = matrix_from_quaternion(skeleton.pre_rotation[0].double())
    offset = skeleton.offsets[0].double()
    over = matrix_about("X", torch.tensor(math.pi).double())
    root = matrix_from_quaternion(skeleton.states(pose.float()).quaternions[:, 0].double())
    turned = pose.clone()
    turned[:, 3:6] = euler_from_matrix(before.mT @ over @ root)
    turned[:, :3] = (pose[:, :3] + offset) @ over.T - offset
    upright, expected = foreign.motion(turned), foreign.motion(pose)
    assert math.degrees(geodesic(matrices(upright)[:, 1:], matrices(expected)[:, 1:]).max()) < 0.01
    assert (matrices(upright)[:, 0, 2, 1] > 0.9).all()  # the pelvis's up is the world's
    torch.testing.assert_close(upright.root[:, 2], expected.root[:, 2], rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_bones_are_recognised_by_name(family):
    clip = bvh.read(clips()[FAMILIES[family]].path)
    joints = replace(load().skeleton, names=clip.names, parents=clip.parents)
    found = rig_of(joints, "skeleton").takes
    for joint, taken in RIGS[family].takes.items():
        if "spine" not in joint:
            assert found[joint] == taken


def test_bones_that_are_not_recognised_are_named(tmp_path):
    folder = foreign_person.write(tmp_path / "person", b_l_forearm="strut", b_l_wrist="end_piece")
    with pytest.raises(DataError, match="left_elbow, left_wrist"):
        load(folder)


def test_a_table_beside_the_assets_says_what_names_do_not(tmp_path, motion, foreign):
    folder = foreign_person.write(tmp_path / "person", b_l_forearm="strut")
    (folder / TABLE).write_text(
        "left_elbow,strut,b_l_wrist\nleft_shoulder,b_l_arm,strut\nleft_wrist,b_l_wrist,\n"
    )
    person = load(folder)
    pose = foreign.pose(motion[:2])
    wrists = [NAMES["smplh"].index(f"{side}_elbow") for side in ("left", "right")]
    found, expected = (matrices(one.motion(pose))[:, wrists] for one in (person, foreign))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_poses_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"found \[5, 66\]; expected \[T, 104\]"):
        load().motion(torch.zeros(5, 66))


def test_poses_that_are_no_numbers_are_refused():
    pose = torch.zeros(5, 104)
    pose[3, 7] = math.nan
    with pytest.raises(DataError, match="frame 3"):
        load().motion(pose)


def test_a_person_without_assets_is_not_found(tmp_path):
    with pytest.raises(AssetError, match="not found"):
        load(tmp_path / "nobody")
    with pytest.raises(AssetError):
        load(tmp_path)


def test_lengths_are_decimetres():
    pelvis = load().motion(torch.zeros(1, 104)).root
    moved = load().motion(torch.eye(104)[:1]).root
    torch.testing.assert_close(moved - pelvis, torch.tensor([[1 / UNIT, 0.0, 0.0]]), rtol=0, atol=1e-6)
