"""The glTF writer: read back by an independent reader, posed by the file's own numbers, and validated."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from avatarctl.body import open_body
from avatarctl.body.files import read
from avatarctl.body.tables import NAMES, PARENTS
from avatarctl.export import gltf
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl.geometry.skinning import blend
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips

TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


class Glb:
    """A glTF binary file, read without the code under test."""

    def __init__(self, path):
        raw = Path(path).read_bytes()
        magic, version, length = struct.unpack_from("<4sII", raw)
        assert (magic, version, length) == (b"glTF", 2, len(raw))
        size, kind = struct.unpack_from("<I4s", raw, 12)
        assert kind == b"JSON"
        self.document = json.loads(raw[20 : 20 + size])
        self.binary_size, kind = struct.unpack_from("<I4s", raw, 20 + size)
        assert kind == b"BIN\0"
        self.binary = raw[28 + size :]
        assert self.binary_size == len(self.binary)

    def array(self, index):
        accessor = self.document["accessors"][index]
        view = self.document["bufferViews"][accessor["bufferView"]]
        width = WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        values = np.frombuffer(
            self.binary, TYPES[accessor["componentType"]], accessor["count"] * width, view["byteOffset"]
        ).reshape(accessor["count"], width)
        assert values.nbytes == view["byteLength"]
        if "min" in accessor:
            assert accessor["min"] == values.min(0).tolist()
            assert accessor["max"] == values.max(0).tolist()
        return values

    def attribute(self, name):
        return self.array(self.document["meshes"][0]["primitives"][0]["attributes"][name])

    def channels(self):
        """Key values by node and path."""
        animation = self.document["animations"][0]
        return {
            (channel["target"]["node"], channel["target"]["path"]): self.array(
                animation["samplers"][channel["sampler"]]["output"]
            )
            for channel in animation["channels"]
        }

    def posed(self, frame):
        """The skinned vertices of a frame [V, 3], by the glTF specification."""
        nodes, channels = self.document["nodes"], self.channels()
        world = {}

        def visit(node, above):
            place = np.array(nodes[node].get("translation", [0.0, 0.0, 0.0]))
            matrix = np.eye(4)
            if (node, "rotation") in channels:
                matrix[:3, :3] = rotation(channels[node, "rotation"][frame])
            matrix[:3, 3] = (
                channels[node, "translation"][frame] if (node, "translation") in channels else place
            )
            world[node] = above @ matrix
            for child in nodes[node].get("children", []):
                visit(child, world[node])

        for node in self.document["scenes"][0]["nodes"]:
            visit(node, np.eye(4))
        skin = self.document["skins"][0]
        binds = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moves = np.stack([world[node] @ bind for node, bind in zip(skin["joints"], binds, strict=True)])
        joints, weights = self.attribute("JOINTS_0"), self.attribute("WEIGHTS_0")
        vertices = np.concatenate([self.attribute("POSITION"), np.ones((len(joints), 1))], axis=1)
        return np.einsum("vk,vkij,vj->vi", weights, moves[joints], vertices)[:, :3]


def rotation(quaternion):
    x, y, z, w = quaternion.astype(float) / np.linalg.norm(quaternion.astype(float))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def without_correctives(body, *, normalised):
    """The body that glTF can show: no pose correctives; `normalised`: four joints a vertex at most."""
    weights = body.weights.clone()
    if normalised:
        weak = np.argsort(-weights.numpy(), axis=1, kind="stable")[:, 4:]
        weights.scatter_(1, torch.from_numpy(weak), 0)
        weights = weights / weights.sum(1, keepdim=True)
    return replace(body, weights=weights, pose_directions=torch.zeros_like(body.pose_directions))


@pytest.fixture(scope="module")
def motion():
    clip = clips()["salsa_01_a"].motion()[::40]
    return clip.replace(betas=torch.tensor([1.5, -1.0, 0.5]))


@pytest.fixture(scope="module", params=["smpl", "smplh", "smplx"])
def case(request, motion, make, tmp_path_factory):
    """A body of each family, and the motion written on it."""
    folder = tmp_path_factory.mktemp(request.param)
    body = read(make.write_body(folder, "smpl")) if request.param == "smpl" else open_body(request.param)
    return body, Glb(gltf.write(motion, body, folder / "motion.glb"))


def order(body):
    """The body's vertex of each vertex in the file: seams of the texture double some."""
    if "vt" not in body.extras:
        return np.arange(len(body.template))
    corners = np.stack([body.faces.numpy().reshape(-1), body.extras["ft"].numpy().reshape(-1)], axis=1)
    return np.unique(corners, axis=0)[:, 0]


