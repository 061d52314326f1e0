"""Formats of a motion: which there are, and that what is written is what other programs read."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avatarctl.api import Format
from avatarctl.body import open_body
from avatarctl.body.files import read
from avatarctl.builtin import export_motion
from avatarctl.errors import DataError, SettingsError
from avatarctl.export import bvh as bvh_export
from avatarctl.export import formats
from avatarctl.export.settings import ExportMotion
from avatarctl.geometry.rotations import geodesic, matrix_from_quaternion, quaternion_from_axis_angle
from avatarctl.motion import Motion, bvh
from avatarctl.motion.clips import clips
from avatarctl.render import Render
from avatarctl.runs.run import Run

OWN = ("glb", "bvh", "npz", "pkl", "blender", "mp4")


def matrices(motion):
    return matrix_from_quaternion(quaternion_from_axis_angle(motion.poses.double()))


def random_motion(skeleton, joints, up="z", fps=60.0, frames=20):
    """Wild local rotations of every joint, up to half a turn."""
    generator = torch.Generator().manual_seed(joints)
    poses = torch.randn(frames, joints, 3, generator=generator)
    root = torch.randn(frames, 3, generator=generator)
    return Motion(poses, root, fps, betas=torch.tensor([1.0, -2.0]), skeleton=skeleton, up=up)


@pytest.fixture(scope="module")
def clip():
    return clips()["walk_1"].motion()


def test_the_names_are_the_cores_and_the_plugins():
    mine = Format(kind="motion", name="xyz", suffixes=(".xyz",), write="a.b:c")
    other = Format(kind="mesh", name="off", suffixes=(".off",), write="a.b:c")
    assert formats.names() == OWN
    assert formats.names([mine, other]) == (*OWN, "xyz")
    assert formats.suffix("xyz", [mine]) == ".xyz"
    assert [formats.suffix(name) for name in OWN] == [".glb", ".bvh", ".npz", ".pkl", ".py", ".mp4"]


def test_a_plugins_format_is_written_by_its_own_function(clip, tmp_path, monkeypatch):
    (tmp_path / "their_counting.py").write_text(
        "def write(motion, body, path):\n"
        "    path.write_text(f'{len(motion)} frames, {body.num_joints} joints')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = Format(kind="motion", name="count", suffixes=(".txt",), write="their_counting:write")

    path = formats.write(clip, open_body(), "count", tmp_path / "a.txt", [mine])

    assert path.read_text() == f"{len(clip)} frames, 52 joints"


def test_an_unknown_format_is_refused_with_the_nearest(clip, tmp_path):
    with pytest.raises(
        SettingsError, match=r"'bhv' is no format; choose from glb, bvh, npz, pkl, blender, mp4"
    ) as failure:
        formats.write(clip, open_body(), "bhv", tmp_path / "a")
    assert failure.value.hint == "--to bvh"


@pytest.mark.parametrize("name", OWN)
def test_numbers_that_are_not_finite_are_not_written(clip, tmp_path, name):
    path = tmp_path / f"a.{name}"
    path.write_text("old")
    broken = clip.replace(root=clip.root.clone().index_fill(0, torch.tensor(3), torch.nan))
    with pytest.raises(DataError, match="trans: frame 3"):
        formats.write(broken, open_body(), name, path)
    assert path.read_text() == "old"


def test_smplx_poses_the_amass_archive_to_the_same_joints(clip, tmp_path):
    path = formats.write(clip, open_body(), "npz", tmp_path / "a.npz")
    with np.load(path) as archive:
        assert archive["mocap_framerate"] == archive["mocap_frame_rate"] == 60.0
        poses, trans = torch.from_numpy(archive["poses"]), torch.from_numpy(archive["trans"])
        betas = torch.from_numpy(archive["betas"])[:10].expand(len(poses), 10)
    out = open_body().to_smplx()(
        global_orient=poses[:, :3], body_pose=poses[:, 3:66], left_hand_pose=poses[:, 66:111],
        right_hand_pose=poses[:, 111:], betas=betas, transl=trans,
    )  # fmt: skip
    ours = open_body().shape(clip.betas).pose(clip.poses, clip.root).joints
    assert (out.joints[:, :52] - ours).abs().max() < 1e-5  # metres


def test_the_pickle_has_exactly_the_published_keys_under_names_that_old_numpy_knows(clip, tmp_path):
    path = formats.write(clip.to_up("y"), open_body(), "pkl", tmp_path / "a.pkl")
    content = pickle.loads(path.read_bytes())
    assert {name: (value.dtype.name, value.shape) for name, value in content.items()} == {
        "poses": ("float32", (len(clip), 66)),
        "trans": ("float32", (len(clip), 3)),
    }
    assert b"numpy._core" not in path.read_bytes()
    np.testing.assert_allclose(content["trans"], clip.root, atol=1e-5)
    back = Motion.read(path)
    assert geodesic(matrices(back), matrices(clip)).max() < 1e-5


@pytest.mark.parametrize("up", ["z", "y"])
@pytest.mark.parametrize(("skeleton", "joints"), [("smpl", 24), ("smplh", 52), ("smplh", 22), ("smplx", 55)])
@pytest.mark.parametrize("fps", [60.0, 29.97])
def test_bvh_reads_back_as_the_same_motion(make, tmp_path, skeleton, joints, up, fps):
    body = read(make.write_body(tmp_path, "smpl")) if skeleton == "smpl" else open_body(skeleton)
    motion = random_motion(skeleton, joints, up, fps)

    back = Motion.read(formats.write(motion, body, "bvh", tmp_path / "a.bvh"))

    expected = motion.to_up("z", body.shape(motion.betas).joints[0])
    assert (back.skeleton, back.up) == (skeleton, "z")
    assert back.fps == pytest.approx(fps, rel=1e-9)
    assert geodesic(matrices(back)[:, :joints], matrices(expected)).max() < 1e-4  # radians
    assert (back.poses[:, joints:] == 0).all()
    assert (back.root - expected.root).abs().max() < 1e-4  # metres


def test_bvh_places_are_the_posed_joints_in_metres_with_y_up(clip, tmp_path):
    body = open_body()
    shaped = clip.replace(betas=torch.tensor([2.0, 1.0]))
    source = bvh.read(formats.write(shaped, body, "bvh", tmp_path / "a.bvh"))
    places = source.world()[1]
    joints = body.shape(shaped.betas).pose(shaped.poses, shaped.root).joints.double()
    for joint, name in enumerate(("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee")):
        found = places[:, source.names.index(name)]
        turned = torch.stack([found[:, 0], -found[:, 2], found[:, 1]], dim=-1)  # to z up
        assert (turned - joints[:, joint]).norm(dim=-1).max() < 1e-4
    ends = [index for index, name in enumerate(source.names) if name.endswith("_end")]
    assert (
        np.linalg.norm(source.offsets[ends], axis=1) > 1e-3
    ).all()  # Blender warns of bones without length


def test_a_bvh_in_centimetres_reads_as_metres(clip, tmp_path):
    path = formats.write(clip, open_body(), "bvh", tmp_path / "a.bvh")

    def hundredfold(match):
        return match[1] + " ".join(str(100 * float(word)) for word in match[2].split())

    head, _, body = path.read_text().partition("Frame Time:")
    rows = [line.split() for line in body.splitlines()]
    rows[1:] = [[*(str(100 * float(word)) for word in row[:3]), *row[3:]] for row in rows[1:]]
    head = re.sub(r"(OFFSET )([^\n]*)", hundredfold, head)
    path.write_text(head + "Frame Time: " + "\n".join(" ".join(row) for row in rows))

    assert (Motion.read(path).root - clip.root).abs().max() < 1e-4


def test_bvh_angles_turn_on_where_others_jump(tmp_path):
    turns = torch.zeros(80, 22, 3)
    turns[:, 18, 0] = torch.linspace(
        0, 4 * torch.pi, 80
    )  # two whole turns about x, through the pole at each quarter
    motion = Motion(turns, torch.zeros(80, 3), 30.0, up="y")
    source = bvh.read(bvh_export.write(motion, open_body(), tmp_path / "a.bvh"))
    steps = np.abs(np.diff(source.values[:, 3:], axis=0))
    assert steps.max() < 720 / 79 + 0.01  # degrees: no angle changes faster than the joint turns


def test_mp4_is_a_film_of_the_whole_motion(clip, tmp_path):
    path = formats.write(clip[:20], open_body(), "mp4", tmp_path / "a.mp4", render=Render(backend="torch"))
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        seconds = frames / container.streams.video[0].average_rate
    assert float(seconds) == pytest.approx(20 / clip.fps, abs=1 / 30)


def test_export_motion_writes_every_format_and_records_it(clip, tmp_path):
    source = clip.write(tmp_path / "walk one.npz")
    settings = ExportMotion(motion=source, to=[*OWN[:5], "glb"], family="smplx")
    run = Run.standalone(tmp_path / "run")

    export_motion(settings, run)

    outputs = {item["kind"]: item["path"] for item in run.manifest.outputs}
    assert outputs == {name: f"walk one{formats.suffix(name)}" for name in OWN[:5]}
    assert run.metrics["frames"] == len(clip)
    assert run.metrics["joints"] == 55
    assert [item["path"] for item in run.manifest.inputs] == [str(source)]


def test_export_motion_takes_embedded_clips_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.standalone(tmp_path / "run")
    export_motion(ExportMotion(motion="walk_2", to=["npz"]), run)
    assert [item["path"] for item in run.manifest.outputs] == ["walk_2.npz"]
    assert len(Motion.read(tmp_path / "run" / "walk_2.npz")) == len(clips()["walk_2"].motion())
    with pytest.raises(DataError, match=r"did you mean walk_2\?"):
        export_motion(ExportMotion(motion="wolk_2", to=["npz"]), run)


def test_exports_are_called_like_the_motion():
    assert [formats.stem(Path(name)) for name in ("a/walk.npz", "walk.bvh.gz", "v1.2.pkl")] == [
        "walk",
        "walk",
        "v1.2",
    ]
