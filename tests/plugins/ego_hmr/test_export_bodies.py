"""The export target: files that other programs read, in the axes that were asked for."""

import shutil

import numpy as np
import pytest
import torch
import trimesh
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.export import of_results
from avatarctl_ego_hmr.gallery import Gallery
from avatarctl_ego_hmr.recovered import Results, read_results
from egobody_mini import bodies as mini_bodies
from egobody_mini import egobody
from office_people import PHOTO, ROOM, people, recovered
from PIL import Image

from avatarctl.body import Bodies, open_body
from avatarctl.cli.main import main
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.motion import Motion

BODY = open_body("smpl")


def export(source, out, *words):
    return main(["export", "ego-hmr", str(source), *map(str, words), "--out", str(out), "-q"])


@pytest.fixture(scope="module")
def found():
    return recovered(2, 2)


@pytest.fixture(scope="module")
def source(found, tmp_path_factory):
    return found.write(tmp_path_factory.mktemp("found") / "recovered.npz")


@pytest.fixture(scope="module")
def in_scene(found):
    """True vertices in scene axes [n, S, V, 3]."""
    gallery = Gallery(found, people())
    matrices = torch.from_numpy(np.linalg.inv(found.camera_from_scene)).float()
    own = torch.stack([gallery.body(row).vertices for row in range(len(found))])
    return torch.einsum("nij,nsvj->nsvi", matrices[:, :3, :3], own) + matrices[:, None, None, :3, 3]


def test_a_scene_file_holds_bodies_and_room(source, in_scene, tmp_path):
    assert export(source, tmp_path / "out", "--to", "glb") == 0
    scene = trimesh.load(tmp_path / "out" / "people.glb", process=False)
    stem = PHOTO.stem
    names = {"room", *(f"{stem}_{row}_{sample}" for row in range(2) for sample in range(2))}
    assert set(scene.geometry) == names
    np.testing.assert_allclose(scene.geometry[f"{stem}_1_0"].vertices, in_scene[1, 0], atol=1e-5)
    np.testing.assert_array_equal(scene.geometry[f"{stem}_1_0"].faces, BODY.faces)
    room = trimesh.load(ROOM, process=False)
    np.testing.assert_allclose(scene.geometry["room"].vertices, room.vertices, atol=1e-5)
    linear = 255 * (room.visual.vertex_colors[:, :3] / 255.0) ** 2.2
    np.testing.assert_allclose(scene.geometry["room"].visual.vertex_colors[:, :3], linear, atol=0.51)


def test_scenes_in_camera_axes_have_one_file_for_each_person(source, found, tmp_path):
    assert export(source, tmp_path / "out", "--to", "glb", "--axes", "camera", "--sample", 1) == 0
    scene = trimesh.load(tmp_path / "out" / f"{PHOTO.stem}_1.glb", process=False)
    body = Gallery(found, people()).body(1).vertices[1]
    np.testing.assert_allclose(scene.geometry[f"{PHOTO.stem}_1"].vertices, body, atol=1e-5)
    room, matrix = trimesh.load(ROOM, process=False).vertices, found.camera_from_scene[1]
    moved = room @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(scene.geometry["room"].vertices, moved, atol=1e-4)


@pytest.mark.parametrize("suffix", ["ply", "obj"])
def test_meshes_have_the_vertices_in_smpl_s_order(source, in_scene, tmp_path, suffix):
    assert export(source, tmp_path / "out", "--to", suffix) == 0
    for row in range(2):
        for sample in range(2):
            path = tmp_path / "out" / f"{PHOTO.stem}_{row}_{sample}.{suffix}"
            mesh = trimesh.load(path, process=False, maintain_order=True)
            np.testing.assert_allclose(mesh.vertices, in_scene[row, sample], atol=1e-5)
            np.testing.assert_array_equal(mesh.faces, BODY.faces)


def test_parameters_pose_the_body_in_scene_axes(source, found, in_scene, tmp_path):
    assert export(source, tmp_path / "out", "--to", "npz") == 0
    with np.load(tmp_path / "out" / "smpl.npz") as file:
        arrays = {name: file[name] for name in file.files}
    assert arrays["names"].tolist() == found.names.tolist()
    betas, transl = (torch.from_numpy(arrays[name]) for name in ("betas", "transl"))
    full = np.concatenate([arrays["global_orient"], arrays["body_pose"]], axis=2)
    posed = BODY.shape(betas).pose(torch.from_numpy(full).unflatten(2, (24, 3)), transl)
    gallery = Gallery(found, people())
    joints = torch.stack([gallery.moved(row, "scene", gallery.body(row).joints[:, :24]) for row in range(2)])
    torch.testing.assert_close(posed.joints, joints, rtol=0, atol=1e-5)  # metres
    # The open body's weights sum to one but for 3e-4, so vertices depend a little on where axes begin.
    torch.testing.assert_close(posed.vertices(), in_scene, rtol=0, atol=4e-4)


