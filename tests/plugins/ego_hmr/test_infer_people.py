"""The infer target on pictures of one's own and on recordings."""

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import small_networks
import torch
import trimesh
from avatarctl_ego_hmr import detect
from avatarctl_ego_hmr.recovered import read_recovered, read_results
from egobody_mini import arrays_of, egobody, spoil
from PIL import Image

from avatarctl.checkpoints import native
from avatarctl.cli.main import main
from avatarctl.motion import Motion

OFFICE = Path(str(resources.files("avatarctl") / "_data" / "scene"))
PHOTO, ROOM, CAMERA = (OFFICE / f"office_desk_tum{end}" for end in ("_color.jpg", ".ply", ".json"))
QUICK = ("--sampler", "ddim5", "--samples", "2", "--pictures", "0", "-q")


def someone(x=300.0, y=120.0):
    random = np.random.default_rng(0)
    places = np.array([x, y]) + [100, 250] * random.uniform(0, 1, (25, 2))
    return np.column_stack([places, np.ones(25)])


def write_people(path, *people):
    content = {"people": [{"pose_keypoints_2d": one.ravel().tolist()} for one in people]}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_networks.write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def keypoints(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("keypoints") / "two.json", someone(), someone(450))


def infer(weights, out, *words, room=ROOM, camera=CAMERA, photos=(PHOTO,)):
    own = [*map(str, photos), "--scene", str(room), "--camera", str(camera), "--weights", str(weights)]
    return main(["infer", "ego-hmr", *own, *QUICK, *map(str, words), "--out", str(out)])


