"""The functional body model against `smplx`, and against itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.files import read
from avatarctl.body.tables import PARENTS

FAMILIES = ("smpl", "smplh", "smplx")


@pytest.fixture(scope="module")
def bodies(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    return {family: read(make.write_body(folder, family)) for family in FAMILIES}


def draws(body, leading, seed=0):
    """Shape, expression, pose and place with a leading shape."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*leading, *shape, generator=generator)

    return normal(10), 0.5 * normal(body.num_joints, 3), normal(3), normal(body.expressions)


def smplx_body(body, betas, poses, transl, expression):
    """The same through the `smplx` package: joints and vertices."""
    count = betas.shape[:-1].numel()
    betas, transl, expression = (
        value.reshape(count, value.shape[-1]) for value in (betas, transl, expression)
    )
    poses = poses.reshape(count, -1, 3)
    words = {"betas": betas, "transl": transl, "global_orient": poses[:, 0]}
    first = {"smpl": 24, "smplh": 22, "smplx": 22}[body.family]
    words["body_pose"] = poses[:, 1:first].flatten(1)
    if body.family == "smplx":
        words |= {"jaw_pose": poses[:, 22], "leye_pose": poses[:, 23], "reye_pose": poses[:, 24]}
        words["expression"] = expression
    if body.family != "smpl":
        hands = poses[:, -30:]
        words |= {"left_hand_pose": hands[:, :15].flatten(1), "right_hand_pose": hands[:, 15:].flatten(1)}
    out = body.to_smplx()(**words)
    return out.joints[:, : body.num_joints], out.vertices


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_joints_and_vertices_agree_with_smplx(bodies, family, leading):
    body = bodies[family]
    betas, poses, transl, expression = draws(body, leading)

    posed = body.shape(betas, expression if body.expressions else None).pose(poses, transl)

    joints, vertices = smplx_body(body, betas, poses, transl, expression)
    # metres: a hundredth of a millimetre
    torch.testing.assert_close(posed.joints, joints.reshape(posed.joints.shape), rtol=0, atol=1e-5)
    found = posed.vertices(chunk=4)
    torch.testing.assert_close(found, vertices.reshape(found.shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_the_open_body_agrees_with_smplx(family):
    body = open_body(family)
    betas, poses, transl, expression = draws(body, (2,))

    posed = body.shape(betas, expression if body.expressions else None).pose(poses, transl)

    joints, vertices = smplx_body(body, betas[:, : body.num_betas], poses, transl, expression)
    torch.testing.assert_close(posed.joints, joints, rtol=0, atol=1e-5)
    torch.testing.assert_close(posed.vertices(), vertices, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_shape_for_many_poses_equals_a_shape_for_each(bodies, family):
    body = bodies[family]
    betas, poses, transl, _ = draws(body, (3,))

    one = body.shape(betas[:1].squeeze(0)).pose(poses, transl).vertices()
    many = body.shape(betas[:1].expand(3, -1)).pose(poses, transl).vertices()

    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)


def test_shapes_of_people_broadcast_over_their_frames(bodies):
    body = bodies["smplh"]
    betas, _, _, _ = draws(body, (2,))
    _, poses, transl, _ = draws(body, (2, 5))

    together = body.shape(betas).pose(poses, transl).vertices()

    apart = torch.stack(
        [body.shape(b).pose(p, t).vertices() for b, p, t in zip(betas, poses, transl, strict=True)]
    )
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)


def test_joints_left_out_of_the_pose_stay_at_rest(bodies):
    body = bodies["smplh"]
    _, poses, _, _ = draws(body, (2,))
    whole = torch.cat([poses[:, :22], torch.zeros(2, 30, 3)], dim=1)

    short = body.shape().pose(poses[:, :22])

    # The published axis-angle conversion turns a zero vector to the identity up to 1e-8.
    torch.testing.assert_close(short.vertices(), body.shape().pose(whole).vertices(), rtol=0, atol=1e-6)


def test_a_pose_of_no_frames_gives_no_vertices(bodies):
    posed = bodies["smplh"].shape().pose(torch.zeros(0, 22, 3), torch.zeros(0, 3))

    assert posed.joints.shape == (0, 52, 3)
    assert posed.vertices().shape == (0, 260, 3)


def test_too_many_joints_are_refused(bodies):
    with pytest.raises(ValueError, match="poses has 55 joints, smplh has 52"):
        bodies["smplh"].shape().pose(torch.zeros(55, 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_agree_with_finite_differences(bodies, family):
    body = bodies[family]
    double = {name: getattr(body, name).double() for name in (
        "template", "shape_directions", "pose_directions", "regressor", "weights")}  # fmt: skip
    body = replace(body, **double)
    betas, poses, transl, _ = (value.double().requires_grad_() for value in draws(body, ()))

    def some(betas, poses, transl):
        posed = body.shape(betas).pose(poses, transl)
        return posed.joints[::9], posed.vertices()[::40]

    assert torch.autograd.gradcheck(some, (betas, poses, transl), atol=1e-6)


def test_the_trees_are_those_of_the_licensed_files(make):
    assert {family: make.parents(family) for family in FAMILIES} == PARENTS


def test_to_another_device_keeps_everything_else(bodies):
    moved = bodies["smplx"].to("meta")

    assert moved.template.device.type == "meta"
    assert (moved.family, moved.parents) == ("smplx", PARENTS["smplx"])