def test_a_motion_stands_where_the_bodies_do(source, found, tmp_path):
    same = found.betas[:1].repeat(2, axis=0)
    path = recovered(2, 2, betas=same).write(tmp_path / "recovered.npz")
    assert export(path, tmp_path / "out", "--to", "motion", "--fps", "15") == 0
    motion = Motion.read(tmp_path / "out" / "motion_1.npz").to_up(
        "y", BODY.shape(torch.tensor(same[0, 0])).joints[0]
    )
    assert (motion.fps, len(motion)) == (15.0, 2)
    shaped = BODY.shape(motion.betas)
    joints = shaped.pose(motion.body_poses(24), motion.root).joints
    gallery = Gallery(recovered(2, 2, betas=same), people())
    wanted = torch.stack([gallery.moved(row, "scene", gallery.body(row).joints[1, :24]) for row in range(2)])
    torch.testing.assert_close(joints, wanted, rtol=0, atol=1e-4)


def test_a_motion_keeps_the_pelvis_where_shapes_differ(source, found, tmp_path):
    assert export(source, tmp_path / "out", "--to", "motion", "--sample", "0") == 0
    motion = Motion.read(tmp_path / "out" / "motion.npz")
    torch.testing.assert_close(motion.betas[:10], torch.from_numpy(found.betas[:, 0]).mean(0))
    rest = BODY.shape(motion.betas).joints[0]
    upright = motion.to_up("y", rest)
    gallery = Gallery(found, people())
    wanted = [gallery.moved(row, "scene", gallery.body(row).joints[0, 0]) for row in range(2)]
    torch.testing.assert_close(upright.root + rest, torch.stack(wanted), rtol=0, atol=1e-4)


def test_published_results_hold_the_same_numbers(source, found, tmp_path):
    assert export(source, tmp_path / "out", "--to", "pkl") == 0
    results = read_results(tmp_path / "out" / "results.pkl")
    np.testing.assert_array_equal(results.matrices, found.matrices)
    np.testing.assert_array_equal(results.betas, found.betas)
    np.testing.assert_array_equal(results.transl, found.transl)


def test_pictures_are_sheets(source, tmp_path):
    assert export(source, tmp_path / "out", "--to", "png", "--people", "1", "--sample", "0") == 0
    assert Image.open(tmp_path / "out" / f"{PHOTO.stem}.png").size == (960, 240)


def test_so_many_people_are_taken_evenly(tmp_path):
    path = recovered(5, 1).write(tmp_path / "recovered.npz")
    assert export(path, tmp_path / "out", "--to", "npz", "--people", "3") == 0
    with np.load(tmp_path / "out" / "smpl.npz") as file:
        np.testing.assert_array_equal(file["betas"], recovered(5, 1).betas[[0, 2, 4]])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--to", "gbl"), 3, ("'gbl' is no format", "--to glb")),
        (("--sample", "2"), 3, ("sample: found 2", "holds 2, counted from 0", "--sample 1")),
        (("--axes", "kinect"), 5, ("a master Kinect is known in recordings", "--axes scene")),
        (("--data", "somewhere"), 3, ("is of pictures of one's own", "leave out --data")),
    ],
)
def test_what_cannot_be_is_told(source, tmp_path, capsys, words, code, told):
    assert export(source, tmp_path / "out", *words) == code
    page = " ".join(capsys.readouterr().err.split())
    assert all(words in page for words in told), page


def test_a_camera_that_stood_nowhere_is_told(tmp_path, capsys):
    nowhere = np.full((1, 4, 4), np.nan)
    path = recovered(1, 1, camera_from_scene=nowhere).write(tmp_path / "recovered.npz")
    assert export(path, tmp_path / "one", "--to", "npz") == 5
    assert "--axes camera" in capsys.readouterr().err
    assert export(path, tmp_path / "two", "--axes", "camera", "--to", "glb") == 0
    assert list(trimesh.load(tmp_path / "two" / f"{PHOTO.stem}.glb").geometry) == [PHOTO.stem]


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return egobody(tmp_path_factory.mktemp("mini") / "egobody")


@pytest.fixture(scope="module")
def results(mini, tmp_path_factory):
    """Published results that are the annotations themselves, two samples each; the bodies are neutral."""
    frames = EgoBody(mini).annotations("test")
    matrices = matrix_from_axis_angle_smpl(torch.from_numpy(frames.poses).float()).numpy()
    matrices = np.repeat(matrices[:, None], 2, axis=1)
    content = Results(
        np.float32(frames.transl),
        np.repeat(np.float32(frames.betas)[:, None], 2, axis=1),
        matrices[:, :, :1],
        matrices[:, :, 1:],
    )
    return content.write(tmp_path_factory.mktemp("results") / "results_seed_0.pkl")


