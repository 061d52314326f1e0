"""`prepare egobody`: the published files, going on after a stop, and what is wrong with data."""

from __future__ import annotations

import json
import math
import pickle
import pickletools
import shutil

import numpy as np
import published_crops
import pytest
import torch
from avatarctl_ego_hmr import prepare as preparing
from avatarctl_ego_hmr.crops import Cube
from avatarctl_ego_hmr.egobody.annotations import FOLDERS
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import FLIP
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.settings_prepare import PrepareEgobody
from egobody_mini import RECORDINGS, arrays_of, bodies, egobody, spoil, zipped

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.cli.main import main
from avatarctl.device.noise import Noise
from avatarctl.runs.run import Run

TEST = RECORDINGS["test"]
PICKLE = "transf_matrices_all_seqs.pkl"
SCENE = "scene_mesh/demo_room/demo_room.obj"
GT = "Egohmr_scene_preprocess_cube_s2_from_gt"
PRED = "Egohmr_scene_preprocess_cube_s2_from_pred"
FRONT = "Egohmr_scene_preprocess_s1"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A copy of the miniature EgoBody, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    return egobody(tmp_path / "egobody")


def prepared(*words, code=0, points=100):
    assert (
        main(["prepare", "egobody", "egobody", "--points", str(points), "--quiet", *map(str, words)]) == code
    )


def cubes(root, folder, split):
    return {path.stem: np.load(path) for path in sorted((root / folder / split).rglob("*.npy"))}


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_points_in_front_are_in_the_published_files(root):
    prepared("--split", "test", points=400)
    clouds, mapping = (
        pickle.loads((root / FRONT / name).read_bytes())
        for name in ("pcd_verts_dict_test.pkl", "map_dict_test.pkl")
    )
    data = EgoBody(root)
    frames, transforms = data.annotations("test"), data.transforms()
    names = [frames.key(index) for index in range(6)]
    assert mapping == dict.fromkeys(names, names[0])
    assert list(clouds) == names[:1]
    wanted = published_crops.front(
        data.scene("demo_room").vertices,
        transforms.kinect_from_scene(TEST),
        transforms.holo_from_kinect(TEST).astype(np.float64),
        transforms.pv_from_holo(TEST, frames.timestamp(0)).astype(np.float64),
        FLIP,
        400,
    )
    assert clouds[names[0]].dtype == np.float64
    np.testing.assert_allclose(clouds[names[0]], wanted, rtol=0, atol=1e-12)  # through transforms and back
    np.testing.assert_array_equal(data.front_points("test")(names[4]), clouds[names[0]])


def test_pickles_are_of_protocol_2_with_names_that_old_numpy_knows(root):
    prepared("--split", "val")
    raw = (root / FRONT / "pcd_verts_dict_val.pkl").read_bytes()
    words = [(code.name, argument) for code, argument, _ in pickletools.genops(raw)]
    assert ("PROTO", 2) in words
    assert "numpy.core.multiarray _reconstruct" in [argument for name, argument in words if name == "GLOBAL"]
    assert max(code.proto for code, _, _ in pickletools.genops(raw)) <= 2


def test_cubes_are_the_published_crops_of_each_frames_own_draws(root):
    prepared("--step", "cube-gt", "--body-models", bodies(), "--seed", 3)
    data = EgoBody(root)
    vertices, frames = data.scene("demo_room").vertices, data.annotations("train")
    found = cubes(root, GT, "train")
    assert len(found) == 6
    turns = set()
    work = _work(root, step="cube-gt", body_models=bodies())
    body = work.bodies(range(6))
    for index, points in enumerate(found.values()):
        assert points.shape == (100, 3)
        assert points.dtype == np.float64
        noise = Noise.seeded(3, f"cube/{frames.key(index)}")
        cube = work.cube(index, noise, body[index])
        wanted = published_crops.cube(vertices, cube.middle, cube.angle, cube.shift, 2.0, 100)
        np.testing.assert_allclose(points, wanted, rtol=0, atol=1e-14)  # turned forth and back
        turns.add(cube.angle)
    assert len(turns) == 6


def _work(root, **words):
    settings = PrepareEgobody(data=root, points=100, **words)
    return preparing.Work(settings, Run.standalone(root.parent / "standalone"))


def results(path, count=6, transl=None):
    places = np.tile(np.float32([0.1, 0.3, 2.3]), (count, 1)) if transl is None else transl
    write_pickle(path, {"pred_cam_full_list": places})
    return path