def test_the_files_own_skin_and_animation_pose_the_bodys_vertices(case, motion):
    body, glb = case
    turned = motion.to_skeleton(body.family)
    shown = without_correctives(body, normalised=True).shape(motion.betas)
    expected = shown.pose(turned.poses, turned.root).vertices().numpy()
    for frame in range(0, len(motion), 2):
        found = glb.posed(frame)
        found = np.stack([found[:, 0], -found[:, 2], found[:, 1]], axis=1)  # to z up
        np.testing.assert_allclose(found, expected[frame][order(body)], atol=1e-4)  # metres


def test_four_joints_a_vertex_are_enough_for_all_but_a_few_vertices(case, motion):
    body, glb = case
    turned = motion.to_skeleton(body.family)
    shown = without_correctives(body, normalised=False).shape(motion.betas)
    expected = shown.pose(turned.poses[2:3], turned.root[2:3]).vertices()[0].numpy()
    found = glb.posed(2)
    found = np.stack([found[:, 0], -found[:, 2], found[:, 1]], axis=1)
    error = np.linalg.norm(found - expected[order(body)], axis=1)
    assert np.quantile(error, 0.95) < 1e-3  # metres
    assert error.max() < 0.02


def test_nodes_are_the_joints_by_name_and_parent(case):
    body, glb = case
    nodes = glb.document["nodes"]
    assert [node["name"] for node in nodes[: body.num_joints]] == list(NAMES[body.family])
    parents = {child: node for node, about in enumerate(nodes) for child in about.get("children", [])}
    assert [parents.get(joint, -1) for joint in range(body.num_joints)] == list(PARENTS[body.family])
    assert glb.document["asset"]["generator"].startswith("avatarctl ")


def test_weights_sum_to_one_and_normals_to_unit_length(case):
    _, glb = case
    joints, weights = glb.attribute("JOINTS_0"), glb.attribute("WEIGHTS_0")
    assert joints.dtype == np.uint8
    np.testing.assert_allclose(weights.sum(1), 1, atol=2e-7)
    assert (joints[weights == 0] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(glb.attribute("NORMAL"), axis=1), 1, atol=1e-5)


def test_quaternions_are_unit_and_never_jump_to_the_other_sign(tmp_path):
    turns = torch.zeros(100, 22, 3)
    turns[:, 0, 1] = torch.linspace(0, 6 * torch.pi, 100)  # three turns about y, a sign of its own at each pi
    motion = Motion(turns, torch.zeros(100, 3), 30.0, up="y")
    keys = Glb(gltf.write(motion, open_body(), tmp_path / "a.glb")).channels()[0, "rotation"]
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-6)
    assert ((keys[1:] * keys[:-1]).sum(1) > 0).all()


def test_key_times_are_those_of_the_frames(case, motion):
    _, glb = case
    sampler = glb.document["animations"][0]["samplers"][0]
    times = glb.array(sampler["input"])[:, 0]
    np.testing.assert_allclose(times, np.arange(len(motion)) / 60.0, atol=1e-6)
    assert {one["input"] for one in glb.document["animations"][0]["samplers"]} == {sampler["input"]}
    assert "min" in glb.document["accessors"][sampler["input"]]


def test_trimesh_loads_the_mesh_at_rest_with_its_shape(motion, tmp_path):
    body = open_body()
    scene = trimesh.load(gltf.write(motion, body, tmp_path / "a.glb"))
    (mesh,) = scene.geometry.values()
    expected = body.shape(motion.betas).vertices.numpy()
    np.testing.assert_allclose(mesh.bounds, [expected.min(0), expected.max(0)], atol=1e-6)
    assert len(mesh.faces) == len(body.faces)