def test_published_results_are_exported_with_their_recordings(mini, results, tmp_path):
    words = ("--data", mini, "--body-models", mini_bodies(), "--to", "npz", "--to", "png", "--people", "2")
    assert export(results, tmp_path / "scene", *words) == 0
    assert (
        export(results, tmp_path / "kinect", *words[:4], "--to", "npz", "--axes", "kinect", "--people", "2")
        == 0
    )
    data = EgoBody(mini)
    frames, transforms = data.annotations("test"), data.transforms()
    last = len(frames) - 1
    neutral = People.load(Bodies(), "smpl", mini_bodies()).neutral
    one = torch.from_numpy(frames.poses[last:]).float(), torch.from_numpy(frames.betas[last:]).float()
    own = neutral.shape(one[1]).pose(one[0], torch.from_numpy(frames.transl[last:]).float()).vertices()[0]
    moment = frames.recording(last), frames.timestamp(last)
    for name, matrix in (
        ("scene", transforms.camera_from_scene(*moment)),
        ("kinect", transforms.camera_from_kinect(*moment)),
    ):
        with np.load(tmp_path / name / "smpl.npz") as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files if key != "names"}
            assert file["names"].tolist() == [frames.names[0], frames.names[last]]
        full = torch.cat([arrays["global_orient"], arrays["body_pose"]], dim=2)[-1, 1].view(24, 3)
        posed = neutral.shape(arrays["betas"][-1, 1]).pose(full, arrays["transl"][-1, 1]).vertices().double()
        back = posed.numpy() @ matrix[:3, :3].T + matrix[:3, 3]
        np.testing.assert_allclose(back, own, atol=2e-4)
    pictures = list((tmp_path / "scene").glob("recording_*.png"))
    assert len(pictures) == 2
    assert Image.open(pictures[0]).size == (48, 18)  # two rows of three pictures of 32 x 18, halved


def test_published_results_keep_the_seed_in_their_name(mini, results, tmp_path):
    other = shutil.copy(results, tmp_path / "results_seed_7.pkl")
    words = ("--data", mini, "--body-models", mini_bodies(), "--to", "pkl", "--people", "1")
    assert export(other, tmp_path / "out", *words) == 0
    assert (tmp_path / "out" / "results_seed_7.pkl").is_file()


def test_a_recording_becomes_one_motion(mini, results, tmp_path):
    words = ("--data", mini, "--body-models", mini_bodies(), "--to", "motion", "--sample", "1")
    assert export(results, tmp_path / "out", *words) == 0
    frames = EgoBody(mini).annotations("test")
    assert len(Motion.read(tmp_path / "out" / f"{frames.recording(0)}.npz")) == len(frames)


def test_results_without_recordings_are_refused(mini, results, tmp_path, capsys):
    assert export(results, tmp_path / "one") == 3
    assert "--data EGOBODY --split test" in capsys.readouterr().err
    short = read_results(results)
    path = Results(short.transl[:2], short.betas[:2], short.global_orient[:2], short.body_pose[:2])
    path = path.write(tmp_path / "short.pkl")
    assert export(path, tmp_path / "three", "--data", mini) == 5
    page = " ".join(capsys.readouterr().err.split())
    assert "holds 2 frames" in page


def test_results_of_stage_1_have_no_bodies(mini, results, tmp_path, capsys):
    path = Results(read_results(results).transl).write(tmp_path / "results.pkl")
    assert export(path, tmp_path / "out", "--data", mini) == 5
    assert "--translations" in capsys.readouterr().err


def test_the_master_kinect_sees_bodies_where_its_axes_have_them(mini, results):
    data = EgoBody(mini)
    people_of_mini = People.load(Bodies(), "smpl", mini_bodies())
    gallery = Gallery(of_results(read_results(results), data, "test", results), people_of_mini, data)
    body = gallery.body(3).vertices[0]
    seen, depth = gallery.kinect(3).project(gallery.moved(3, "scene", body))
    own, own_depth = data.kinect_camera().project(gallery.moved(3, "kinect", body))
    torch.testing.assert_close(seen, own, rtol=1e-4, atol=0.05)
    torch.testing.assert_close(depth, own_depth, rtol=0, atol=1e-4)
    frames = data.annotations("test")
    np.testing.assert_allclose(gallery.found.box_size, 240 * frames.scale, rtol=1e-6)
