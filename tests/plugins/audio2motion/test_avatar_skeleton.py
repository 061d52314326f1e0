"""The capture skeleton: joint states, skinning, and back (spec audio2motion 7.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.avatar.fields import Fields
from avatarctl_audio2motion.avatar.skeleton import Skeleton, read_skeleton
from scipy.spatial.transform import Rotation
from small_avatar import JOINTS, POSE, skeleton

from avatarctl.device import Noise
from avatarctl.errors import DataError


def read(**changes: Any) -> Skeleton:
    """The small skeleton with some fields replaced."""
    return read_skeleton(Fields(skeleton() | changes, "static_assets.pt"))


def poses(*leading: int) -> torch.Tensor:
    """Random body parameters."""
    return 0.5 * Noise.seeded(0, "poses").normal((*leading, POSE))


def matrices(channels: np.ndarray, bones: list[dict[str, Any]]) -> list[np.ndarray]:
    """Global 4x4 similarities of joint channels [J, 7], multiplied along the parents, float64."""
    found: list[np.ndarray] = []
    for (*shift, rx, ry, rz, log_scale), bone in zip(channels, bones, strict=True):
        turn = Rotation.from_quat(bone["PreRotation"]) * Rotation.from_euler("xyz", [rx, ry, rz])
        local = np.eye(4)
        local[:3, :3] = turn.as_matrix() * 2.0**log_scale
        local[:3, 3] = np.array(shift) + bone["TranslationOffset"]
        found.append(found[bone["Parent"]] @ local if bone["Parent"] < JOINTS else local)
    return found


def test_vertices_are_moved_by_matrices_along_the_parents():
    person, assets, pose = read(), skeleton(), poses()
    bones = assets["lbs_model_json"]["Skeleton"]["Bones"]
    transform, offsets = (
        np.array(assets["lbs_config_dict"][name]) for name in ("transform", "transform_offsets")
    )
    parameters = np.concatenate([pose.double().numpy(), assets["lbs_scale"]])
    moved = matrices((transform @ parameters + offsets[0]).reshape(-1, 7), bones)
    bind = matrices(offsets[0].reshape(-1, 7), bones)
    motions = np.stack([one @ np.linalg.inv(rest) for one, rest in zip(moved, bind, strict=True)])
    blended = np.einsum("nj,jab->nab", person.skin.double().numpy(), motions)
    rest = np.c_[assets["lbs_template_verts"], np.ones(len(person.template))]
    wanted = 10 * np.einsum("nab,nb->na", blended, rest)[:, :3]
    np.testing.assert_allclose(person.posed(pose).numpy(), wanted, rtol=1e-4, atol=1e-4)  # of values to 15


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_unposed_gives_back_the_offsets_that_were_posed(leading):
    person, pose = read(), poses(*leading)
    delta = 0.1 * Noise.seeded(1, "delta").normal((*leading, *person.template.shape))
    back = person.unposed(person.posed(pose, delta), pose)
    torch.testing.assert_close(back, delta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("leading", [(2,), (2, 3)])
def test_a_batch_of_poses_is_what_each_of_them_is(leading):
    person, pose = read(), poses(*leading)
    one = person.states(pose.reshape(-1, POSE)[-1])
    many = person.states(pose)
    for name in ("places", "quaternions", "scales"):
        last = getattr(many, name).flatten(0, len(leading) - 1)[-1]
        torch.testing.assert_close(last, getattr(one, name), rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_pose():
    person, pose = read(), poses(2).requires_grad_()
    person.posed(pose).square().sum().backward()
    assert (pose.grad.abs().sum(0) > 0).all()


def test_a_vertex_keeps_its_first_eight_joints_as_they_are():
    assets = skeleton()
    skinned = assets["lbs_model_json"]["SkinnedModel"]
    ten = [[joint % JOINTS, 0.1] for joint in range(10)]
    skinned["SkinningWeights"] = ten + skinned["SkinningWeights"][2:]
    skinned["SkinningOffsets"] = [0] + [offset + 8 for offset in skinned["SkinningOffsets"][1:]]
    person = read_skeleton(Fields(assets, "static_assets.pt"))
    torch.testing.assert_close(person.skin[0], torch.tensor([0.3, 0.3, 0.2]))


def broken(path: str, value: Any) -> dict[str, Any]:
    """The assets with one field replaced, or taken out."""
    assets = skeleton()
    *above, last = path.split(".")
    place: Any = assets
    for word in above:
        place = place[int(word) if word.isdigit() else word]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return assets


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("lbs_scale", None, "'lbs_scale' is missing"),
        ("lbs_scale", [[0.1]], "'lbs_scale' has shape [1, 1], expected [S]"),
        ("lbs_scale", [float("nan")], "'lbs_scale' holds NaN or infinity"),
        ("lbs_scale", [0.0] * 200, "'lbs_scale' has 200 numbers"),
        ("lbs_template_verts", "none", "'lbs_template_verts' is no array of numbers [N 3]"),
        ("global_scaling", [1.0, 2.0], "expected one number"),
        ("lbs_config_dict.transform", np.eye(4), "has shape [4, 4], expected [21 P]"),
        ("lbs_model_json.Skeleton.Bones", [], "'lbs_model_json.Skeleton.Bones' is no list of joints"),
        ("lbs_model_json.Skeleton.Bones.1.Parent", 2, "has joint 1 before its parent 2"),
        ("lbs_model_json.Skeleton.Bones.2.PreRotation", None, "Bones.2.PreRotation' is missing"),
        (
            "lbs_model_json.SkinnedModel.SkinningOffsets",
            [0, 0] + [50] * 24,
            "do not give each of 25 vertices",
        ),
        ("lbs_model_json.SkinnedModel.SkinningWeights", [[9, 1.0]] * 50, "some of 3 joints"),
    ],
)
def test_what_does_not_fit_is_named(path, value, words):
    with pytest.raises(DataError, match=r"static_assets\.pt") as caught:
        read_skeleton(Fields(broken(path, value), "static_assets.pt"))
    assert words in caught.value.message
    assert caught.value.hint
