"""Loss terms against their formulas, written out ray by ray."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avatarctl_video_avatar.losses import Criterion, crossings, mask_loss, sharpness, skinning, unpacked
from avatarctl_video_avatar.sample import Patches
from avatarctl_video_avatar.settings_train import Losses
from pydantic import ValidationError

from avatarctl.device import Noise

SIDE, SAMPLES = 16, 6


@pytest.fixture
def given():
    """What a rendering of one patch and a half gives, and the sample."""
    noise = Noise.seeded(0, "losses")
    masks = torch.ones(2, SIDE, SIDE, dtype=torch.bool)
    masks[1, 3:, 2:] = False
    count = int(masks.sum())
    rays = SimpleNamespace(
        hits=noise.uniform((count,)) < 0.7,
        alpha=(3 * noise.uniform((count,))).floor() / 2,
        colours=noise.uniform((count, 3)),
    )
    patches = Patches(noise.uniform((2, SIDE, SIDE, 3)), masks, torch.tensor([0, SIDE**2, count]))
    made = SimpleNamespace(
        color=noise.uniform((count, 3)).requires_grad_(),
        sdf=0.03 * noise.normal((count, SAMPLES)) + 0.02,
        gradient_error=torch.tensor(0.3),
        pts_W_pred=noise.uniform((50, 24)),
        pts_W_sampled=noise.uniform((50, 24)),
    )
    return made, SimpleNamespace(rays=rays, patches=patches, background=torch.tensor([0.1, 0.2, 0.3]))


def test_patches_show_rays_that_hit_and_background_elsewhere(given):
    made, sample = given
    drawn, ray = unpacked(made.color, sample.rays.hits, sample.patches, sample.background), 0
    for place in np.ndindex(2, SIDE, SIDE):
        wanted = sample.background
        if sample.patches.masks[place]:
            wanted = made.color[ray] if sample.rays.hits[ray] else wanted
            ray += 1
        torch.testing.assert_close(drawn[place], wanted, rtol=0, atol=0)
    drawn.sum().backward()
    assert torch.equal(made.color.grad.sum(1), 3.0 * sample.rays.hits)


def test_the_mask_term_is_the_cross_entropy_of_rays_that_the_mask_contradicts(given):
    made, sample = given
    terms, sharp = [], sharpness(20_001)
    assert sharp == 200.0
    for distances, alpha in zip(made.sdf.tolist(), sample.rays.alpha.tolist(), strict=True):
        logit = -sharp * min(distances)
        is_crossed = any(a * b < 0 for a, b in pairwise(distances))
        if alpha == 0:
            terms.append(math.log1p(math.exp(logit)) / sharp)
        elif alpha == 1 and not is_crossed:
            terms.append(math.log1p(math.exp(-logit)) / sharp)
    assert float(mask_loss(made.sdf, sample.rays, sharp)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_without_a_ray_that_counts_the_mask_term_is_0_and_has_a_gradient():
    sdf = torch.tensor([[0.1, -0.1]], requires_grad=True)
    loss = mask_loss(sdf, SimpleNamespace(alpha=torch.ones(1)), 50.0)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(sdf.grad, torch.zeros(1, 2))


@pytest.mark.parametrize(("step", "factor"), [(0, 1), (10_000, 1), (10_001, 2), (30_001, 8), (90_000, 32)])
def test_the_mask_term_sharpens_after_each_ten_thousand_steps(step, factor):
    assert sharpness(step) == 50.0 * factor


def test_signs_change_between_samples():
    assert crossings(torch.tensor([[1.0, -1.0, -2.0, 3.0], [1.0, 2.0, 0.0, 1.0]])).tolist() == [
        [True, False, True],
        [False, False, False],
    ]


def test_the_skinning_term_fades_and_ends(given):
    made, sample = given
    whole = float((made.pts_W_pred - made.pts_W_sampled).abs().sum() / 50)
    assert float(skinning(made.pts_W_pred, made.pts_W_sampled)) == pytest.approx(whole, rel=1e-6)
    criterion = Criterion(Losses(skinning=2, weight_decay_end=1000, kick_out_iter=500), None)
    assert float(criterion.terms(made, sample, 250)["skinning"]) == pytest.approx(1.5 * whole, rel=1e-6)
    assert "skinning" not in criterion.terms(made, sample, 500)


def test_the_total_is_the_sum_and_terms_without_weight_are_left_out(given):
    made, sample = given
    terms = Criterion(Losses(eikonal=0, nssim=0), None).terms(made, sample, 3)
    assert terms.keys() == {"total", "rgb", "mse", "mask", "skinning"}
    parts = sum(term.item() for name, term in terms.items() if name != "total")
    assert terms["total"].item() == pytest.approx(parts, rel=1e-6)


def test_without_perceptual_term_colours_are_compared_by_ray(given):
    made, sample = given
    terms = Criterion(Losses(perceptual=0, rgb=1), None).terms(made, sample, 0)
    alpha = sample.rays.alpha[:, None]
    wanted = ((made.color - sample.rays.colours) * alpha).abs().mean().item()
    assert terms["rgb"].item() == pytest.approx(wanted, rel=1e-6)


def test_the_perceptual_term_is_told_colours_of_minus_1_to_1(given):
    made, sample = given
    seen = []

    def measure(drawn, truth):
        seen.extend((drawn, truth))
        return torch.tensor([1.0, 3.0])

    terms = Criterion(Losses(perceptual=0.5), measure).terms(made, sample, 0)
    assert float(terms["perceptual"]) == 1.0
    assert [list(one.shape) for one in seen] == [[2, 3, SIDE, SIDE]] * 2
    assert torch.equal(seen[1][0, :, 4, 5], 2 * sample.patches.colours[0, 4, 5] - 1)


def test_weights_are_not_negative():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Losses(rgb=-1)