def test_cubes_around_predicted_places(root):
    results(root.parent / "results.pkl")
    prepared("--step", "cube-predicted", "--split", "test", "--translations", "results.pkl")
    data = EgoBody(root)
    frames = data.annotations("test")
    place = np.linalg.inv(data.transforms().camera_from_scene(TEST, frames.timestamp(2))) @ [
        *np.float32([0.1, 0.3, 2.3]), 1,
    ]  # fmt: skip
    angle = 2 * math.pi * float(Noise.seeded(0, f"cube/{frames.key(2)}").uniform((), torch.float64))
    wanted = published_crops.cube(data.scene("demo_room").vertices, place[:3], angle, (0, 0), 2.0, 100)
    np.testing.assert_allclose(list(cubes(root, PRED, "test").values())[2], wanted, rtol=0, atol=1e-14)


def test_results_are_found_where_the_published_scripts_put_them(root):
    for name in ("output_results_release/output_53618", "output_results/output_prohmr_scene_53618"):
        (root.parent / name).mkdir(parents=True)
        results(root.parent / name / "results.pkl")
        prepared("--step", "cube-predicted", "--split", "val", "--replace")
        shutil.rmtree(root.parent / name)
    assert main(["prepare", "egobody", "egobody", "--step", "cube-predicted"]) == 5


def test_the_open_body_stands_for_recordings_that_show_it(root):
    (root / "synthetic.json").write_text('{"body": "open"}')
    prepared("--step", "cube-gt", "--split", "val")
    assert len(cubes(root, GT, "val")) == 6


def test_zips_give_the_same_points(root):
    prepared("--step", "cube-gt", "--body-models", bodies(), "--into", "plain")
    zipped(root, [path.name for path in root.iterdir()])
    prepared("--step", "cube-gt", "--body-models", bodies(), "--into", "zips")
    assert content(root.parent / "plain") == content(root.parent / "zips")


@pytest.mark.parametrize("step", ["front", "cube-gt", "cube-predicted"])
def test_a_preparation_that_was_killed_goes_on_and_gives_the_same_bytes(root, monkeypatch, capsys, step):
    results(root.parent / "results.pkl")
    monkeypatch.setattr(preparing, "RENEWED", 2)
    monkeypatch.setattr(preparing, "BLOCK", 4)
    words = ["--step", step, "--body-models", bodies(), "--split", "val", "--translations", "results.pkl"]
    prepared(*words, "--into", "whole")
    save, done = preparing._save, []

    def killed(path, points):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(path)
        save(path, points)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_save", killed)
        prepared(*words, "--into", "halves", code=130)
    assert "avatarctl prepare egobody --resume " in capsys.readouterr().err
    assert content(root.parent / "halves") != content(root.parent / "whole")
    counted = []
    monkeypatch.setattr(preparing, "_save", lambda path, points: (counted.append(path), save(path, points)))
    assert main(["prepare", "egobody", "--resume", "last", "--quiet"]) == 0
    assert content(root.parent / "halves") == content(root.parent / "whole")
    assert len(counted) == (1 if step == "front" else 4)
    if step != "front":
        next((root.parent / "halves").rglob("*.npy")).write_bytes(b"\x93NUMPY")  # as after a power cut
        prepared(*words, "--into", "halves")
        assert content(root.parent / "halves") == content(root.parent / "whole")
    counted.clear()
    prepared(*words, "--into", "halves")
    assert counted == [], "all is there"


def test_points_made_in_another_way_are_not_mixed(root, capsys):
    words = ["--step", "cube-gt", "--body-models", bodies()]
    prepared(*words)
    before = content(root / GT)
    prepared(*words, "--seed", 1, code=5)
    assert f"egobody/{GT}/train: was made in another way (seed differ)" in capsys.readouterr().err
    assert content(root / GT) == before
    prepared(*words, "--seed", 1, "--replace")
    assert content(root / GT).keys() == before.keys()
    assert content(root / GT) != before


def two_recordings_in_one_scene(root):
    """Frames 4 and 5 of the test split belong to another recording, whose Kinect stands elsewhere."""
    other = "recording_20210930_S07_S08_01"
    names = [
        name if index < 4 else name.replace(TEST, other)
        for index, name in enumerate(arrays_of(root, "test")["imgname"])
    ]
    spoil(root, "test", imgname=np.array(names))
    shutil.copytree(root / "calibrations" / TEST, root / "calibrations" / other)
    with (root / "data_info_release.csv").open("a") as file:
        file.write(f"{other},0 male,1 female,1 female,0,9,demo_room\n")
    with (root / PICKLE).open("rb") as file:
        transforms = pickle.load(file)
    (root / PICKLE).write_bytes(pickle.dumps(transforms | {other: transforms[TEST]}, 2))
    return names


