"""Stage 2's network: its fast path against the whole first layer in each pass, conditions, normalisation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from avatarctl_ego_hmr.model.backbone import BackboneSizes
from avatarctl_ego_hmr.model.diffusion import (
    NUMBERS,
    Condition,
    DiffusionSizes,
    Features,
    PoseDiffusion,
    sinusoids,
    time_table,
)
from avatarctl_ego_hmr.model.visibility import visible
from avatarctl_ego_hmr.views import View
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

TINY = DiffusionSizes(
    backbone=BackboneSizes(width=4, blocks=(1, 1)),
    point_hidden=8,
    point_features=6,
    place_hidden=5,
    place_features=4,
    latent=12,
    hidden=16,
    layers=2,
    head=12,
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32; sums are in another order


def network_of(sizes: DiffusionSizes = TINY) -> PoseDiffusion:
    torch.manual_seed(0)
    found = PoseDiffusion(sizes).eval()
    for tensor in found.diffusion_model.parameters():  # the first ranges are so small that little passes
        torch.nn.init.normal_(tensor, 0, 0.3)
    found.pose_mean.copy_(0.3 * torch.randn(NUMBERS))
    found.pose_std.fill_(0.25)
    return found


@pytest.fixture(scope="module")
def network() -> PoseDiffusion:
    return network_of()


def views(count: int = 3) -> View:
    noise = Noise.seeded(0, "views")
    return View(
        image=noise.normal((count, 3, 64, 64)),
        focal=1450 + 10 * noise.normal((count,)),
        centre=torch.tensor([960.0, 540.0]) + noise.normal((count, 2)),
        box_centre=torch.tensor([1000.0, 600.0]) + 60 * noise.normal((count, 2)),
        box_size=600 + 40 * noise.normal((count,)),
        points=noise.normal((count, 30, 3)),
        detected=(noise.uniform((count, 25)) > 0.4)
        | (torch.arange(count) == 1)[:, None],  # one is seen whole
    )


def given(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Translations, noisy poses and steps."""
    noise = Noise.seeded(1, "given")
    return noise.normal((count, 3)), noise.normal((count, NUMBERS)), noise.integers(0, 50, (count,))


def plain(
    network: PoseDiffusion, features: Features, seen: Tensor, x: Tensor, steps: Tensor, fuse: bool
) -> Tensor:
    """The denoiser as published: all numbers of each joint pass the whole first layer, in each pass."""

    def once(told: Tensor) -> Tensor:
        every = (
            features.image[:, None] * told[..., None],
            features.other[:, None].expand(-1, 24, -1),
            network.input_process["poseEmbedding"](x.unflatten(1, (24, 6))),
            network.embed_timestep(steps)[:, None].expand(-1, 24, -1),
        )
        made: Tensor = network.diffusion_model(torch.cat(every, dim=-1))
        return made

    conditioned = once(seen)
    if not fuse:
        return conditioned.flatten(1)
    return torch.where(seen[..., None], conditioned, once(torch.zeros_like(seen))).flatten(1)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("is_training", [False, True])
def test_the_fast_path_is_the_plain_one_with_all_gradients(fuse, is_training):
    network = network_of().train(is_training and not fuse)  # fusion is for evaluation
    view, (transl, x, steps) = views(), given()
    x.requires_grad_(True)
    weigh = Noise.seeded(2, "weights").normal((3, NUMBERS))
    results = []
    for is_fast in (True, False):
        features, seen = network.features(view, transl), visible(view.detected, loosen=True)
        if is_fast:
            made = network(x, steps, network.condition(view, transl, loosen=True), fuse=fuse)
        else:
            made = plain(network, features, seen, x, steps, fuse)
        # Not the head of the shape, which has no part in poses.
        parameters = [one for name, one in network.named_parameters() if "beta_layer" not in name]
        results.append([made, *torch.autograd.grad((made * weigh).sum(), [x, *parameters])])
    assert all(one.abs().sum() > 0 for one in results[1][:2])
    for ours, wanted in zip(*results, strict=True):
        scale = max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(ours / scale, wanted / scale, rtol=1e-3, atol=2e-5)


def test_joints_that_are_not_seen_come_from_the_room_alone(network):
    view, (transl, x, steps) = views(), given()
    condition = network.condition(view, transl, loosen=False)
    with torch.no_grad():
        fused = network(x, steps, condition, fuse=True).unflatten(1, (24, 6))
        told = network(x, steps, condition).unflatten(1, (24, 6))
        other = replace(view, image=view.image.flip(0))
        hidden = network(x, steps, network.condition(other, transl, loosen=False), fuse=True)
    seen = condition.visible
    assert seen.any()
    assert not seen.all()
    torch.testing.assert_close(fused[seen], told[seen], **CLOSE)
    assert not torch.allclose(fused[~seen], told[~seen], **CLOSE)
    # What the picture shows makes no difference to them.
    torch.testing.assert_close(hidden.unflatten(1, (24, 6))[~seen], fused[~seen], **CLOSE)


