"""Volume rendering of an avatar."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_video_avatar.model import rendering
from avatarctl_video_avatar.model.rendering import picture

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle

sys.path.append(str(Path(__file__).resolve().parent))

import small_scene as small

SHIFT = Noise.seeded(5, "shift").uniform((9,))
GREY = torch.full((3,), 0.25)
KINDS = [("triplane", "skinning"), ("mlp", "nonrigid")]


def render(scene, shift=SHIFT, n=9):
    rays = small.rays(n)
    return scene.render(rays.origins, rays.directions, rays.depths, shift, GREY)


@pytest.mark.parametrize(("sdf", "deform"), KINDS)
@pytest.mark.parametrize("step", [0, 30000, 70000])
def test_showing_gives_the_numbers_of_training(sdf, deform, step):
    network = small.avatar(sdf=sdf, deform=deform, hidden=64)
    trained = render(small.scene(network, step))
    with torch.no_grad():
        shown = render(small.scene(network, step))
    assert shown.color.grad_fn is None
    assert shown.pts_W_sampled is None
    assert (trained.pts_W_pred is None) == (deform == "nonrigid")
    for name, value in vars(shown).items():
        if value is not None and getattr(trained, name) is not None:
            # rounding of products of other sizes
            torch.testing.assert_close(value, getattr(trained, name).detach(), rtol=1e-4, atol=1e-5, msg=name)
    total = (trained.weights[..., None] * trained.gradients).sum(1)
    torch.testing.assert_close(shown.normals, total.detach(), rtol=1e-4, atol=1e-5)


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    scene = small.scene()
    with torch.no_grad():
        whole = render(scene)
        monkeypatch.setattr(rendering, "_block_size", lambda device: 32)  # two rays
        blocks = render(scene)
    for name, value in vars(whole).items():
        if value is not None:
            torch.testing.assert_close(value, getattr(blocks, name), rtol=1e-5, atol=1e-6, msg=name)


def test_numbers_of_a_ray_are_those_of_the_formulas():
    scene = small.scene(step=20000)
    names = ("mid_z_vals", "dists", "sdf", "gradients", "s_val", "cdf", "weights")
    made = render(scene)
    found = {name: getattr(made, name).detach().double().numpy() for name in names}
    rays, anneal, inv_s, s = small.rays(9), 20000 / 50000, math.exp(3.0), 16
    z = rays.depths.double().numpy() + (SHIFT.double().numpy()[:, None] - 0.5) * 2 / s
    dist = np.diff(z, axis=1)
    dist = np.concatenate([dist, dist.mean(1, keepdims=True)], 1)
    mid = z + dist / 2
    mid_dist = np.diff(mid, axis=1)
    mid_dist = np.concatenate([mid_dist, mid_dist.mean(1, keepdims=True)], 1)
    np.testing.assert_allclose(found["mid_z_vals"], mid, rtol=1e-5)
    np.testing.assert_allclose(found["dists"], dist, rtol=1e-4)
    with torch.no_grad():
        points = rays.origins[:, None] + rays.directions[:, None] * torch.from_numpy(mid).float()[..., None]
        canonical = scene.deformer(points.reshape(-1, 3)).points
        base = scene.base(canonical).view(9, s).numpy()
    y = canonical.view(9, s, 3).double().numpy()
    gate = base <= 0.05
    assert 0 < gate.sum() < gate.size
    views = np.diff(y, axis=1)
    views /= np.linalg.norm(views, axis=-1, keepdims=True)
    views = np.concatenate([views, views[:, -1:]], 1)
    for ray in range(9):
        sdf, n = found["sdf"][ray], found["gradients"][ray]
        sg = 1 / (1 + np.exp(-inv_s * sdf))
        wi = inv_s * sg * (1 - sg)
        wi = wi / (wi.sum() + 1e-6)
        wi = wi if wi.sum() >= 0.2 else np.full(s, 1 / s)
        sharp = inv_s * np.exp((np.linalg.norm(n, axis=-1) * wi).sum() - 1)
        np.testing.assert_allclose(found["s_val"][ray], 1 / sharp, rtol=1e-4)
        cosine = (views[ray] * n).sum(-1)
        slope = np.maximum(0.5 - 0.5 * cosine, 0) * (1 - anneal) + np.maximum(-cosine, 0) * anneal
        cdf = 1 / (1 + np.exp(-sdf * sharp))
        alpha = np.clip(1 - np.exp(-sharp * (1 - cdf) * slope * mid_dist[ray]), 0, 1) * gate[ray]
        left, weights = 1.0, []
        for one in alpha:
            weights.append(one * left)
            left *= 1 - one + 1e-7
        np.testing.assert_allclose(found["cdf"][ray], cdf, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["weights"][ray], weights, rtol=1e-3, atol=1e-5)


def test_a_shift_of_a_half_does_nothing():
    scene = small.scene()
    with torch.no_grad():
        assert torch.equal(render(scene, None).color, render(scene, torch.full((9,), 0.5)).color)


def test_far_from_the_naked_body_only_the_background_is_seen():
    with torch.no_grad():
        found = render(small.scene(sdf_threshold=0.0), n=9)
    outside = small.rays(9).origins[:, 0].abs() > small.RADIUS + 0.1  # half a voxel is 3 cm
    assert outside.any()
    assert not found.weights[outside].any()
    assert torch.equal(found.color[outside], GREY.expand(int(outside.sum()), 3))
    assert (found.opacity[~outside] > 0).any()


def test_poses_are_refined_from_kick_in_on():
    for step, refined in ((59999, False), (60000, True)):
        network = small.avatar()
        found = render(small.scene(network, step))
        found.color.sum().backward()
        assert (network.pose_decoder.block_mlps["0"].bias.grad is not None) == refined
    assert not rendering.Scene(
        small.avatar(), small.subject(), small.pose(), rendering.Rendering(), 70000, refine=False
    ).bones.requires_grad


@pytest.mark.parametrize("deform", ["skinning", "nonrigid"])
def test_every_loss_reaches_the_parameters(deform):
    network = small.avatar(deform=deform)
    found = render(small.scene(network, 70000))
    (found.color.sum() + found.gradient_error + found.sdf.sum()).backward()
    without = {name for name, one in network.named_parameters() if one.grad is None}
    never = {"sdf_network.sdf_para", "offset_net", *(["pose_decoder"] if deform == "nonrigid" else [])}
    assert {name for name in without if not name.startswith(tuple(never))} == set()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)


def test_weights_of_the_surface_get_the_gradients_of_finite_differences():
    network = small.avatar(deform="nonrigid").double()
    of = type(small.pose())(*(part.double() for part in vars(small.pose()).values()))
    subject = type(small.subject())(*(part.double() for part in vars(small.subject()).values()))
    bias = network.sdf_network.decoder.lin1.bias
    rays = [part.double() for part in (small.rays(9).origins, small.rays(9).directions, small.rays(9).depths)]

    def loss():
        scene = rendering.Scene(network, subject, of, rendering.Rendering(), 30000)
        # the sharpness of a ray takes the places of its surface as given, so it has no true gradient
        scene._sharpness = lambda sdf, slopes: torch.full((len(sdf), 1), 20.0, dtype=torch.float64)
        found = scene.render(*rays, None, GREY.double())
        return found.color.sum() + 0.1 * found.gradient_error

    (found,) = torch.autograd.grad(loss(), bias)
    for place in (0, 7):
        moved = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                bias[place] += step
            moved.append(loss().item())
            with torch.no_grad():
                bias[place] -= step
        assert found[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_field_is_the_distance_of_rendered_samples():
    scene = small.scene()
    with torch.no_grad():
        found = render(scene)
    rays = small.rays(9)
    points = rays.origins[:, None] + rays.directions[:, None] * found.mid_z_vals[..., None]
    field = scene.field(points.reshape(-1, 3))
    torch.testing.assert_close(field, found.sdf.reshape(-1), rtol=1e-4, atol=1e-6)
    assert scene.field(torch.zeros(1, 3)).item() < -0.1


def test_what_a_surface_shows_looks_outwards():
    scene = small.scene()
    points = small.vertices()[:50]
    shown = scene.painted(points)
    with torch.no_grad():
        torch.testing.assert_close(shown.points, scene.deformer(points).points)
    torch.testing.assert_close(shown.normals.norm(dim=-1), torch.ones(50))
    assert ((shown.normals * points).sum(-1) > 0.2).float().mean() > 0.9
    assert ((shown.colours > 0) & (shown.colours < 1)).all()


def test_normals_turn_with_the_body():
    turn = matrix_from_axis_angle(torch.tensor([0.0, 0.9, 0.0]))
    scene = small.scene(of=small.pose(turn), step=0)
    with torch.no_grad():
        found = render(scene)
    torch.testing.assert_close(found.body_normals, found.normals @ turn.T, rtol=1e-4, atol=1e-5)
    assert (found.body_normals[4] / found.opacity[4])[2] < 0  # in the middle they look at the camera


def test_a_picture_shows_rays_that_hit_before_the_background():
    sample, scene = small.sample(4, 6), small.scene()
    shown = picture(scene, sample, None)
    hits = sample.rays.hits.view(4, 6)
    assert 0 < hits.sum() < 24
    for name, behind in (("image", 0.25), ("normals", 0.25), ("body_normals", 0.0), ("opacity", 0.0)):
        assert (getattr(shown, name)[~hits] == behind).all()
    rays = sample.rays
    with torch.no_grad():
        all_rays = scene.render(rays.origins, rays.directions, rays.depths, None, sample.background)
    torch.testing.assert_close(shown.image[hits], all_rays.color[rays.hits], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shown.normals[hits], all_rays.normals[rays.hits], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shown.opacity[hits], all_rays.opacity[rays.hits], rtol=1e-5, atol=1e-6)
    assert shown.image.grad_fn is None


def test_draws_come_in_portions_of_all_rays():
    sample, scene = small.sample(4, 6), small.scene()
    draws = [Noise.seeded(1, str(size)).uniform((size, 1)) for size in (10, 10, 4)]
    shown = picture(scene, sample, Noise.replay(draws), chunk=10)
    rays = sample.rays
    with torch.no_grad():
        wanted = scene.render(
            rays.origins, rays.directions, rays.depths, torch.cat(draws)[:, 0], sample.background
        )
    hits = rays.hits.view(4, 6)
    torch.testing.assert_close(shown.image[hits], wanted.color[rays.hits], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError):
        picture(scene, sample, Noise.replay(draws), chunk=24)
    picture(small.scene(perturb=False), sample, Noise.replay([]))  # asks for none


def test_a_picture_without_the_body_is_background():
    sample = small.sample(2, 3)
    sample.rays.hits[:] = False
    shown = picture(small.scene(), sample, None)
    assert (shown.image == 0.25).all()