@pytest.fixture(scope="module")
def bent():
    """A body in another pose than rest, as a figure of colours and weights, and its binds."""
    body = open_body("smpl")
    joints = body.rest_joints.double()
    poses = torch.zeros(24, 3, dtype=torch.float64)
    poses[1, 2], poses[18, 1] = 0.7, -0.4
    local = matrix_from_axis_angle(poses)
    world, places = forward_kinematics(local, joints, body.parents)
    moves = torch.eye(4, dtype=torch.float64).repeat(24, 1, 1)
    moves[:, :3, :3], moves[:, :3, 3] = world, places
    vertices = blend(body.template.double(), body.weights.double(), world, places, joints)
    colours = torch.linspace(0, 1, len(vertices))[:, None].expand(-1, 3)
    bones = gltf.Bones("smpl", joints)
    return gltf.Figure(vertices, body.faces, colours, bones, body.weights, torch.linalg.inv(moves))


def test_a_figure_in_any_pose_follows_its_bones_from_there(bent, motion, tmp_path):
    glb = Glb(gltf.write_figure(bent, tmp_path / "a.glb", motion))
    bones, turned = bent.bones, motion.to_skeleton("smpl").to_up("y", bent.bones.joints[0])
    joints, weights = gltf.strongest(bent.weights)
    full = torch.zeros_like(bent.weights).scatter_add(
        1, torch.from_numpy(joints).long(), torch.from_numpy(weights)
    )
    for frame in (0, 3):
        local = matrix_from_axis_angle(turned.body_poses(24)[frame].double())
        world, places = forward_kinematics(local, bones.joints, bones.parents, turned.root[frame].double())
        moves = torch.eye(4, dtype=torch.float64).repeat(24, 1, 1)
        moves[:, :3, :3], moves[:, :3, 3] = world, places
        moves = moves @ bent.binds
        expected = blend(
            bent.vertices, full.double(), moves[:, :3, :3], moves[:, :3, 3], torch.zeros_like(bones.joints)
        )
        np.testing.assert_allclose(glb.posed(frame), expected.numpy(), atol=1e-5)  # metres


def test_colours_of_a_figure_are_linear_light(bent, tmp_path):
    glb = Glb(gltf.write_figure(bent, tmp_path / "a.glb"))
    light = glb.attribute("COLOR_0")
    assert light[0].tolist() == [0, 0, 0]
    assert light[-1].tolist() == [1, 1, 1]
    assert light[len(light) // 2, 0] == pytest.approx(0.214, abs=1e-3)  # middle grey of sRGB
    assert glb.document["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] == [1, 1, 1, 1]
    assert "animations" not in glb.document


def test_a_figure_without_bones_is_a_mesh_alone(bent, tmp_path):
    alone = replace(bent, bones=None, weights=None, binds=None)
    glb = Glb(gltf.write_figure(alone, tmp_path / "a.glb"))
    assert glb.document["nodes"] == [{"name": "body", "mesh": 0}]
    assert not {"skins", "animations"} & glb.document.keys()
    np.testing.assert_allclose(glb.attribute("POSITION"), bent.vertices.numpy(), atol=1e-6)


def validator():
    """The node_modules folder with gltf-validator, or an empty string."""
    folder = os.environ.get("AVATARCTL_GLTF_VALIDATOR", "")
    return folder if shutil.which("node") and (Path(folder or "-") / "gltf-validator").is_dir() else ""


@pytest.mark.skipif(
    not validator(),
    reason="no node, or AVATARCTL_GLTF_VALIDATOR is not a node_modules folder with gltf-validator",
)
@pytest.mark.parametrize("family", ["smpl", "smplh", "smplx"])
def test_the_official_validator_has_no_errors_and_no_warnings(family, motion, make, tmp_path):
    body = read(make.write_body(tmp_path, "smpl")) if family == "smpl" else open_body(family)
    assert_valid(gltf.write(motion, body, tmp_path / "motion.glb"))


@pytest.mark.skipif(not validator(), reason="no node, or no gltf-validator, as above")
@pytest.mark.parametrize("kind", ["moving", "at rest", "alone"])
def test_the_official_validator_accepts_figures(kind, bent, motion, tmp_path):
    figure = replace(bent, bones=None, weights=None, binds=None) if kind == "alone" else bent
    assert_valid(gltf.write_figure(figure, tmp_path / "a.glb", motion if kind == "moving" else None))


def assert_valid(path):
    done = subprocess.run(
        ["node", "-e", VALIDATE, str(path)],
        env=os.environ | {"NODE_PATH": validator()},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
