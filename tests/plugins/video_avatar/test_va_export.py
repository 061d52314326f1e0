"""The export target: the surface in its poses, as files that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import va_person
from avatarctl_video_avatar import canonical, mesh_files, pipeline
from avatarctl_video_avatar.body_fit import blended, posed, star_transforms, star_vertices
from avatarctl_video_avatar.canonical import Skeleton
from avatarctl_video_avatar.export import extracted
from avatarctl_video_avatar.items import Items, pose_of
from avatarctl_video_avatar.meshes import read_mesh
from avatarctl_video_avatar.model.volume import BaseSdf
from avatarctl_video_avatar.prepared import Fit
from avatarctl_video_avatar.sample import Shot
from PIL import Image

from avatarctl.body import open_body
from avatarctl.cli.main import main
from avatarctl.geometry.meshes import Mesh
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips

BODY = open_body("smpl")


@pytest.fixture(scope="module")
def data() -> Path:
    """A small prepared recording, its volume that of the body with a skin."""
    return va_person.recording()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """An avatar whose surface is the recording's volume."""
    return va_person.avatar_file(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def person(data, weights):
    return pipeline.load(weights, data)


@pytest.fixture
def export(data, weights, tmp_path, capsys):
    """Run the command; its exit code, folder of meshes, and all it said."""

    def run(*words):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        given = ["--data", str(data), "--weights", str(weights), "--resolution", "40"]
        code = main(["export", "video-avatar", *given, *map(str, words), "--out", str(out), "-q"])
        streams = capsys.readouterr()
        return code, out / "meshes", streams.out + streams.err

    return run


def test_bones_of_the_star_pose_move_nothing(person):
    scene = person.scene(canonical.star_pose(person), refine=False)
    torch.testing.assert_close(scene.bones, torch.eye(4).expand(24, 4, 4), rtol=0, atol=1e-6)


def test_the_canonical_surface_is_where_the_fields_sum_is_zero(person):
    pose = canonical.star_pose(person)
    found = extracted(person.scene(pose, refine=False), pose.vertices.numpy(), 48)
    places = torch.from_numpy(found.mesh.vertices).float()
    distance = BaseSdf.of(person.subject)(places) + person.avatar.surface()(places)[:, :1]
    assert distance.abs().quantile(0.95) < 5e-3  # metres; linear between samples that are 4 cm apart
    assert found.mesh.volume() > 0
    torch.testing.assert_close(found.painted.points, places, rtol=0, atol=1e-5)
    outwards = (torch.from_numpy(found.mesh.normals()).float() * found.painted.normals).sum(1)
    assert outwards.median() > 0.9


def test_a_motion_of_the_skeleton_is_that_of_the_body_model():
    joints, vertices = (part.double().numpy() for part in (BODY.rest_joints, BODY.template))
    motion = clips()["salsa_01_a"].motion()[::120].to_skeleton("smpl").to_up("y", BODY.rest_joints[0])
    skeleton = Skeleton.of(joints)
    star = blended(
        BODY.weights.double().numpy() / BODY.weights.double().sum(1, keepdim=True).numpy(),
        star_transforms(joints),
        vertices,
    )
    weights = BODY.weights.double() / BODY.weights.double().sum(1, keepdim=True)
    # Blending of the star pose is undone exactly where one joint has all of a vertex.
    whole = (weights.max(dim=1).values > 1 - 1e-7).numpy()
    shown = BODY.shape().pose(motion.body_poses(24), motion.root)
    for frame, motions in enumerate(skeleton.motions(motion)):
        joint = weights.argmax(dim=1)
        ours = canonical.moved(star, weights, motions)[whole]
        along = (BODY.template - BODY.rest_joints[joint])[..., None]
        expected = (shown.rotations[frame, joint] @ along)[..., 0] + shown.joints[frame, joint]
        np.testing.assert_allclose(ours, expected.numpy()[whole], atol=2e-5)  # metres
    assert whole.sum() > 500


def test_corrected_motions_are_those_of_the_scenes_bones(person):
    frame = person.data.bodies["frame_000001"]
    pose = pose_of(frame, person.data.canonical[0])
    still = Motion(
        torch.from_numpy(frame.poses).view(1, 24, 3), torch.zeros(1, 3), 30.0, skeleton="smpl", up="y"
    )
    with torch.no_grad():
        person.avatar.get_parameter("pose_decoder.block_mlps.8.bias").copy_(torch.linspace(-0.3, 0.3, 69))
        better = canonical.refined(person.avatar, still)
        bones = person.scene(pose, refine=True).bones
        person.avatar.get_parameter("pose_decoder.block_mlps.8.bias").zero_()
    ours = Skeleton.of(person.data.canonical[0]).motions(better)[0]
    torch.testing.assert_close(
        ours.float(), bones, rtol=0, atol=1e-4
    )  # published axes are 1e-5 / angle short


@pytest.mark.parametrize("Rh", [(0.0, 0.4, 0.0), (np.pi / 2, 0.0, 0.0), (np.pi, 0.0, 0.0)])
def test_recorded_bodies_are_a_motion_with_y_up(Rh):
    draw = np.random.default_rng(0)
    poses = np.concatenate([np.zeros((3, 3)), 0.2 * draw.normal(size=(3, 69))], axis=1).astype(np.float32)
    fits = [
        Fit(pose, np.array(Rh, np.float32), np.array([0.1 * row, 1, 2], np.float32), np.zeros(10, np.float32))
        for row, pose in enumerate(poses)
    ]
    _, joints = posed(BODY, fits)
    turn = matrix_from_axis_angle(torch.tensor(Rh).double()).numpy()
    world = np.stack([place @ turn.T + fit.Th for place, fit in zip(joints, fits, strict=True)])
    motion = canonical.motion_of(fits, BODY.rest_joints[0].numpy(), 25.0)
    shown = BODY.shape().pose(motion.poses, motion.root).joints.numpy()
    assert motion.up == "y"
    assert (shown[:, 15, 1] > shown[:, 0, 1] + 0.3).all()  # heads above hips
    flat, ours = world.reshape(-1, 3), shown.reshape(-1, 3)
    distances = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (flat, ours)]
    np.testing.assert_allclose(distances[1], distances[0], atol=1e-5)
    if Rh[0] == 0:
        np.testing.assert_allclose(ours, flat, atol=1e-5)