def test_a_new_recording_keeps_the_old_points_unless_told_otherwise(root, capsys):
    names = two_recordings_in_one_scene(root)
    assert main(["prepare", "egobody", "egobody", "--split", "test", "--points", "100"]) == 0
    assert "2 frames have the points of the recording before, as published" in capsys.readouterr().err
    assert set(load_pickle(root / FRONT / "map_dict_test.pkl").values()) == {names[0]}
    prepared("--split", "test", "--renew", "recording", "--replace")
    mapping = load_pickle(root / FRONT / "map_dict_test.pkl")
    assert [mapping[name] for name in names] == [names[0]] * 4 + [names[4]] * 2


def test_too_few_points_are_repeated_and_told(root, capsys):
    assert main(["prepare", "egobody", "egobody", "--points", "20000", "--split", "val"]) == 0
    assert "1 of 6 frames: fewer than 20000 points there, so some are repeated" in capsys.readouterr().err
    points = next(iter(load_pickle(root / FRONT / "pcd_verts_dict_val.pkl").values()))
    assert points.shape == (20000, 3)


def test_training_cubes_bring_the_statistics_of_poses(root):
    prepared("--step", "cube-gt", "--body-models", bodies(), "-o", "run")
    with np.load(root.parent / "run" / "preprocess_stats.npz") as found:
        assert {name: found[name].shape for name in found.files} == {"Xmean": (144,), "Xstd": (144,)}


def no_transforms(root):
    with (root / PICKLE).open("rb") as file:
        found = pickle.load(file)
    del found[TEST]
    (root / PICKLE).write_bytes(pickle.dumps(found, 2))


def far_room(root):
    (root / SCENE).write_text("v -90 0 -90\nv -91 0 -90\nv -90 0 -91\nf 1 2 3\n")


def move_room(root, matrix):
    lines = (root / SCENE).read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("v "):
            words = line.split()
            moved = matrix @ np.array(words[1:4], float)
            lines[number] = " ".join(["v", *map(str, moved), *words[4:]])
    (root / SCENE).write_text("\n".join(lines))


def millimetres(root):
    move_room(root, 1000 * np.eye(3))


def z_up(root):
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    move_room(root, turn)
    path = root / "calibrations" / TEST / "cal_trans" / "kinect12_to_world" / "demo_room.json"
    matrix = np.array(json.loads(path.read_text())["trans"])
    matrix[:3] = turn @ matrix[:3]
    path.write_text(json.dumps({"trans": matrix.tolist()}))


def with_nan(name):
    def spoiler(root):
        array = arrays_of(root, "test")[name]
        array[2] = np.nan
        spoil(root, "test", **{name: array})

    return spoiler


WRONG = [
    (lambda root: shutil.rmtree(root / "scene_mesh"), "demo_room.obj: not found", "scene_mesh.zip of"),
    (lambda root: (root / SCENE).write_text("# empty\n"), "demo_room.obj: no faces", "export it again"),
    (lambda root: (root / SCENE).write_text("v 0 0 0\n"), "no faces, or no vertices", "export it again"),
    (millimetres, "across; expected a room in metres", "write the scan in metres"),
    (z_up, "egobody: the cameras' way up in the scans is (0.02, -0.01, 1.00); expected y", "y points up"),
    (lambda root: shutil.rmtree(root / "calibrations" / TEST), "room.json: not found", "calibrations.zip"),
    (no_transforms, f"{TEST}: no transforms: egobody/{PICKLE} has none of it", f"download {PICKLE} again"),
    (lambda root: (root / "data_info_release.csv").write_text("a,b\n"), f"no scene for {TEST}", "download"),
    (lambda root: spoil(root, "test", pose=None, betas=None), "pose: missing", "as published"),
    (
        lambda root: spoil(root, "test", scale=np.ones(5)),
        "scale: 5 rows; imgname has 6",
        "as published",
    ),
    (
        lambda root: spoil(root, "test", pose=np.ones((6, 72))),
        "pose: found float64 [6, 72]; expected numbers [6, 69]",
        "as published",
    ),
    (with_nan("global_orient_pv"), "global_orient_pv: row 2 (egocentric_color/", "as published"),
    (with_nan("pose"), "numbers that are not finite", "as published"),
    (
        lambda root: spoil(root, "test", gender=np.array(["m", "f", "x", "m", "f", "m"])),
        "found 'x'; expected m or f",
        "as published",
    ),
    (lambda root: shutil.rmtree(root / FOLDERS[0]), "test_smpl.npz: not found", f"{FOLDERS[0]}.zip"),
]  # fmt: skip


