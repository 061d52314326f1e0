"""The made-up recordings: what is drawn is what is annotated, and the layout is EgoBody's."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.settings_synthetic import PrepareSynthetic
from avatarctl_ego_hmr.synthetic import people, pictures, prepare, recordings
from avatarctl_ego_hmr.synthetic.office import SCENES, office
from avatarctl_ego_hmr.synthetic.recordings import Recording

from avatarctl.body import Bodies, open_body
from avatarctl.cli.main import main
from avatarctl.device import Noise
from avatarctl.files import digest
from avatarctl.geometry.cameras import Camera
from avatarctl.motion.clips import clips
from avatarctl.runs import Run

FRAMES = {"frames": 3, "validation": 1, "test": 1, "size": "640x360", "workers": 1}
JOINTS = [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]
"""Keypoints of BODY_25 inside limbs."""


def made(store: Path, run: Path, **changes) -> Path:
    prepare.run(PrepareSynthetic(store=store, **(FRAMES | changes)), Run.standalone(run))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Five pictures in three recordings."""
    folder = tmp_path_factory.mktemp("synthetic")
    return made(folder / "store", folder / "run")


@pytest.fixture(scope="module")
def data(store) -> EgoBody:
    return EgoBody(store)


def true_bodies(frames):
    """The bodies that annotations describe, in camera axes."""
    arrays = (frames.poses, frames.betas, frames.transl)
    poses, betas, transl = (torch.from_numpy(np.asarray(array)).float() for array in arrays)
    bodies = People.load(Bodies(), "open").annotated(poses, betas, torch.from_numpy(frames.gender))
    return bodies.moved(transl)


def test_the_layout_is_read_as_egobodys(data):
    assert data.kind == "open"
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        frames = data.annotations(split)
        assert len(frames) == count
        assert data.image(frames.names[0]).shape == (360, 640, 3)
        assert data.scene_of(frames.recording(0)) == SCENES[0]
    scene = data.scene(SCENES[1])
    assert len(scene.vertices) == len(office(SCENES[1]).vertices)
    assert scene.colours is not None
    assert data.kinect_camera().intrinsics[0, 0] == pytest.approx(3 * 525)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_keypoints_and_joints_are_those_of_the_annotated_bodies(data, split):
    frames = data.annotations(split)
    bodies = true_bodies(frames)
    np.testing.assert_allclose(bodies.joints[:, :24], frames.joints, atol=1e-5)
    x, y, z = bodies.keypoints.double().numpy().transpose(2, 0, 1)
    pixels = np.stack(
        [x / z * frames.fx[:, None] + frames.cx[:, None], y / z * frames.fy[:, None] + frames.cy[:, None]], -1
    )
    seen = frames.keypoints[..., 2] > 0
    assert (seen.sum(axis=1) >= recordings.LEAST_KEYPOINTS).all()
    np.testing.assert_allclose(pixels[seen], frames.keypoints[..., :2][seen], atol=1e-3)  # pixels
    assert not frames.keypoints[~seen].any()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_bodies_stand_on_the_floor_and_not_in_furniture(data, split):
    frames, transforms = data.annotations(split), data.transforms()
    for index, vertices in enumerate(true_bodies(frames).vertices.double().numpy()):
        recording = frames.recording(index)
        camera_from_scene = transforms.camera_from_scene(recording, frames.timestamp(index))
        in_scene = (vertices - camera_from_scene[:3, 3]) @ camera_from_scene[:3, :3]
        assert in_scene[:, 1].min() == pytest.approx(0, abs=1e-4)  # float32 transforms


@pytest.mark.parametrize(("split", "number"), [("train", 1), ("test", 1)])
def test_bodies_are_drawn_where_keypoints_are(tmp_path, split, number):
    recording = Recording(str(tmp_path), split, number, 1, (360, 640), 0)
    person = people.draw_person(Noise.seeded(0, "person"), "f")
    away = people.Person(person.betas, 1 - person.colours, "f")
    scene = office(recording.scene)
    frame = recordings.draw_frame(recording, scene, person, Noise.seeded(0, "frame"))
    other = recordings.draw_frame(recording, scene, away, Noise.seeded(0, "frame"))
    changed = (frame.shot.picture != other.shot.picture).any(axis=-1)
    seen = frame.shot.keypoints[JOINTS]
    x, y = seen[seen[:, 2] > 0, :2].round().astype(int).T
    assert changed[y, x].mean() > 0.8  # an arm may be drawn before another joint, a wrist be narrow
    assert changed.mean() < 0.6


