"""The networks of an avatar, and the avatar."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avatarctl_video_avatar.model import avatar as avatars
from avatarctl_video_avatar.model.avatar import Avatar, AvatarSizes, build, load
from avatarctl_video_avatar.model.nonrigid import NonRigid
from avatarctl_video_avatar.model.pose import PoseDecoder, rotations
from avatarctl_video_avatar.model.skeleton import bone_transforms
from avatarctl_video_avatar.model.skinning import shares
from avatarctl_video_avatar.sample import Pose

from avatarctl.body.tables import PARENTS
from avatarctl.checkpoints import Weights
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

SMALL = AvatarSizes(
    img_resolution=16, img_channels=8, hidden=64, features=8, skinning_hidden=16, pose_hidden=16
)
KINDS = [("triplane", "skinning"), ("mlp", "nonrigid")]


def some(sdf="triplane", deform="skinning") -> Avatar:
    """A small avatar whose parameters are far from their first values, in float64."""
    made, noise = (
        build(replace(SMALL, sdf=sdf, deform=deform), Noise.seeded(0, "avatar")),
        Noise.seeded(1, "a"),
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * noise.normal(parameter.shape))
    return made.double()


def points(count=12):
    return 0.5 * Noise.seeded(2, "points").normal((count, 3), torch.float64)


def whole(network, x, between, skip=None):
    """A network as published: every input is there, norms are applied layer by layer."""
    given, linears = x, network.linears()
    for number, linear in enumerate(linears):
        x = torch.cat([x, given], 1) / math.sqrt(2) if number == skip else x
        weight = linear.weight_v * linear.weight_g / linear.weight_v.norm(dim=1, keepdim=True)
        x = x @ weight.T + linear.bias
        x = between(x) if number < len(linears) - 1 else x
    return x


def softplus(x):
    return torch.nn.functional.softplus(x, beta=100)


def test_decoder_is_given_zeros_for_the_encoded_place():
    made, places = some(), points()
    with torch.no_grad():
        features = made.sdf_network.filtered()(places).view(-1, 3, 2, 4, 4)  # planes, C / 4, copies, 4
        features = features.permute(0, 3, 2, 4, 1).flatten(1)  # index f * 3 + plane
        given = torch.cat([places, torch.zeros(len(places), 36), features], 1)
        wanted = 0.1 * (2 * torch.sigmoid(whole(made.sdf_network.decoder, given, softplus)) - 1)
        torch.testing.assert_close(made.surface()(places), wanted, rtol=1e-9, atol=1e-12)


def test_plain_surface_is_given_zeros_for_the_encoded_place():
    made, places = some("mlp"), points()
    given = torch.cat([places, torch.zeros(len(places), 48)], 1)
    wanted = whole(made.sdf_network, given, softplus, skip=4)
    torch.testing.assert_close(made.surface()(places), wanted, rtol=1e-9, atol=1e-12)


def test_colour_is_given_zeros_for_the_encoded_view():
    made, noise = some(), Noise.seeded(3, "colour")
    given = [noise.normal((7, count), torch.float64) for count in (3, 3, 3, 8)]
    places, views, normals, features = given
    everything = torch.cat([places, views, torch.zeros(7, 36), normals, features], 1)
    wanted = torch.sigmoid(whole(made.color_network, everything, torch.relu))
    torch.testing.assert_close(made.colour()(*given), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sdf", ["triplane", "mlp"])
def test_distance_features_and_gradient_agree_with_all_outputs(sdf):
    made, places, step = some(sdf), points(), 1e-6
    with torch.no_grad():
        surface = made.surface()
        every, probe = surface(places), surface.probe(places)
        torch.testing.assert_close(surface.distance(places), every[:, 0])
        torch.testing.assert_close(probe.distance, every[:, 0])
        torch.testing.assert_close(surface.features(probe.hidden), every[:, 1:])
        differences = [
            (surface.distance(places + move) - surface.distance(places - move)) / (2 * step)
            for move in step * torch.eye(3, dtype=torch.float64)
        ]
        torch.testing.assert_close(probe.gradient, torch.stack(differences, 1), rtol=1e-5, atol=1e-6)
        assert surface.probe(places[:0]).gradient.shape == (0, 3)


def test_parameters_have_true_gradients_of_a_loss_of_slopes():
    made, places = some(), points(6).requires_grad_()

    def loss():
        values = made.surface()(places)
        (slopes,) = torch.autograd.grad(values[:, 0].sum(), places, create_graph=True)
        return ((slopes.norm(dim=1) - 1) ** 2).sum() + values[:, 1:].square().sum()

    loss().backward()
    network = made.sdf_network
    chosen = [
        network.planes,
        network.attn.qkv.weight,
        network.decoder.lin0.weight_v,
        network.decoder.lin3.bias,
    ]
    for parameter in chosen:
        way = Noise.seeded(5, "way").normal(parameter.shape, torch.float64)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(step * way)
            ends.append(float(loss().detach()))
            with torch.no_grad():
                parameter.sub_(step * way)
        wanted = (ends[0] - ends[1]) / 2e-5
        assert float((parameter.grad * way).sum()) == pytest.approx(wanted, rel=1e-4)


def literal_shares(logits):
    """The hierarchical softmax, joint after joint."""
    gate, parents = torch.sigmoid(logits), PARENTS["smpl"]
    p = [torch.tensor(0.0)] * 24
    p[0] = torch.tensor(1.0)
    for joint in range(1, 24):
        parent = parents[joint]
        if joint in (1, 12):
            own, three = gate[0 if joint == 1 else 24], logits[joint : joint + 3].softmax(0)
            for number in range(3):
                p[joint + number] = p[parent] * own * three[number]
            p[parent] = p[parent] * (1 - own)
        elif joint not in (2, 3, 13, 14):
            p[joint] = p[parent] * gate[joint]
            p[parent] = p[parent] * (1 - gate[joint])
    return torch.stack(p)


def test_shares_follow_the_skeleton_and_sum_to_one():
    logits = 2 * Noise.seeded(6, "logits").normal((9, 25))
    found = shares(logits)
    torch.testing.assert_close(found, torch.stack([literal_shares(row) for row in logits]))
    torch.testing.assert_close(found.sum(1), torch.ones(9))


def test_shares_are_single_precision_whatever_the_logits():
    assert shares(torch.zeros(2, 25, dtype=torch.float64)).dtype == torch.float32


def test_shares_of_no_points_are_none():
    assert shares(torch.zeros(0, 25)).shape == (0, 24)


def body_pose():
    noise = Noise.seeded(7, "pose")
    joints = 0.4 * noise.normal((24, 3))
    offsets = joints - torch.cat([torch.zeros(1, 3), joints[list(PARENTS["smpl"][1:])]])
    rotation = matrix_from_axis_angle_smpl(0.5 * noise.normal((24, 3)))
    return Pose(joints, torch.eye(4).expand(24, 4, 4), rotation, offsets, torch.zeros(69), joints)


def test_bones_take_joints_where_forward_kinematics_does():
    pose, turns = body_pose(), matrix_from_axis_angle_smpl(0.1 * Noise.seeded(8, "pose").normal((23, 3)))
    refined = torch.cat([pose.rotations[:1], pose.rotations[1:] @ turns])
    for given, local in ((None, pose.rotations), (turns, refined)):
        bones = bone_transforms(pose, given)
        _, wanted = forward_kinematics(local, pose.joints, PARENTS["smpl"])
        found = (bones[:, :3, :3] @ pose.joints[..., None])[..., 0] + bones[:, :3, 3]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_bones_start_from_star_pose():
    pose = body_pose()
    star = bone_transforms(replace(pose, rotations=pose.rotations.flip(0)))
    bones = bone_transforms(replace(pose, star=star))
    torch.testing.assert_close(bones @ star, bone_transforms(pose), rtol=1e-4, atol=1e-5)


def test_small_corrections_are_rotations_with_finite_gradients():
    vectors = torch.zeros(2, 3, requires_grad=True)
    made = rotations(vectors)
    made.sum().backward()
    assert torch.isfinite(vectors.grad).all()
    torch.testing.assert_close(made, torch.eye(3).expand(2, 3, 3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_a_fresh_pose_decoder_turns_nothing(leading):
    made = PoseDecoder(16)
    with torch.no_grad():
        made.reset(Noise.seeded(0, "pose"))
        found = made(Noise.seeded(1, "pose").normal((*leading, 69)))
    # The angle is at least sqrt(1e-5), about an axis whose length is nearly 0: the cosine alone is left.
    torch.testing.assert_close(found, torch.eye(3).expand(*leading, 23, 3, 3), rtol=0, atol=1e-4)


def non_rigid(seed=0):
    made, noise = NonRigid(), Noise.seeded(seed, "motion")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.3 * noise.normal(parameter.shape))
    return made


@torch.no_grad()
def test_non_rigid_motion_is_told_the_pose_from_its_step_on():
    made, places, pose = non_rigid(), points(4).float(), Noise.seeded(2, "pose").normal((69,))
    nothing = torch.zeros(69)
    moves = [made(places, told, step=9, kick_in=10, full_band=20) for told in (pose, nothing)]
    torch.testing.assert_close(*moves)
    moves = [made(places, told, step=10, kick_in=10, full_band=20) for told in (pose, nothing)]
    assert (moves[0] - moves[1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("step", [0, 7, 25, 60])
def test_non_rigid_motion_has_its_frequencies_one_after_the_other(step):
    made, places, pose = non_rigid(), points(4).float(), Noise.seeded(2, "pose").normal((69,))
    encoded = []
    for octave in range(6):
        phase = min(max(6 * step / 60 - octave, 0.0), 1.0)
        waves = [torch.sin(2**octave * places), torch.cos(2**octave * places)]
        encoded += [(1 - math.cos(math.pi * phase)) / 2 * wave for wave in waves]
    told = torch.cat(encoded, 1)
    x = torch.cat([pose.expand(4, 69), told], 1)
    for number, linear in enumerate(made.linears()):
        x = torch.cat([x, told], 1) if number == 4 else x
        x = x @ linear.weight.T + linear.bias
        x = torch.relu(x) if number < 6 else x
    torch.testing.assert_close(made(places, pose, step=step, full_band=60), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sdf", "deform"), KINDS)
def test_fresh_values_come_from_the_noise_alone(sdf, deform):
    sizes, before = replace(SMALL, sdf=sdf, deform=deform), torch.get_rng_state()
    first, second = (build(sizes, Noise.seeded(0, "avatar")).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.isfinite(tensor).all()
        assert tensor.any() or name.endswith(("progress", "bias")), name


def test_planes_start_with_the_values_of_their_network():
    made = build(SMALL, Noise.seeded(0, "avatar")).sdf_network
    row, column, middle = 3, 10, 7.5
    down, right = -(row - middle) / middle, (column - middle) / middle
    places = torch.tensor([[0, right, down], [right, 0, down], [right, down, 0]])
    with torch.no_grad():
        wanted = softplus(whole(made.sdf_para, places, softplus, skip=4))
    torch.testing.assert_close(made.planes[0, :, :, row, column].detach(), wanted)


def test_fresh_detail_depends_on_the_place_only():
    lin0 = build(SMALL, Noise.seeded(0, "avatar")).sdf_network.decoder.lin0
    assert lin0.weight_v[:, :3].all()
    assert not lin0.weight_v[:, 3:].any()
    torch.testing.assert_close(lin0.weight_g, lin0.weight_v.norm(dim=1, keepdim=True))


def test_without_gradients_the_surface_is_computed_once():
    made = some()
    with torch.no_grad():
        first = made.surface()
        assert made.surface() is first
        made.sdf_network.decoder.lin1.bias.add_(1.0)
        second = made.surface()
    assert second is not first
    assert made.surface() is not made.surface()


@pytest.mark.parametrize(
    ("sdf", "deform", "groups"),
    [
        ("triplane", "skinning", ["others", "pose_decoder", "skinning_model"]),
        ("triplane", "nonrigid", ["non_rigid_mlp", "others", "pose_decoder"]),
        ("mlp", "skinning", ["others", "pose_decoder", "skinning_model"]),
    ],
)
def test_groups_hold_each_parameter_once(sdf, deform, groups):
    made = Avatar(replace(SMALL, sdf=sdf, deform=deform))
    found = made.groups()
    assert sorted(found) == groups
    assert sorted(id(one) for group in found.values() for one in group) == sorted(map(id, made.parameters()))
    assert {id(one) for one in made.pose_decoder.parameters()} == set(map(id, found["pose_decoder"]))


def weights(made: Avatar, sizes=None) -> Weights:
    config = {"networks": {avatars.PART: sizes or made.sizes.stored()}}
    return Weights({avatars.PART: made.state_dict()}, config, "native", Path("mine.safetensors"))


@pytest.mark.parametrize(("sdf", "deform"), KINDS)
def test_a_stored_avatar_is_read_again(sdf, deform):
    made = build(replace(SMALL, sdf=sdf, deform=deform), Noise.seeded(0, "avatar"))
    found, cpu = load(weights(made), torch.device("cpu")), torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in found.parameters())
    trained = load(weights(made), cpu, frozen=False)
    assert all(parameter.requires_grad for parameter in trained.parameters())
    for name, tensor in made.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
        assert trained.state_dict()[name].data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sdf", "hash", "found sdf hash, deform skinning; expected triplane or mlp"),
        ("img_resolution", 24, "img_resolution is 24, expected a multiple of 16"),
        ("hidden", 32, "wrong shape"),
        ("hidden", "wide", "hidden: found wide"),
        ("hidden", 2, "a layer from 2 to -1 numbers"),
    ],
)
def test_sizes_that_are_not_those_of_the_tensors_are_told(name, value, words):
    made = build(SMALL, Noise.seeded(0, "avatar"))
    with pytest.raises(CheckpointError, match=words):
        load(weights(made, made.sizes.stored() | {name: value}), torch.device("cpu"))
