"""`prepare` for raw data sets of people, and SMPL's tables."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from avatarctl_video_avatar import prepare, prepare_smpl
from avatarctl_video_avatar import settings_prepare as settings
from avatarctl_video_avatar.prepared import Prepared
from PIL import Image

from avatarctl.cli.main import main
from avatarctl.errors import AvatarError, DataError
from avatarctl.runs import Run

sys.path.append(str(Path(__file__).resolve().parent))

import raw_miniature as mini

ALL = {
    "zju377": settings.PrepareZju,
    "h36m": settings.PrepareH36m,
    "monocap": settings.PrepareMonocap,
    "people_snapshot": settings.PreparePeopleSnapshot,
    "selfrecon": settings.PrepareSelfrecon,
    "synthetic_human": settings.PrepareSyntheticHuman,
}


def run(name, place, root=None, **words):
    """Run the target; the prepared folder, and the run."""
    words = {"raw": root or mini.recording(name), "body_models": mini.body_models(), "processes": 1, **words}
    work = Run.standalone(place / "run")
    prepare.run(ALL[name](into=place / "out", **words), work)
    return place / "out", work


@pytest.mark.parametrize("name", ["people_snapshot", "selfrecon"])
def test_a_recording_is_prepared(name, tmp_path):
    out, work = run(name, tmp_path, end=2, volume_size=16)
    prepared = Prepared(out)
    assert prepared.views == ["0"]
    assert prepared.frames("0") == list(prepared.bodies) == ["frame_000000", "frame_000001"]
    assert prepared.volume.grid.shape == (16, 16, 16)
    assert set(np.unique(prepared.mask("0", "frame_000001"))) == {0, 255}
    assert prepared.image("0", "frame_000001").shape == (64, 64, 3)
    assert len(list(out.glob("normals/*.png"))) == 2 * (name == "selfrecon")
    assert json.loads((work.folder / "metrics.json").read_text())["volume_size"] == 16


def test_check_opens_everything_and_prepares_nothing(tmp_path):
    for name in ALL:
        out, work = run(name, tmp_path / name, check=True)
        found = json.loads((work.folder / "metrics.json").read_text())
        assert found["pictures"] == found["frames"] * found["cameras"]
        assert not out.exists()


def test_check_tells_all_that_is_broken(tmp_path):
    root = mini.copy("zju377", tmp_path)
    (root / "Camera_B1" / "000001.jpg").write_bytes(b"junk")
    Image.new("L", (8, 8), 1).save(root / "mask" / "Camera_B2" / "000000.png")
    (tmp_path / "no bodies").mkdir()
    with pytest.raises(DataError) as caught:
        run("zju377", tmp_path, root, check=True, body_models=tmp_path / "no bodies")
    for words in ("000001.jpg: not a readable picture", "8 x 8 pixels; its picture", "neutral"):
        assert words in caught.value.message


def test_a_published_size_of_the_cube_belongs_to_a_subject(tmp_path, monkeypatch):
    asked = {}

    def prepared(recording, out, body_of, kind, *, volume_size, run, processes):
        asked[recording.name] = volume_size
        out.mkdir(parents=True, exist_ok=True)
        (out / "mesh_infos.pkl").write_bytes(b"x")

    monkeypatch.setattr(prepare.preparing, "prepare", prepared)
    for subject in ("377", "386", "387", "313"):
        run("zju377", tmp_path / subject, subject=subject)
    assert asked == {"CoreView_377": 256, "CoreView_386": 512, "CoreView_387": 512, "CoreView_313": 256}


def test_words_of_the_command_line_reach_the_reader(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "zju-mocap", str(mini.recording("zju377")), "--views", "30"]) == 5
    told = " ".join(capsys.readouterr().err.split())
    assert "no camera '30'; there are 0, 1, 2" in told
    assert main(["prepare", "h36m", str(tmp_path)]) == 5
    assert "no annots.npy in it" in " ".join(capsys.readouterr().err.split())


def mixed_bodies(make, folder, shapes):
    """The male file as the oldest ones are, with so many shapes, the others as .npz; their arrays."""
    shutil.copytree(mini.body_models(), folder)
    found = {}
    for sex in prepare_smpl.SEXES:
        found[sex] = {**mini.arrays(sex), "J_regressor": mini.arrays(sex)["J_regressor"].toarray()}
    male, path = found["male"], folder / "smpl" / "male"
    more = np.ones((6890, 3, shapes - 10))
    male["shapedirs"] = np.concatenate([male["shapedirs"], more], axis=2)
    (path / "model.npz").unlink()
    (path / "model.pkl").write_bytes(make._with_chumpy(male))
    return found


def test_smpls_tables_come_from_chumpy_pickles_with_more_shapes(make, tmp_path):
    bodies = mixed_bodies(make, tmp_path / "bodies", 12)
    words = settings.PrepareSmplParams(body_models=tmp_path / "bodies", into=tmp_path / "misc")
    prepare_smpl.run(words, Run.standalone(tmp_path / "run"))
    tables = {path.stem: dict(np.load(path)) for path in (tmp_path / "misc").glob("*.npz")}
    assert set(tables) == {
        "faces", "J_regressors", "posedirs_all", "shapedirs_all", "skinning_weights_all", "v_templates",
        "kintree_table",
    }  # fmt: skip
    for sex, body in bodies.items():
        np.testing.assert_array_equal(tables["v_templates"][sex], body["v_template"])
        np.testing.assert_array_equal(tables["J_regressors"][sex], body["J_regressor"])
        np.testing.assert_array_equal(tables["posedirs_all"][sex], body["posedirs"])
        np.testing.assert_array_equal(tables["skinning_weights_all"][sex], body["weights"])
        np.testing.assert_array_equal(tables["shapedirs_all"][sex], body["shapedirs"][..., :10])
    faces, tree = tables["faces"]["faces"], tables["kintree_table"]["arr_0"]
    assert (faces.dtype, tree.dtype, tree[0, 0]) == (np.int64, np.int32, -1)
    np.testing.assert_array_equal(faces, bodies["male"]["f"])


def test_a_missing_sex_is_told(tmp_path):
    (tmp_path / "bodies").mkdir()
    words = settings.PrepareSmplParams(body_models=tmp_path / "bodies", into=tmp_path / "misc")
    with pytest.raises(AvatarError, match="male"):
        prepare_smpl.run(words, Run.standalone(tmp_path / "run"))
    assert not (tmp_path / "misc").exists()