def test_frames_are_written_as_published(export, person):
    code, folder, _ = export("--pose", "frame", "--frames", "1:3", "--view", "1", "--normals")
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"view1_frame{index}{end}" for index in (0, 1) for end in (".npy", ".obj", ".ply", "_normal.png")
    )
    content = np.load(folder / "view1_frame1.npy", allow_pickle=True).item()
    mesh = read_mesh(folder / "view1_frame1.obj")
    np.testing.assert_allclose(content["vertices"], mesh.vertices, atol=1e-6)
    assert content["vertices"].dtype == np.float32
    assert content["triangles"].dtype == np.int32
    np.testing.assert_array_equal(content["triangles"][:, [0, 2, 1]], mesh.faces)
    assert mesh.volume() > 0
    items = Items(person.data, ["1"], slice(1, 3), person.rendering, person.body)
    sample = items.picture(1)
    for name, value in {
        "E": sample.shot.extrinsics, "K": sample.shot.intrinsics, "camera_e": sample.shot.world,
        "rh": sample.shot.turn, "th": sample.shot.place, "hit_mask": sample.rays.hits.view(48, 40),
        "alpha_mask": sample.rays.alpha.view(48, 40),
    }.items():  # fmt: skip
        np.testing.assert_array_equal(content[name], value.numpy(), err_msg=name)
    assert (content["H"], content["W"]) == (48, 40)
    pose = pose_of(person.data.bodies["frame_000002"], person.data.canonical[0])
    field = person.scene(pose, True).field(torch.from_numpy(content["vertices"]))
    assert field.abs().median() < 2e-3  # metres
    picture = np.asarray(Image.open(folder / "view1_frame1_normal.png"))
    shown, mask = picture[..., 3] == 255, sample.rays.alpha.view(48, 40).numpy() > 0
    # A fresh skinning network leaves the legs in star pose, away from the body; the rest is where it is seen.
    assert (shown & mask).sum() > 0.8 * shown.sum() > 50
    assert (picture[shown][:, 2] > 120).mean() > 0.95  # towards the camera


def test_the_canonical_mesh_has_colours_and_a_skeleton(export):
    code, folder, _ = export("--pose", "canonical", "--to", "ply", "--to", "glb", "--to", "obj")
    assert code == 0
    coloured = trimesh.load(folder / "canonical.ply", process=False)
    plain = read_mesh(folder / "canonical.obj")
    assert coloured.visual.vertex_colors[:, :3].std() > 0
    np.testing.assert_allclose(coloured.vertices, plain.vertices, atol=1e-6)
    (shown,) = trimesh.load(folder / "canonical.glb").geometry.values()
    assert len(shown.faces) == len(plain.faces)
    star = star_vertices(BODY, BODY.rest_joints.numpy(), BODY.template.numpy())
    np.testing.assert_allclose(plain.vertices.min(0), star.min(0) - va_person.SKIN, atol=0.02)
    np.testing.assert_allclose(plain.vertices.max(0), star.max(0) + va_person.SKIN, atol=0.02)