def test_rows_of_a_condition_serve_several_samples(network):
    view, (transl, x, steps) = views(), given()
    with torch.no_grad():
        condition = network.condition(view, transl, loosen=True)
        repeated = condition[torch.tensor([2, 0, 2])]
        made = network(x, steps, repeated, fuse=True)
        for row, image in enumerate((2, 0, 2)):
            one = slice(image, image + 1)
            alone = network.condition(view[one], transl[one], loosen=True)
            wanted = network(x[row : row + 1], steps[row : row + 1], alone, fuse=True)
            torch.testing.assert_close(made[row : row + 1], wanted, **CLOSE)
    assert isinstance(repeated, Condition)
    assert len(repeated) == 3
    torch.testing.assert_close(repeated.betas[0], network.betas(condition)[2])


def test_a_withheld_image_changes_the_pose_and_not_the_shape(network):
    view, (transl, x, steps) = views(), given()
    keep = torch.tensor([True, False, True])
    with torch.no_grad():
        whole = network.condition(view, transl, loosen=True)
        some = network.condition(view, transl, loosen=True, mask=keep)
        blind = network(x, steps, replace(whole, visible=whole.visible & False), fuse=True)
        made = network(x, steps, some)
    torch.testing.assert_close(made[1], blind[1], **CLOSE)
    torch.testing.assert_close(made[keep], network(x, steps, whole)[keep], **CLOSE)
    torch.testing.assert_close(some.betas, whole.betas)


def test_where_all_is_withheld_neither_picture_nor_room_nor_place_is_told():
    network, (transl, x, steps) = network_of(replace(TINY, only_mask_img_cond=False)), given()
    nobody = torch.zeros(3, dtype=torch.bool)
    with torch.no_grad():
        first = network.condition(views(), transl, loosen=True, mask=nobody)
        second = network.condition(views()[torch.tensor([1, 2, 0])], -transl, loosen=True, mask=nobody)
        torch.testing.assert_close(network(x, steps, first), network(x, steps, second), **CLOSE)


def test_points_are_seen_from_the_body_so_that_both_may_move_together(network):
    view, (transl, *_) = views(), given()
    move = torch.tensor([0.5, -1.0, 2.0])
    moved = replace(view, points=view.points + move)
    scene = slice(0, TINY.point_features)
    with torch.no_grad():
        here = network.features(view, transl).other[:, scene]
        there = network.features(moved, transl + move).other[:, scene]
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)
        seen_from_camera = network_of(replace(TINY, scene_cano=False))
        given_alike = seen_from_camera.features(view, transl).other[:, scene]
        torch.testing.assert_close(
            seen_from_camera.features(view, transl + move).other[:, scene], given_alike
        )


@pytest.mark.parametrize("left_out", ["with_focal_length", "with_cam_center", "with_bbox_info"])
def test_what_is_not_to_be_told_has_no_part_in_the_condition(left_out):
    sizes = replace(TINY, **{left_out: False})
    features = network_of(sizes).features(views(), given()[0])
    assert features.image.shape[1] + features.other.shape[1] == sizes.condition < TINY.condition


def test_rotations_go_to_normalised_poses_and_back(network):
    matrices = matrix_from_axis_angle_smpl(Noise.seeded(0, "poses").normal((4, 24, 3)))
    x = network.normalised(matrices)
    torch.testing.assert_close(network.matrices(x), matrices, rtol=0, atol=1e-5)
    torch.testing.assert_close(network.poses_from(x)[:, 6:12], matrices[:, 1, :, :2].flatten(1))


def test_the_table_of_steps_has_sines_and_cosines_in_turn():
    table = time_table(6)
    assert table.shape == (5000, 6)
    angles = 17 * 10000 ** (-torch.arange(0, 6, 2, dtype=torch.float64) / 6)
    torch.testing.assert_close(table[17, 0::2].double(), angles.sin(), rtol=0, atol=2e-6)
    torch.testing.assert_close(table[17, 1::2].double(), angles.cos(), rtol=0, atol=2e-6)
    assert torch.equal(sinusoids(torch.tensor([3, 17]), 6), table[[3, 17]])