@pytest.mark.parametrize(("spoiler", "complaint", "remedy"), WRONG)
def test_what_is_wrong_with_the_data_is_told_before_work_begins(root, capsys, spoiler, complaint, remedy):
    spoiler(root)
    prepared("--split", "test", code=5)
    told = " ".join(capsys.readouterr().err.split())
    assert complaint in told
    assert remedy in told
    assert not list((root.parent).rglob("*.npy"))


@pytest.mark.parametrize("step", ["front", "cube-gt"])
def test_frames_without_points_are_named_and_the_others_prepared(root, capsys, step):
    far_room(root)
    prepared("--split", "test", "--step", step, "--body-models", bodies(), code=5)
    told = capsys.readouterr().err
    name = arrays_of(root, "test")["imgname"][0]
    where = "in front of the camera" if step == "front" else "around the body"
    assert f"{name}: no points of scene demo_room {where}" in " ".join(told.split())
    assert "--skip-bad" in told
    prepared("--split", "test", "--step", step, "--body-models", bodies(), "--skip-bad")


def test_a_frame_without_a_transform_is_left_out(root, capsys):
    with (root / PICKLE).open("rb") as file:
        found = pickle.load(file)
    lost = EgoBody(root).annotations("test").timestamp(0)
    del found[TEST]["trans_world2pv"][lost]
    (root / PICKLE).write_bytes(pickle.dumps(found, 2))
    for _ in range(2):  # the second time too
        prepared("--split", "test", code=5)
        assert f"no transform for {lost} of {TEST}" in " ".join(capsys.readouterr().err.split())
    mapping = load_pickle(root / FRONT / "map_dict_test.pkl")
    names = list(arrays_of(root, "test")["imgname"])
    assert mapping == dict.fromkeys(names[1:], names[1])


def test_a_missing_body_is_told_with_where_it_comes_from(root, capsys):
    prepared("--step", "cube-gt", code=4)
    told = " ".join(capsys.readouterr().err.split())
    assert "body model 'smpl' for gender 'neutral' was not found" in told
    assert "avatarctl assets" in told
    folder = shutil.copytree(bodies(), root.parent / "bodies")
    (folder / "SMPL_FEMALE.npz").unlink()
    prepared("--step", "cube-gt", "--body-models", folder, code=4)
    assert "body model 'smpl' for gender 'female' was not found" in " ".join(capsys.readouterr().err.split())


def test_translations_of_another_split_are_refused(root, capsys):
    words = ["--step", "cube-predicted", "--split", "test", "--translations"]
    prepared(*words, results(root.parent / "results.pkl", 5), code=5)
    told = " ".join(capsys.readouterr().err.split())
    assert "pred_cam_full_list: 5 rows; the split has 6 frames" in told
    prepared(*words, results(root.parent / "results.pkl", transl=np.full((6, 3), np.nan)), code=5)
    assert "numbers that are not finite" in " ".join(capsys.readouterr().err.split())
    prepared(*words, "nowhere.pkl", code=5)
    assert "nowhere.pkl: not found" in " ".join(capsys.readouterr().err.split())


def test_the_note_beside_the_points_says_how_they_were_made(root):
    prepared("--step", "cube-gt", "--body-models", bodies(), "--cube-size", "1.5")
    note = json.loads((root / GT / "prepared_train.json").read_text())
    assert {name: note[name] for name in ("step", "points", "cube_size", "seed", "body")} == {
        "step": "cube-gt", "points": 100, "cube_size": 1.5, "seed": 0, "body": "smpl",
    }  # fmt: skip
    work = _work(root, step="cube-gt", body_models=bodies())
    assert isinstance(work.cube(0, Noise.seeded(0, "x"), work.bodies(range(6))[0]), Cube)


def test_a_full_disk_stops_at_once(root, monkeypatch, capsys):
    calls = []

    def full(path, points):
        calls.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    prepared("--step", "cube-gt", "--body-models", bodies(), code=5)
    assert len(calls) == 1
    assert "the disk is full" in " ".join(capsys.readouterr().err.split())
