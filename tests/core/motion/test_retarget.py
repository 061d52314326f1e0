"""Retargeting: bones point where the source's point, feet stand on the floor, and a user's table is heard."""

from __future__ import annotations

import gzip
import re

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.errors import DataError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_quaternion, quaternion_from_axis_angle
from avatarctl.motion import Motion, bvh
from avatarctl.motion.clips import clips
from avatarctl.motion.rigs import RIGS, TABLE, find_rig, leg_length, reference_is_first

FAMILIES = {
    "cmu-daz": "salsa_01_a",
    "cmu-motionbuilder": "walk_1",
    "cmu-max": "style_131_02",
    "fair": "wave_hello",
}


def kinematics(motion):
    """Joint places of the 22 body joints by exact rotations in float64 [T, 22, 3]."""
    local = matrix_from_quaternion(quaternion_from_axis_angle(motion.body_poses().double()))
    rest = open_body().rest_joints[: len(BODY)].double()
    return forward_kinematics(local, rest, BODY_PARENTS, motion.root.double())[1]


def angle_deg(first, second):
    cross = torch.linalg.cross(first, second, dim=-1).norm(dim=-1)
    return torch.rad2deg(torch.atan2(cross, (first * second).sum(-1)))


@pytest.fixture(scope="module", params=FAMILIES)
def case(request):
    """One clip of each family: its file, its rig, and the motion made of it."""
    clip = clips()[FAMILIES[request.param]]
    source = bvh.read(clip.path)
    rig = find_rig(clip.path, source)
    assert rig.name == request.param
    return clip, source, rig, clip.motion()


def test_limb_bones_point_where_the_sources_point(case):
    clip, source, rig, motion = case
    places = source.world()[1][1 if clip.reference_is_first else 0 :]
    if not rig.is_z_up:
        places = torch.stack([places[..., 0], -places[..., 2], places[..., 1]], dim=-1)  # to z up
    ours = kinematics(motion)
    for kind in ("hip", "knee", "shoulder", "elbow"):
        for side in ("left", "right"):
            joint = BODY.index(f"{side}_{kind}")
            bone = ours[:, BODY_PARENTS.index(joint)] - ours[:, joint]
            start, end = rig.takes[f"{side}_{kind}"][0], rig.bones[f"{side}_{kind}"]
            theirs = places[:, source.names.index(end)] - places[:, source.names.index(start)]
            assert angle_deg(bone, theirs).max() < 0.01


def test_smplx_poses_the_same_skeleton(case):
    motion = case[3]
    out = open_body().to_smplx()(
        global_orient=motion.poses[:, 0],
        body_pose=motion.poses[:, 1:].flatten(1),
        left_hand_pose=torch.zeros(len(motion), 45),
        right_hand_pose=torch.zeros(len(motion), 45),
        betas=torch.zeros(len(motion), 10),
    )
    theirs = out.joints[:, : len(BODY)].double() + motion.root.double()[:, None]
    assert (theirs - kinematics(motion)).abs().max() < 1e-6  # metres


def test_feet_touch_the_floor_and_the_head_is_up(case):
    motion = case[3]
    some = motion[:: max(len(motion) // 12, 1)]
    posed = open_body().shape().pose(some.poses, some.root)
    lowest = posed.vertices()[..., 2].min()
    assert -0.035 < lowest < 0.035  # metres
    assert posed.joints[:, BODY.index("head"), 2].median() > 1.3


def test_standing_feet_slide_no_more_than_the_sources(case):
    clip, source, rig, motion = case
    places = source.world()[1][1 if clip.reference_is_first else 0 :]
    hip, knee, ankle = (source.names.index(rig.takes[f"left_{kind}"][0]) for kind in ("hip", "knee", "ankle"))
    rest = open_body().rest_joints
    scale = leg_length(rest, 1, 4, 7) / leg_length(source.rest(), hip, knee, ankle)
    theirs = scale * places[:, ankle].diff(dim=0).norm(dim=-1) * motion.fps
    ours = kinematics(motion)[:, BODY.index("left_ankle")].diff(dim=0).norm(dim=-1) * motion.fps
    stands = theirs < 0.15  # metres a second
    assert stands.any()
    assert ours[stands].mean() < theirs[stands].mean() + 0.02


@pytest.mark.parametrize(
    "name",
    [
        *FAMILIES.values(),
        "walk_x33",
        "jump_2a",
        "playground_01_01_a",
        "soccer_10_01",
        "jumping",
        "dab",
        "jumping_jacks",
    ],
)
def test_the_reference_found_by_content_is_the_one_listed(name):
    clip = clips()[name]
    assert torch.equal(Motion.read(clip.path).poses, clip.motion().poses)


def renamed(tmp_path, name, suffix="_x"):
    """A copy of a clip whose joints have names of no known family."""
    text = bvh._text(clips()[name].path)
    text = re.sub(r"(ROOT|JOINT)\s+(\w+)", rf"\1 \2{suffix}", text)
    path = tmp_path / f"{name}.bvh.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def table(rig, suffix="_x"):
    def ours(name):
        return f"{name.removesuffix('_end')}{suffix}_end" if name.endswith("_end") else f"{name}{suffix}"

    ends = {joint: ours(end) for joint, end in rig.bones.items()}
    return [
        f"{joint},{'+'.join(map(ours, taken))},{ends.get(joint, '')}" for joint, taken in rig.takes.items()
    ]


def test_an_unknown_skeleton_asks_for_a_table_and_takes_it(tmp_path):
    path = renamed(tmp_path, "salsa_01_a")
    with pytest.raises(DataError, match="unknown skeleton") as failure:
        Motion.read(path)
    assert TABLE in failure.value.hint

    (tmp_path / TABLE).write_text("smpl,source,bone\n# mine\n" + "\n".join(table(RIGS["cmu-daz"])))

    assert torch.equal(Motion.read(path).poses, clips()["salsa_01_a"].motion().poses)


def test_a_table_overrides_the_reference_and_single_joints_of_a_known_family(tmp_path):
    path = tmp_path / "walk_1.bvh.gz"
    path.write_bytes(clips()["walk_1"].path.read_bytes())
    source = bvh.read(path)
    (tmp_path / TABLE).write_text("reference,zero_rotation\nneck,Neck1\n")

    rig = find_rig(path, source)

    assert rig.takes["neck"] == ("Neck1",)
    assert rig.takes["head"] == RIGS["cmu-motionbuilder"].takes["head"]
    assert not reference_is_first(source, rig)
    assert len(Motion.read(path)) == len(source)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nose,Head", "'nose'"),
        ("neck,Throat", "no joint 'Throat'"),
        ("up,x", "up 'x'"),
        ("reference,last", "'last'"),
    ],
)
def test_a_wrong_table_is_refused_with_its_words(tmp_path, line, words):
    path = tmp_path / "walk_1.bvh.gz"
    path.write_bytes(clips()["walk_1"].path.read_bytes())
    (tmp_path / TABLE).write_text(line)
    with pytest.raises(DataError, match=words) as failure:
        Motion.read(path)
    assert TABLE in failure.value.message


def test_a_skeleton_without_leg_bones_is_refused(tmp_path):
    text = bvh._text(clips()["salsa_01_a"].path)
    for joint in ("lShin", "lFoot"):
        text = re.sub(rf"(JOINT {joint}\s*{{\s*OFFSET)[^\n]*", r"\1 0 0 0", text)
    path = tmp_path / "flat.bvh"
    path.write_text(text)
    with pytest.raises(DataError, match="the legs have no length"):
        Motion.read(path)
