"""Posed bodies of fits, star pose, and the files that bodies come from."""

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_video_avatar import prepare_smpl
from avatarctl_video_avatar.body_fit import canonical, load_body, posed, star_transforms, star_vertices
from avatarctl_video_avatar.prepared import Fit

from avatarctl.body import Bodies
from avatarctl.body.files import read_arrays
from avatarctl.body.service import OPEN_FILES
from avatarctl.cli.main import main
from avatarctl.errors import AssetError, DataError

sys.path.append(str(Path(__file__).resolve().parent))

import raw_miniature as mini


def fit(seed=0):
    draw = np.random.default_rng(seed)
    poses = np.concatenate([np.zeros(3), draw.normal(0, 0.3, 69)])
    return Fit(*(part.astype(np.float32) for part in (poses, np.ones(3), np.ones(3), draw.normal(size=10))))


def body():
    return load_body(Bodies(), "smpl", "neutral", mini.body_models())


@pytest.mark.parametrize("kind", ["smpl", "open"])
def test_posed_bodies_are_those_of_the_body_model_without_root_and_place(kind):
    model, fits = load_body(Bodies(), kind, "neutral", mini.body_models()), [fit(0), fit(1)]
    vertices, joints = posed(model, fits)
    assert vertices.dtype == joints.dtype == np.float64
    for row, one in enumerate(fits):
        still = model.shape(torch.from_numpy(one.betas)).pose(torch.from_numpy(one.poses).view(24, 3))
        np.testing.assert_allclose(vertices[row], still.vertices().numpy(), atol=2e-6)
        np.testing.assert_allclose(joints[row], still.joints.numpy(), atol=2e-6)


def test_without_a_pose_the_body_is_the_canonical_one():
    one = fit()
    still = Fit(np.zeros(72, np.float32), one.Rh, one.Th, one.betas)
    vertices, joints = posed(body(), [still])
    wanted = canonical(body(), one.betas)
    np.testing.assert_allclose(joints[0], wanted[0], atol=1e-12)
    np.testing.assert_allclose(vertices[0], wanted[1], atol=1e-12)


def test_star_pose_turns_each_leg_by_45_degrees_about_its_hip():
    joints, vertices = canonical(body(), np.zeros(10))
    transforms = star_transforms(joints)
    legs = {1: (1, 4, 7, 10), 2: (2, 5, 8, 11)}
    for hip, leg in legs.items():
        for joint in leg:
            moved = transforms[joint, :3, :3] @ joints[joint] + transforms[joint, :3, 3]
            before, after = joints[joint] - joints[hip], moved - joints[hip]
            assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
            if joint != hip:
                turn = np.degrees(np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0]))
                assert turn == pytest.approx(45 if hip == 1 else -45)
    others = [joint for joint in range(24) if joint not in (*legs[1], *legs[2])]
    np.testing.assert_array_equal(transforms[others], np.tile(np.eye(4), (len(others), 1, 1)))
    moved = star_vertices(body(), joints, vertices)
    head = vertices[:, 1] > joints[12, 1]
    np.testing.assert_allclose(moved[head], vertices[head], atol=1e-12)
    assert np.ptp(moved[:, 0][vertices[:, 1] < -0.9]) > np.ptp(vertices[:, 0][vertices[:, 1] < -0.9])


def test_more_shapes_than_ten_are_left_alone(tmp_path):
    arrays = read_arrays(mini.body_models() / "smpl" / "neutral" / "model.npz")
    wide = np.concatenate([arrays["shapedirs"], np.ones((6890, 3, 290), np.float32)], axis=2)
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **{**arrays, "shapedirs": wide})
    model = load_body(Bodies(), "smpl", "neutral", tmp_path)
    for ours, wanted in zip(posed(model, [fit()]), posed(body(), [fit()]), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """data/body_models/misc as the published code reads it."""
    folder = tmp_path_factory.mktemp("body_models")
    bodies = {
        sex: read_arrays(mini.body_models() / "smpl" / sex / "model.npz")
        for sex in ("neutral", "male", "female")
    }
    prepare_smpl.write(bodies, folder / "misc")
    return folder


def test_the_published_tables_hold_the_bodies_of_all_sexes(tables):
    for place, sex in ((tables, "neutral"), (tables / "misc", "female")):
        model = load_body(Bodies(), "smpl", sex, place)
        wanted = load_body(Bodies(), "smpl", sex, mini.body_models())
        assert (model.family, model.gender, model.parents) == ("smpl", sex, wanted.parents)
        for ours, theirs in zip(posed(model, [fit()]), posed(wanted, [fit()]), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_broken_table_is_told(tables, tmp_path):
    (tmp_path / "misc").mkdir()
    for path in (tables / "misc").iterdir():
        (tmp_path / "misc" / path.name).write_bytes(path.read_bytes())
    np.savez(tmp_path / "misc" / "posedirs_all.npz", neutral=np.zeros((6890, 3, 9)), male=np.zeros(3))
    with pytest.raises(DataError, match=r"misc: posedirs: found .* \[6890, 3, 9\]; expected .*207"):
        load_body(Bodies(), "smpl", "neutral", tmp_path)
    with pytest.raises(DataError, match=r"posedirs_all\.npz: female: missing; there are neutral, male"):
        load_body(Bodies(), "smpl", "female", tmp_path)


def test_another_models_file_is_named(tmp_path):
    packaged = resources.files("avatarctl") / "_data" / "body" / OPEN_FILES["smplx"]
    (tmp_path / "neutral").mkdir()
    (tmp_path / "neutral" / "model.npz").write_bytes(packaged.read_bytes())
    with pytest.raises(AssetError) as caught:
        load_body(Bodies(), "smpl", "neutral", tmp_path)
    assert "model.npz: a body of SMPLX" in caught.value.message
    assert "expected one of SMPL, 6890 vertices and 13776 faces" in caught.value.message
    assert "fetch SMPL, which is not SMPLX" in caught.value.hint


def test_a_missing_neutral_body_is_told_through_the_command_line(tmp_path, capsys):
    (tmp_path / "male").mkdir()
    source = mini.body_models() / "smpl" / "male" / "model.npz"
    (tmp_path / "male" / "model.npz").write_bytes(source.read_bytes())
    words = ["prepare", "zju-mocap", str(mini.recording("zju377")), "--into", str(tmp_path / "out")]
    assert main([*words, "--body-models", str(tmp_path), "--out", str(tmp_path / "run")]) != 0
    told = " ".join(capsys.readouterr().err.split())
    assert "no neutral body of SMPL, only male" in told
    assert "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl" in told
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(AssetError, match="was not found"):
        load_body(Bodies(), "smpl", "male", tmp_path)
