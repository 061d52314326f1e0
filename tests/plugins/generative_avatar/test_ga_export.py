"""The export target: people as files that other programs read, their skeletons, what cannot be done."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from avatarctl_generative_avatar import label, pipeline
from avatarctl_generative_avatar.deform import volumes
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import TRANSL, Template
from avatarctl_generative_avatar.export import figure_of, surface_of
from avatarctl_generative_avatar.model.generator import build
from avatarctl_generative_avatar.model.sizes import GENERATOR, GeneratorSizes
from avatarctl_generative_avatar.settings_export import Export
from pydantic import ValidationError
from torch.nn import functional

from avatarctl.body import open_body
from avatarctl.checkpoints import native
from avatarctl.cli.main import main
from avatarctl.device import Noise
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

SIZES = GeneratorSizes(img_resolution=32, plane_resolution=16, z_dim=8, w_dim=8, channel_max=8, sr_channels=8)


def weights_file(folder: Path, value: float = 0.0) -> Path:
    """A generator whose decoder adds the same value everywhere: the body's surface, in any colours."""
    made = build(SIZES, Noise.seeded(0, "generator"))
    state = made.state_dict()
    state["decoder.net.2.weight"][0] = 0
    state["decoder.net.2.bias"][0] = value
    sizes = {name: getattr(SIZES, name) for name in SIZES.__dataclass_fields__}
    config = {"parts": [GENERATOR], "networks": {GENERATOR: sizes}, "body": "open", "step": 1, "images": 4}
    tensors = {f"{GENERATOR}.{name}": tensor for name, tensor in state.items()}
    return native.save(folder / "small.safetensors", tensors, config)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Weights, signed distances on a grid half as fine as usual, and one label."""
    folder, body = tmp_path_factory.mktemp("export"), open_body("smpl")
    bare = Template.of(body, torch.zeros(1, 1, 2, 2, 2))
    sdf = volumes.distances(body, bare.vertices, bare.box.nodes((16, 64, 64)))
    np.save(folder / "sdf_smpl.npy", sdf.numpy())
    np.save(folder / "pose.npy", one_label().numpy())
    return weights_file(folder), folder / "sdf_smpl.npy", folder / "pose.npy"


def one_label() -> torch.Tensor:
    poses = 0.25 * torch.randn(1, 24, 3, generator=torch.Generator().manual_seed(1))
    poses[:, 0] = torch.tensor([math.pi, 0.0, 0.0])
    return label.made(poses, transl=torch.tensor([[0.1, 0.2, 0.0]]))


@pytest.fixture(scope="module")
def person(files):
    weights, sdf, poses = files
    people = pipeline.load(weights, sdf=sdf)
    return people.sample(1, 0, pipeline.labels_of(str(poses), people))[0]


@pytest.fixture
def export(files, tmp_path, capsys):
    """Run the command; its exit code, folder, and all it said."""
    weights, sdf, poses = files

    def run(*words):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        given = ["--weights", weights, "--sdf", sdf, "--poses", poses, "--voxels", "32", *words]
        code = main(["export", "generative-avatar", *map(str, given), "--out", str(out), "-q"])
        streams = capsys.readouterr()
        return code, out, streams.out + streams.err

    return run


def glb(path: Path) -> dict:
    """The JSON of a binary glTF."""
    content = path.read_bytes()
    (length,) = struct.unpack("<I", content[12:16])
    return json.loads(content[20 : 20 + length])


def test_the_skeleton_moves_the_surface_as_the_deformer_does(person):
    found = surface_of(person, 32)
    figure = figure_of(found, person.people.template)
    motions = Posing(person.people.template, person.label).transforms[0]
    places = torch.from_numpy(found.vertices + TRANSL).float()
    wanted = torch.einsum(
        "vj,jab,vb->va", found.weights, motions[:, :3], functional.pad(places, (0, 1), value=1)
    )
    local = matrix_from_axis_angle_smpl(label.poses(person.label)[0])
    world, places = forward_kinematics(local, figure.bones.joints, figure.bones.parents)
    steps = figure.vertices.float()[:, None] - figure.bones.joints  # [V, J, 3]
    moved = (world @ steps.unsqueeze(-1)).squeeze(-1) + places
    moved = (figure.weights[..., None] * moved).sum(1) + label.transl(person.label)
    rest = 1 - figure.weights.sum(1)  # the open body's weights are rounded
    torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-5 + float(rest.abs().max()))


def test_files_of_poses_stand_upright(person):
    for pose in ("canonical", "label"):
        found = surface_of(person, 32, pose)
        head, foot = (found.weights[:, joint] > 0.8 for joint in (15, 7))
        assert found.vertices[head][:, 1].min() > found.vertices[foot][:, 1].max() + 0.8
        assert found.mesh.volume() > 0
    rest = surface_of(person, 32)
    body = person.people.template.body.template
    assert np.abs(rest.vertices.min(0) - body.amin(0).numpy())[1] < 0.1
    assert np.abs(rest.vertices.max(0) - body.amax(0).numpy())[1] < 0.1


def test_published_surfaces_keep_their_axes(person):
    upside_down = surface_of(person, 32, "label", published=True)
    ours = surface_of(person, 32, "label")
    low, high = upside_down.vertices[:, 1].min(), upside_down.vertices[:, 1].max()
    assert abs(low + ours.vertices[:, 1].max()) < 0.15
    assert abs(high + ours.vertices[:, 1].min()) < 0.15


def test_people_leave_as_meshes_with_what_they_came_from(export, person):
    code, folder, text = export("--pose", "canonical", "--pose", "label", "--to", "obj", "--to", "ply")
    assert code == 0, text
    names = sorted(path.name for path in (folder / "meshes").iterdir())
    assert names == ["00000_canonical.obj", "00000_canonical.ply", "00000_label.obj", "00000_label.ply"]
    wanted = surface_of(person, 32, "label")
    for name in names[2:]:
        read = trimesh.load(folder / "meshes" / name, process=False)
        np.testing.assert_allclose(read.vertices, wanted.vertices, rtol=0, atol=1e-5)
        painted = np.asarray(read.visual.vertex_colors)[:, :3] / 255
        assert np.abs(painted - wanted.colours.numpy()).max() < 0.6 / 255
    with np.load(folder / "people" / "00000.npz") as arrays:
        torch.testing.assert_close(torch.from_numpy(arrays["ws"]), person.ws[0])
        torch.testing.assert_close(torch.from_numpy(arrays["label"]), one_label()[0])
    about = json.loads((folder / "people" / "00000.json").read_text())
    assert about["seed"] == 0
    assert np.asarray(about["label"]["poses"]).shape == (24, 3)


@pytest.mark.slow
def test_a_clip_moves_a_person(export):
    code, folder, text = export("--to", "glb", "--motion", "walk_2")
    assert code == 0, text
    made = glb(folder / "meshes" / "00000_walk_2.glb")
    assert len(made["skins"][0]["joints"]) == 24
    attributes = made["meshes"][0]["primitives"][0]["attributes"]
    assert {"POSITION", "NORMAL", "COLOR_0", "JOINTS_0", "WEIGHTS_0"} <= attributes.keys()
    assert len(made["animations"][0]["channels"]) > 15
    assert trimesh.load(folder / "meshes" / "00000_walk_2.glb").geometry


def test_at_rest_a_glb_has_a_skeleton_and_in_a_pose_none(export):
    code, folder, text = export("--to", "glb", "--pose", "canonical", "--pose", "label")
    assert code == 0, text
    rest, posed = (glb(folder / "meshes" / f"00000_{pose}.glb") for pose in ("canonical", "label"))
    assert "animations" not in rest
    assert len(rest["skins"]) == 1
    assert "skins" not in posed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"pose": ["label"], "motion": "walk_2"}, "moves nothing in --pose label"),
        ({"to": ["ply"], "motion": "walk_2"}, "moves nothing in --to ply"),
        ({"published_mesh": True, "motion": "walk_2"}, "is mirrored"),
        ({"voxels": 8}, "16"),
        ({"to": ["fbx"]}, "glb"),
    ],
)
def test_what_does_not_go_together_is_said(words, said):
    with pytest.raises(ValidationError, match=said):
        Export(**words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--motion", "no_such_clip"], 5, "no motion file, no run and no embedded clip"),
        (["--poses", "none.npy"], 5, "none.npy: not found"),
        (["--weights", "none.pkl"], 5, "none.pkl"),
    ],
)
def test_what_is_missing_is_said(words, code, said, export):
    found, folder, text = export(*words)
    assert said in " ".join(text.split())
    assert found == code
    assert not (folder / "meshes").exists()


def test_a_person_who_is_nowhere_is_said(export, tmp_path):
    code, _, text = export("--weights", weights_file(tmp_path, -1.0))
    assert code == 6
    assert "no surface near the body" in " ".join(text.split())