def test_all_samples_give_the_same_mesh(export):
    meshes = []
    for words in ([], ["--dense"]):
        code, folder, _ = export("--pose", "frame", "--to", "obj", *words)
        assert code == 0
        meshes.append(read_mesh(folder / "view0_frame0.obj"))
    np.testing.assert_array_equal(meshes[0].faces, meshes[1].faces)
    np.testing.assert_allclose(meshes[0].vertices, meshes[1].vertices, atol=1e-6)


@pytest.mark.parametrize("words", [("--samples", "8"), ("--jitter", "published")])
def test_options_of_rays_are_none_of_meshes(export, words):
    code, folder, said = export(*words)
    assert code == 2
    assert words[0] in said
    assert not folder.exists()


def test_a_t_pose_has_the_legs_together(export):
    widths = {}
    for rest in ("star", "t"):
        code, folder, _ = export("--pose", "canonical", "--to", "obj", "--rest", rest)
        assert code == 0
        mesh = read_mesh(folder / "canonical.obj")
        below = mesh.vertices[mesh.vertices[:, 1] < np.quantile(mesh.vertices[:, 1], 0.1)]
        widths[rest] = np.ptp(below[:, 0])
    assert widths["t"] != pytest.approx(widths["star"], abs=0.01)


def test_a_clip_moves_the_mesh(export):
    code, folder, _ = export("--motion", "salsa_01_a")
    assert code == 0
    raw = (folder / "salsa_01_a.glb").read_bytes()
    document = json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])
    clip = clips()["salsa_01_a"].motion()
    accessor = document["accessors"][document["animations"][0]["samplers"][0]["input"]]
    assert accessor["count"] == len(clip)
    assert document["asset"]["extras"]["fps"] == clip.fps
    assert len(document["skins"][0]["joints"]) == 24


def test_recorded_frames_move_the_mesh_file_by_file(export):
    code, folder, _ = export("--pose", "motion", "--to", "obj", "--to", "ply", "--to", "glb", "--fps", "50")
    assert code == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "recorded.glb",
        *(f"recorded_{row:06d}.{end}" for row in range(3) for end in ("obj", "ply")),
    }
    first, last = (read_mesh(folder / f"recorded_{row:06d}.obj") for row in (0, 2))
    np.testing.assert_array_equal(first.faces, last.faces)
    assert np.abs(first.vertices - last.vertices).max() > 0.05


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--level", "0.3"], 3, "level"),
        (["--pose", "canonical", "--to", "npy"], 3, "npy is the record of recorded frames"),
        (["--pose", "frame", "--motion", "salsa_01_a"], 3, "moves nothing"),
        (["--pose", "frame", "--frames", "7:9"], 3, "frames 7:9"),
        (["--pose", "frame", "--view", "9"], 5, "no view '9'"),
        (["--motion", "no_such_clip"], 5, "no motion file, no run and no embedded clip"),
        (["--resolution", "4"], 3, "resolution"),
        (["--pose", "dance"], 3, "pose"),
    ],
)
def test_what_cannot_be_done_is_said(words, code, said, export):
    found, folder, text = export(*words)
    assert found == code
    assert said in " ".join(text.split())
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("everywhere", [0.09, -0.09])
def test_an_avatar_without_a_surface_says_what_to_check(everywhere, export, tmp_path, monkeypatch):
    monkeypatch.setattr("avatarctl_video_avatar.extract.FAR", 0.04)  # a body all near, or nowhere
    code, folder, text = export(
        "--weights", va_person.avatar_file(tmp_path, everywhere=everywhere), "--pose", "canonical"
    )
    assert code == 6
    assert "no surface near the body" in text
    assert "--data are of the same person" in " ".join(text.split())
    assert not folder.exists() or not list(folder.iterdir())


def test_normals_towards_the_camera_are_blue():
    square = Mesh(
        np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]), np.array([[0, 2, 1], [0, 3, 2]])
    )
    world = torch.eye(4)
    world[2, 3] = 4.0
    intrinsics = torch.tensor([[20.0, 0, 9.5], [0, 20, 9.5], [0, 0, 1]])
    shot = Shot(intrinsics, world, world, torch.eye(3), torch.zeros(3), 20, 20, "0", "0", 0)
    picture = mesh_files.normal_picture(square, shot)
    assert picture[10, 10].tolist() == [127, 127, 255, 255]
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    assert (picture[..., 3] == 255).sum() == 100  # 20 pixels of focal length, 4 m away: 10 pixels wide