def test_keypoints_behind_furniture_or_out_of_the_picture_are_zeros():
    camera = Camera(torch.tensor([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]]), torch.eye(3), torch.zeros(3))
    places = torch.tensor([[0.0, 0.0, 2.0]]).repeat(25, 1)
    places[3, 0] = 5.0
    nothing = torch.full((64, 64), torch.inf)
    behind = pictures.Backdrop(camera, torch.zeros(64, 64, 3), nothing)
    found = pictures.seen_keypoints(behind, nothing, places)
    assert not found[3].any()
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), [[31.5, 31.5, 1.0]] * 24)
    before = pictures.Backdrop(camera, torch.zeros(64, 64, 3), torch.full((64, 64), 1.0))
    assert not pictures.seen_keypoints(before, nothing, places).any()
    of_body = pictures.seen_keypoints(behind, torch.full((64, 64), 1.9), places)
    assert not of_body[list(pictures.FACE)].any()  # the head is turned away
    assert of_body[1, 2] == 1


def test_how_far_furniture_reaches_into_a_body():
    person = people.Person(torch.zeros(10), torch.zeros(6890, 3), "m")
    placed = people.stand(person, torch.zeros(24, 3), 0.0, (0.0, -1.0))
    chest = placed.body.joints[0, 9:10]
    assert people.depth_inside(placed, chest) > people.DEEPEST
    assert people.depth_inside(placed, chest + torch.tensor([0.0, 0.0, 0.5])) == 0


@pytest.mark.parametrize("heading", [0.0, 1.0, -2.5])
def test_people_face_their_heading(heading):
    person = people.Person(torch.zeros(10), torch.zeros(6890, 3), "m")
    placed = people.stand(person, people.clip_poses("walk_2")[10], heading, (0.5, -1.0))
    pelvis = placed.body.joints[0, 0]
    np.testing.assert_allclose(pelvis[[0, 2]], [0.5, -1.0], atol=1e-6)
    left_to_right = (placed.body.joints[0, 2] - placed.body.joints[0, 1]).numpy()
    ahead = [np.sin(heading), np.cos(heading)]
    assert abs(left_to_right[[0, 2]] @ ahead) < 0.5 * np.linalg.norm(left_to_right)
    assert left_to_right[0] * ahead[1] - left_to_right[2] * ahead[0] < 0  # his left is to the left


def test_no_take_is_in_two_splits():
    takes = {split: {clips()[name].take for name in people.clip_names(split)} for split in people.HELD_OUT}
    takes["train"] = {clips()[name].take for name in people.clip_names("train")}
    assert not takes["train"] & takes["val"]
    assert not takes["train"] & takes["test"]
    assert not takes["val"] & takes["test"]


def test_clothes_are_colours_of_all_vertices():
    found = people.draw_clothes(Noise.seeded(0, "x"))
    assert found.shape == open_body("smpl").template.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_an_interrupted_preparation_goes_on_to_the_same_bytes(store, tmp_path):
    again = tmp_path / "again"
    settings = PrepareSynthetic(store=again, **FRAMES)
    prepare.begin(again, prepare.options_of(settings, 0), replace=False)
    first, second = prepare.plan(settings, 0)[:2]
    recordings.make(first)
    recordings.make(second)
    second.part.unlink()
    shutil.copy(again / second.image(0), again / f".{'x' * 8}.tmp.jpg")  # as a killed process leaves it
    made(again, tmp_path / "run")
    assert digest(again) == digest(store)


def test_what_is_there_is_not_made_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "make_all", None)
    made(store, tmp_path / "run")


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(store, tmp_path):
    assert digest(made(tmp_path / "store", tmp_path / "run", workers=2)) == digest(store)


def test_other_things_in_the_folder_are_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    command = ["prepare", "synthetic-egobody", "--store", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(command) == 5
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


def test_recordings_of_other_options_are_kept_unless_told(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with pytest.raises(prepare.DataError, match="recordings of other options") as caught:
        made(copy, tmp_path / "run", frames=4)
    assert "--replace" in caught.value.hint
    assert len(EgoBody(made(copy, tmp_path / "run", frames=2, replace=True)).annotations("train")) == 2
