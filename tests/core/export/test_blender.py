"""The Blender script, run in a stand-in that poses bones by Blender's rules, and in a real Blender."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.files import read
from avatarctl.export import blender
from avatarctl.geometry.rotations import quaternion_from_axis_angle
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips

ADD_ON = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3",
    "L_Foot", "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow",
    "R_Elbow", "L_Wrist", "R_Wrist",
)  # fmt: skip
"""Spec sparse-tracking 8."""
UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""The turn that makes a figure with y up stand along z."""
STANDARD = {"array", "base64", "math", "zlib", "bpy"}
REAL = Path(__file__).with_name("in_real_blender.py")


@pytest.fixture(scope="module")
def fake():
    spec = importlib.util.spec_from_file_location("fake_bpy", Path(__file__).with_name("fake_bpy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def motion():
    clip = clips()["salsa_01_a"].motion()[::40]
    return clip.replace(betas=torch.tensor([1.5, -1.0, 0.5]))


@pytest.fixture
def run(monkeypatch):
    """Runs a script in a stand-in, as a text that has no file."""

    def run_in(script, bpy):
        monkeypatch.setitem(sys.modules, "bpy", bpy)
        exec(compile(script.read_text(), "Text", "exec"), {"__name__": "__main__"})
        return bpy

    return run_in


def joints_of(body, motion):
    """Where the joints are, z up [T, J, 3] metres."""
    motion = motion.to_skeleton(body.family).to_up("z", body.shape(motion.betas).joints[0])
    return body.shape(motion.betas).pose(motion.poses, motion.root).joints.numpy()


def heads(fake, figure, names, frames):
    matrices = fake.world(figure, frames)
    return np.stack([matrices[name][:, :3, 3] for name in names], axis=1)


def add_figure(fake, bpy, body, motion, names, turns):
    """A figure as an add-on makes it: bones of the motion's body, each with rest axes of its own."""
    figure = bpy.add("SMPL-male", fake.Armature("SMPL-male"))
    rest = body.shape(motion.betas).joints.numpy()
    for joint, name in enumerate(names):
        matrix = UPRIGHT.copy()
        matrix[:3, :3] = matrix[:3, :3] @ turns[joint]
        matrix[:3, 3] = UPRIGHT[:3, :3] @ rest[joint]
        parent = names[body.parents[joint]] if joint else None
        figure.data.bones.items[name] = fake.Bone(name, parent, matrix)
    return figure


def test_the_bones_are_called_as_the_add_on_calls_them():
    assert tuple(blender.bone_names("smplh")[:22]) == ADD_ON
    assert blender.bone_names("smpl")[22:] == ["L_Hand", "R_Hand"]
    assert blender.bone_names("smplx")[22:26] == ["Jaw", "L_Eye", "R_Eye", "L_Index1"]


def test_the_script_is_python_3_7_and_needs_blender_alone(motion, tmp_path):
    text = blender.write(motion, open_body(), tmp_path / "a.py").read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {alias.name for node in imports for alias in node.names} == STANDARD
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("family", "up", "version"),
    [("smpl", "z", (2, 83, 0)), ("smplh", "y", (4, 4, 0)), ("smplx", "z", (5, 0, 0))],
)
def test_the_built_figure_moves_as_the_body_does(fake, run, make, motion, tmp_path, family, up, version):
    body = read(make.write_body(tmp_path, "smpl")) if family == "smpl" else open_body(family)
    turned = motion.to_up(up, body.shape(motion.betas).joints[0])

    bpy = run(blender.write(turned, body, tmp_path / "a.py"), fake.Blender(version))

    (figure,) = bpy.armatures()
    found = heads(fake, figure, blender.bone_names(family), len(motion))
    np.testing.assert_allclose(found, joints_of(body, motion), atol=1e-5)  # metres, float32
    groups = {curve.group for curve in figure.animation_data.action.curves.values()}
    assert ("L_Hip" in groups) == (version != (4, 4, 0))


@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_the_mesh_is_skinned_to_the_bodys_vertices(fake, run, motion, tmp_path, family):
    body = open_body(family)
    bpy = run(blender.write(motion, body, tmp_path / "a.py"), fake.Blender())

    (skinned,) = [thing for thing in bpy.scene.objects if thing.parent is not None]
    weights = body.weights.clone()  # the four strongest joints of a vertex, as in glTF
    weights.scatter_(1, torch.from_numpy(np.argsort(-weights.numpy(), axis=1, kind="stable")[:, 4:]), 0)
    shown = replace(
        body,
        weights=weights / weights.sum(1, keepdim=True),
        pose_directions=torch.zeros_like(body.pose_directions),
    )
    turned = motion.to_skeleton(family)
    expected = shown.shape(motion.betas).pose(turned.poses, turned.root).vertices().numpy()
    np.testing.assert_allclose(fake.deformed(skinned, len(motion)), expected, atol=2e-5)  # metres
    np.testing.assert_array_equal(skinned.data.faces, body.faces.numpy())


def test_the_add_ons_figure_gets_the_published_keys(fake, run, motion, tmp_path):
    body, bpy = open_body(), fake.Blender()
    figure = add_figure(fake, bpy, body, motion, ADD_ON, [np.eye(3)] * 22)
    before = len(bpy.scene.objects)

    run(blender.write(motion, body, tmp_path / "a.py"), bpy)

    assert len(bpy.scene.objects) == before
    assert figure.rotation_euler == (-np.pi / 2, 0, 0)
    action = figure.animation_data.action
    np.testing.assert_array_equal(action.track("location", 3, None), motion.root.numpy())
    for joint, name in enumerate(ADD_ON):
        keys = action.track(f'pose.bones["{name}"].rotation_quaternion', 4, None)
        expected = quaternion_from_axis_angle(motion.poses[:, joint].double()).numpy()
        signs = np.sign((keys * expected).sum(1, keepdims=True))  # q and -q are one rotation
        np.testing.assert_allclose(keys, signs * expected, atol=1e-6)


def test_a_figure_with_other_names_and_bone_axes_moves_alike(fake, run, motion, tmp_path):
    body, bpy = open_body("smplx"), fake.Blender()
    names = [name.replace("L_", "left_").replace("R_", "right_").lower() for name in ADD_ON]
    turns = np.linalg.qr(np.random.default_rng(0).normal(size=(22, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    figure = add_figure(fake, bpy, body, motion, names, turns)

    run(blender.write(motion, body, tmp_path / "a.py"), bpy)

    found = heads(fake, figure, names, len(motion))
    np.testing.assert_allclose(found, joints_of(body, motion)[:, :22], atol=1e-5)


def test_what_is_animated_or_lacks_joints_is_left_alone(fake, run, motion, tmp_path):
    body, bpy = open_body(), fake.Blender()
    animated = add_figure(fake, bpy, body, motion, ADD_ON, [np.eye(3)] * 22)
    animated.animation_data_create().action = kept = bpy.data.actions.new("theirs")
    partial = add_figure(fake, bpy, body, motion, ADD_ON[:21], [np.eye(3)] * 21)
    script = blender.write(motion, body, tmp_path / "walk.py")

    run(script, bpy)
    run(script, bpy)

    assert (animated.animation_data.action, kept.curves, partial.animation_data) == (kept, {}, None)
    assert [thing.name for thing in bpy.armatures()[2:]] == ["walk", "walk.001"]


def test_the_scene_gets_rate_and_length(fake, run, motion, tmp_path):
    for fps in (60.0, 29.97, 0.4):
        scene = run(
            blender.write(motion.replace(fps=fps), open_body(), tmp_path / "a.py"), fake.Blender()
        ).scene
        assert scene.render.fps / scene.render.fps_base == pytest.approx(fps)
        assert isinstance(scene.render.fps, int)
        assert (scene.frame_start, scene.frame_end) == (0, len(motion) - 1)


def test_the_first_scenes_cube_is_hidden_and_a_saved_files_cube_is_not(fake, run, motion, tmp_path):
    script = blender.write(motion, open_body(), tmp_path / "a.py")
    for path, hidden in (("", True), ("mine.blend", False)):
        cube = run(script, fake.Blender(filepath=path)).data.objects["Cube"]
        assert (cube.hidden, cube.hide_render) == (hidden, hidden)


def test_quaternions_never_jump_to_the_other_sign(fake, run, tmp_path):
    turns = torch.zeros(100, 22, 3)
    turns[:, 0, 1] = torch.linspace(0, 6 * torch.pi, 100)  # three turns, a sign of its own at each pi
    script = blender.write(Motion(turns, torch.zeros(100, 3), 30.0), open_body(), tmp_path / "a.py")
    (figure,) = run(script, fake.Blender()).armatures()
    keys = figure.animation_data.action.track('pose.bones["Pelvis"].rotation_quaternion', 4, None)
    assert ((keys[1:] * keys[:-1]).sum(1) > 0).all()


def test_only_joints_that_move_and_the_bodys_have_keys(fake, run, motion, tmp_path):
    flat = motion.replace(poses=torch.zeros(len(motion), 52, 3))
    flat.poses[3, 40, 0] = 0.5
    (figure,) = run(blender.write(flat, open_body(), tmp_path / "a.py"), fake.Blender()).armatures()
    paths = {path for path, _ in figure.animation_data.action.curves}
    moving = (*ADD_ON, blender.bone_names("smplh")[40])
    assert paths == {"location", *(f'pose.bones["{name}"].rotation_quaternion' for name in moving)}


@pytest.mark.parametrize("name", ['it\'s {a} "walk"', "walk\nimport os", "back\\slash"])
def test_any_file_name_makes_a_script_that_runs(fake, run, motion, tmp_path, name):
    bpy = run(blender.write(motion, open_body(), tmp_path / f"{name}.py"), fake.Blender())
    assert bpy.armatures()[0].name == " ".join(name.split())


@pytest.mark.skipif(
    not os.environ.get("AVATARCTL_BPY"), reason="AVATARCTL_BPY is not a Python that has the package bpy"
)
@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_a_real_blender_moves_the_joints_and_the_mesh_alike(fake, run, motion, tmp_path, family):
    body = open_body(family)
    script = blender.write(motion, body, tmp_path / "a.py")
    found, python = tmp_path / "found.npz", os.environ["AVATARCTL_BPY"]
    subprocess.run([python, REAL, script, found, *blender.bone_names(family)], check=True, timeout=120)

    (skinned,) = [thing for thing in run(script, fake.Blender()).scene.objects if thing.parent is not None]
    with np.load(found) as archive:
        np.testing.assert_allclose(archive["joints"], joints_of(body, motion), atol=5e-5)
        np.testing.assert_allclose(archive["vertices"], fake.deformed(skinned, len(motion)), atol=5e-5)