@pytest.fixture(scope="module")
def made(weights, keypoints, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "made"
    assert infer(weights, out, "--keypoints", keypoints) == 0
    return out


def test_everybody_in_a_picture_is_found(made):
    found = read_recovered(made)
    assert found.betas.shape == (2, 2, 10)
    assert found.names.tolist() == [str(PHOTO)] * 2
    assert found.rooms.tolist() == [str(ROOM)] * 2
    assert found.body == "open"
    np.testing.assert_array_equal(found.size, [[640, 480]] * 2)
    np.testing.assert_allclose(found.focal, 525)
    boxed = someone()[:, :2]
    np.testing.assert_allclose(found.box_centre[0], (boxed.min(0) + boxed.max(0)) / 2, rtol=1e-5)
    np.testing.assert_allclose(found.box_size[0], 1.2 * np.ptp(boxed, axis=0).max(), rtol=1e-5)
    world = json.loads(CAMERA.read_text())["world_from_camera"]
    np.testing.assert_allclose(found.camera_from_scene[1], np.linalg.inv(world))
    assert np.isfinite(found.collision).all()
    assert np.isnan(found.true_transl).all()
    for name in ("scene_check.png", "people.glb"):
        assert (made / name).stat().st_size > 10_000


def test_the_numbers_at_the_end_are_those_of_the_bodies(made):
    found, said = read_recovered(made), json.loads((made / "metrics.json").read_text())
    assert (said["people"], said["samples"], said["left_out"]) == (2, 2, 0)
    assert said["nearest_m"] == pytest.approx(np.linalg.norm(found.transl, axis=1).min(), abs=0.01)


def test_a_box_says_who_is_meant(weights, keypoints, tmp_path, made):
    code = infer(weights, tmp_path / "out", "--keypoints", keypoints, "--box", "440:100:130:300")
    assert code == 0
    found = read_recovered(tmp_path / "out")
    assert len(found) == 1
    np.testing.assert_allclose(found.box_centre, [[505, 250]])
    np.testing.assert_allclose(found.box_size, [300])


def test_rooms_in_other_axes_and_units_give_the_same_bodies(weights, keypoints, tmp_path, made):
    mesh = trimesh.load(ROOM, process=False)
    turn = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    moved = trimesh.Trimesh(1000 * mesh.vertices @ turn[:3, :3].T, mesh.faces, process=False)
    moved.export(tmp_path / "room.ply")
    camera = json.loads(CAMERA.read_text())
    place = turn @ np.array(camera["world_from_camera"])
    place[:3, 3] *= 1000
    (tmp_path / "camera.json").write_text(json.dumps({**camera, "world_from_camera": place.tolist()}))
    files = {"room": tmp_path / "room.ply", "camera": tmp_path / "camera.json"}
    assert infer(weights, tmp_path / "out", "--keypoints", keypoints, **files) == 0
    found, wanted = read_recovered(tmp_path / "out"), read_recovered(made)
    np.testing.assert_allclose(found.transl, wanted.transl, atol=1e-3)
    np.testing.assert_allclose(found.matrices, wanted.matrices, atol=1e-3)
    np.testing.assert_allclose(found.camera_from_scene, wanted.camera_from_scene, atol=1e-9)
    written = trimesh.load(found.rooms[0], process=False)
    np.testing.assert_allclose(written.vertices, mesh.vertices, atol=1e-4)
    assert Path(found.rooms[0]).parent == (tmp_path / "out").absolute()


def test_published_results_are_named_by_the_seed_of_their_run(weights, keypoints, tmp_path):
    words = ("--keypoints", keypoints, "--samples", "1", "--pictures", "0", "--seed", "3", "--to", "pkl")
    assert infer(weights, tmp_path / "out", *words) == 0
    drawn = read_results(tmp_path / "out" / "results_seed_3.pkl")
    np.testing.assert_array_equal(drawn.matrices, read_recovered(tmp_path / "out").matrices)
    for name, source in (("folder", "out"), ("file", "out/recovered.npz")):
        place = str(tmp_path / name)
        assert main(["export", "ego-hmr", str(tmp_path / source), "--to", "pkl", "--out", place, "-q"]) == 0
        assert (tmp_path / name / "results_seed_3.pkl").is_file()


def test_a_detector_finds_who_has_no_keypoints(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(detect.MediaPipe, "load", staticmethod(lambda folder: lambda picture: [someone()]))
    assert infer(weights, tmp_path / "out") == 0
    assert len(read_recovered(tmp_path / "out")) == 1


def test_a_picture_with_nobody_is_left_out(weights, tmp_path, capsys):
    photos = [shutil.copy(PHOTO, tmp_path / name) for name in ("full.jpg", "empty.jpg")]
    write_people(tmp_path / "full.json", someone())
    write_people(tmp_path / "empty_keypoints.json")
    assert infer(weights, tmp_path / "out", "--keypoints", tmp_path, photos=photos) == 0
    assert read_recovered(tmp_path / "out").names.tolist() == [str(tmp_path / "full.jpg")]
    assert "empty.jpg: nobody was found in it" in (tmp_path / "out" / "log.txt").read_text()


def test_places_alone_are_published_results(weights, keypoints, tmp_path, made):
    assert infer(weights, tmp_path / "out", "--keypoints", keypoints, "--places") == 0
    found, results = read_recovered(tmp_path / "out"), read_results(tmp_path / "out" / "results.pkl")
    np.testing.assert_array_equal(results.transl, read_recovered(made).transl)
    assert found.num_samples == 1
    assert results.betas is None


def error(capsys, code):
    return code, " ".join(capsys.readouterr().err.split())


def broken_photo(folder):
    (folder / "photo.jpg").write_bytes(b"no picture")
    return [folder / "photo.jpg"]


def broken_chunk(folder):
    """A .png of several chunks, of which one has no proper name; Pillow says SyntaxError."""
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    content = (folder / "photo.png").read_bytes()
    first = content.index(b"IDAT")
    second = content.index(b"IDAT", first + 4)
    (folder / "photo.png").write_bytes(content[:second] + b"ID\0\0" + content[second + 4 :])
    return [folder / "photo.png"]


def turned_photo(folder):
    Image.fromarray(np.zeros((640, 480, 3), np.uint8)).save(folder / "photo.jpg")
    return [folder / "photo.jpg"]


def weights_of_others(folder):
    return native.save(folder / "others.safetensors", {"a.w": torch.ones(1)}, {"parts": ["a"]})


def camera_elsewhere(folder, **changes):
    """The office's camera turned round, so that it has its back to the room."""
    camera = json.loads(CAMERA.read_text())
    place = np.array(camera["world_from_camera"]) @ np.diag([-1.0, 1, -1, 1])
    place[2, 3] += 0.5
    path = folder / "camera.json"
    path.write_text(json.dumps({**camera, "world_from_camera": place.tolist(), **changes}))
    return path


@pytest.mark.parametrize(
    ("words", "files", "code", "said"),
    [
        ((), {"photos": lambda at: [at / "none.jpg"]}, 5, "none.jpg: not found; expected a picture"),
        ((), {"photos": broken_photo}, 5, "photo.jpg: cannot be read as a picture"),
        ((), {"photos": broken_chunk}, 5, "photo.png: cannot be read as a picture: broken PNG file"),
        ((), {"photos": turned_photo}, 5, "is 480x640, but the camera of"),
        ((), {"camera": camera_elsewhere}, 5, "lies in front of the camera"),
        ((), {"room": lambda at: at / "none.ply"}, 5, "none.ply: not found"),
        ((), {"room": lambda at: CAMERA}, 5, "is no mesh"),
        (("--scene-up", "x"), {}, 3, "scene_up: found x, expected"),
        (("--scene-unit", "inch"), {}, 3, "scene_unit: found inch, expected"),
        (("--box", "1:2:3"), {}, 3, "expected left:top:width:height"),
        (("--box", "1:2:-3:4"), {}, 3, "expected a width and a height above 0"),
        (("--box", "1:2:3:4", "--box", "1:2:3:4"), {}, 3, "found 2; there are 1 pictures"),
        (("--box", "900:900:50:50"), {}, 5, "is 640x480; the box around a person lies outside of it"),
        (("--weights", "open-small"), {}, 5, "open-small: these are weights of sparse-tracking"),
        ((), {"weights": weights_of_others}, 6, "has no 'scene' network"),
        (("--guidance", "volumetric", "--sampler", "ddpm"), {}, 6, "is of the kind 'coap'"),
        (("--guidance", "coap"), {}, 2, "collision guidance does not work with ddim5"),
        (("--samples", "0"), {}, 3, "samples: found 0"),
        (("--to", "fbx"), {}, 3, "'fbx' is no format"),
        (("--translations", "results.pkl"), {}, 3, "goes with --data only"),
        (("--collision", "none.ckpt"), {}, 5, "none.ckpt: no such weights file"),
        (("--data", "egobody"), {}, 3, "name pictures, or --data FOLDER, not both"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_clear_line(weights, keypoints, tmp_path, capsys, words, files, code, said):
    found = {name: make(tmp_path) for name, make in files.items()}
    weights = found.pop("weights", weights)
    found = error(capsys, infer(weights, tmp_path / "out", "--keypoints", keypoints, *words, **found))
    assert found[0] == code
    assert said in found[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--detector", "none"), 3, "somebody has to say who is in the pictures"),
        (("--keypoints", "none.json"), 5, "none.json: not found"),
    ],
)
def test_somebody_has_to_say_who_is_there(weights, tmp_path, capsys, words, code, said):
    found = error(capsys, infer(weights, tmp_path / "out", *words))
    assert found[0] == code
    assert said in found[1]


def test_without_the_detector_s_package_it_is_said_how_to_get_it(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(detect.importlib.util, "find_spec", lambda name: None)
    code, said = error(capsys, infer(weights, tmp_path / "out"))
    assert code == 7
    assert "avatarctl[detect]" in said


def test_nobody_at_all_is_an_error(weights, tmp_path, capsys):
    nobody = write_people(tmp_path / "none.json")
    code, said = error(capsys, infer(weights, tmp_path / "out", "--keypoints", nobody))
    assert code == 5
    assert "nobody was found in 1 picture" in said


def test_keypoints_in_shares_of_the_picture_are_refused(weights, tmp_path, capsys):
    shares = write_people(tmp_path / "shares.json", someone() / [640, 480, 1])
    code, said = error(capsys, infer(weights, tmp_path / "out", "--keypoints", shares))
    assert code == 5
    assert "write pixels, not shares of the picture" in said


def test_without_its_place_the_camera_file_is_asked_for_it(weights, keypoints, tmp_path, capsys):
    camera = json.loads(CAMERA.read_text())
    del camera["world_from_camera"]
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    files = {"camera": tmp_path / "camera.json"}
    code, said = error(capsys, infer(weights, tmp_path / "out", "--keypoints", keypoints, **files))
    assert code == 5
    assert "say in the camera file where the camera stood" in said


def test_licensed_bodies_are_asked_for_where_the_weights_know_them(keypoints, tmp_path, capsys):
    weights = small_networks.write_weights(tmp_path / "smpl.safetensors", "scene diffusion", body="smpl")
    code, said = error(capsys, infer(weights, tmp_path / "out", "--keypoints", keypoints))
    assert code == 4
    assert "body model 'smpl' for gender 'neutral' was not found" in said


@pytest.mark.parametrize("missing", ["scene", "camera"])
def test_pictures_need_room_and_camera(missing, capsys):
    words = {"scene": str(ROOM), "camera": str(CAMERA)}
    given = [word for name, path in words.items() if name != missing for word in (f"--{name}", path)]
    code, said = error(capsys, main(["infer", "ego-hmr", str(PHOTO), *given]))
    assert code == 3
    assert f"{missing}: is missing; give it with --{missing}" in said


# Recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The miniature EgoBody, whose pictures have a sixtieth of the size."""
    folder = egobody(tmp_path_factory.mktemp("egobody") / "mini")
    arrays = arrays_of(folder, "test")
    small = {name: arrays[name] / 60 for name in ("center", "scale", "cx", "cy", "fx", "fy")}
    keypoints = arrays["valid_keypoints"] / [60, 60, 1]
    spoil(folder, "test", **small, valid_keypoints=keypoints)
    return folder


def of_data(folder, weights, out, *words):
    own = ["--data", str(folder), "--weights", str(weights)]
    return main(["infer", "ego-hmr", *own, *QUICK, *map(str, words), "--out", str(out)])


@pytest.fixture(scope="module")
def recorded(recordings, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "recorded"
    assert of_data(recordings, weights, out, "--every", "2") == 0
    return out


def test_recordings_become_bodies_and_motions(recorded, recordings):
    found = read_recovered(recorded)
    truth = arrays_of(recordings, "test")
    assert found.names.tolist() == truth["imgname"][::2].tolist()
    np.testing.assert_allclose(found.true_transl, truth["transl_pv"][::2], rtol=1e-6)
    np.testing.assert_allclose(found.box_size, 240 * truth["scale"][::2], rtol=1e-6)
    assert found.rooms.tolist() == ["demo_room"] * 3
    assert found.data == str(recordings)
    np.testing.assert_array_equal(found.size, [[32, 18]] * 3)
    motions = [Motion.read(path) for path in sorted(recorded.glob("recording_*.npz"))]
    assert [(len(one), one.fps) for one in motions] == [(3, 15.0)] * 2


@pytest.mark.slow
def test_known_places_give_the_bodies_that_found_ones_do(recorded, recordings, weights, tmp_path):
    assert of_data(recordings, weights, tmp_path / "places", "--places") == 0
    for given, count in ((recorded, "2"), (tmp_path / "places" / "results.pkl", "2")):
        out = tmp_path / given.name
        assert of_data(recordings, weights, out, "--translations", given, "--every", count) == 0
        again, wanted = read_recovered(out), read_recovered(recorded)
        np.testing.assert_allclose(again.transl, wanted.transl, atol=1e-6)
        np.testing.assert_allclose(again.matrices, wanted.matrices, atol=1e-5)


def test_windows_change_nothing(recorded, recordings, weights, tmp_path):
    assert of_data(recordings, weights, tmp_path / "out", "--every", "2", "--batch-size", "1") == 0
    again, wanted = read_recovered(tmp_path / "out"), read_recovered(recorded)
    np.testing.assert_allclose(again.matrices, wanted.matrices, atol=1e-5)


def test_places_of_other_frames_are_refused(recorded, recordings, weights, tmp_path, capsys):
    code, said = error(capsys, of_data(recordings, weights, tmp_path / "out", "--translations", recorded))
    assert code == 5
    assert "has no place of 3 of 6 frames" in said


def without(*names):
    def change(folder):
        for name in names:
            for path in folder.glob(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def annotations(**changes):
    return lambda folder: spoil(folder, "test", **changes)


def broken_image(folder):
    next(folder.glob("egocentric_color/*S05*/*/PV/*.jpg")).write_bytes(b"no picture")


def other_size(folder):
    path = sorted(folder.glob("egocentric_color/*S05*/*/PV/*.jpg"))[1]
    Image.fromarray(np.zeros((18, 24, 3), np.uint8)).save(path, "PNG")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("scene_mesh"), "demo_room.obj: not found"),
        (without("data_info_release.csv"), "data_info_release.csv: not found"),
        (without("transf_matrices_all_seqs.pkl", "egocentric_color/*/*/*.txt"), "no transforms"),
        (without("annotation_egocentric_smpl_npz"), "egocapture_test_smpl.npz: not found"),
        (without("egocentric_color/*S05*"), "not found"),
        (annotations(pose=None), "pose: missing"),
        (annotations(scale=np.ones(5)), "scale: 5 rows; imgname has 6"),
        (annotations(pose=np.full((6, 69), np.nan)), "not finite"),
        (annotations(gender=np.array(["?"] * 6)), "gender: row 0"),
        (broken_image, "cannot be read as a picture"),
        (other_size, "is 24x18"),
    ],
)
def test_broken_recordings_get_a_clear_line(recordings, weights, tmp_path, capsys, change, said):
    folder = tmp_path / "egobody"
    shutil.copytree(recordings, folder)
    change(folder)
    code, found = error(capsys, of_data(folder, weights, tmp_path / "out"))
    assert code == 5
    assert said in found
