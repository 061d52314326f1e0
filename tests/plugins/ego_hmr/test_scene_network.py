"""Stage 1's network: conditions, samples, places, and what its discriminator teaches whom."""

from __future__ import annotations

import pytest
import torch
from avatarctl_ego_hmr.losses_scene import adversarial, discriminator_loss
from avatarctl_ego_hmr.model.backbone import BackboneSizes
from avatarctl_ego_hmr.model.camera import crop_translation, full_translation, project
from avatarctl_ego_hmr.model.scene import NUMBERS, SceneNet, SceneSizes
from avatarctl_ego_hmr.views import View

from avatarctl.device import Noise

TINY = SceneSizes(
    backbone=BackboneSizes(width=4, blocks=(1, 1)),
    point_hidden=8,
    point_features=6,
    layers=2,
    hidden=16,
    depth=1,
    head=12,
    critic=8,
)


def views(count: int = 2) -> View:
    noise = Noise.seeded(0, "views")
    return View(
        image=noise.normal((count, 3, 224, 224)),
        focal=1450 + 10 * noise.normal((count,)),
        centre=torch.tensor([960.0, 540.0]) + noise.normal((count, 2)),
        box_centre=torch.tensor([1000.0, 600.0]) + 60 * noise.normal((count, 2)),
        box_size=600 + 40 * noise.normal((count,)),
        points=noise.normal((count, 30, 3)),
        detected=torch.ones(count, 25, dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def network() -> SceneNet:
    torch.manual_seed(0)
    return SceneNet(TINY).eval()


def latents(count: int, samples: int) -> torch.Tensor:
    return Noise.seeded(1, "latents").normal((count, samples, NUMBERS))


def test_samples_of_one_call_are_those_of_calls_one_by_one(network):
    view, drawn = views(), latents(2, 3)
    with torch.no_grad():
        together = network(view, drawn)
        for sample in range(3):
            alone = network(view, drawn[:, [sample]])
            torch.testing.assert_close(together.sixd[:, sample + 1], alone.sixd[:, 1])
            torch.testing.assert_close(together.log_prob[:, sample + 1], alone.log_prob[:, 1])
        torch.testing.assert_close(network(view).sixd, together.sixd[:, :1])


def test_the_first_sample_is_that_of_a_latent_of_zeros_and_the_likeliest(network):
    with torch.no_grad():
        made = network(views(), torch.cat([torch.zeros(2, 1, NUMBERS), latents(2, 4)], dim=1))
    torch.testing.assert_close(made.sixd[:, 0], made.sixd[:, 1])
    assert (made.log_prob.argmax(dim=1) <= 1).all()


def test_the_density_of_a_sample_is_the_one_it_was_drawn_with(network):
    view = views()
    with torch.no_grad():
        condition = network.condition(view)
        made = network.predict(condition, view, latents(2, 1))
        found = network.log_prob(made.sixd[:, 1], condition)
    torch.testing.assert_close(found, made.log_prob[:, 1], rtol=1e-4, atol=1e-2)  # of sums near 200


@pytest.mark.parametrize("left_out", ["with_focal_length", "with_cam_center", "with_bbox_info"])
def test_what_is_not_to_be_told_has_no_part_in_the_condition(left_out):
    sizes = SceneSizes(backbone=TINY.backbone, point_hidden=8, point_features=6, **{left_out: False})
    condition = SceneNet(sizes).eval().condition(views())
    whole = SceneNet(TINY).eval().condition(views())
    assert condition.shape[1] == sizes.condition < whole.shape[1]


def test_the_body_stands_where_its_crop_shows_it():
    """The origin of the body is at shift * scale in its box, which reaches from -1 to 1."""
    view = views(3)
    camera = torch.tensor([[0.9, 0.1, -0.2], [1.1, 0.0, 0.3], [0.5, -0.4, 0.0]])
    origin = torch.zeros(3, 1, 3)
    shown = camera[:, 1:] * camera[:, :1]
    full = full_translation(camera, view.focal, view.centre, view.box_centre, view.box_size)
    pixels = project(origin, full, view.focal[:, None], view.centre)[:, 0]
    torch.testing.assert_close(pixels, view.box_centre + shown * view.box_size[:, None] / 2)
    crop = project(origin, crop_translation(camera, view.focal), view.focal[:, None])[:, 0]
    torch.testing.assert_close(crop, shown * 112)


def test_predictions_and_discriminator_learn_from_their_own_losses_only(network):
    torch.manual_seed(0)
    network = SceneNet(TINY).train()
    made = network(views(4), latents(4, 1))

    def learning() -> set[str]:
        found = {name for name, one in network.named_parameters() if one.grad is not None and one.grad.any()}
        network.zero_grad(set_to_none=True)
        return found

    adversarial(network.discriminator, made).backward(retain_graph=True)
    from_judgement = learning()
    discriminator_loss(
        network.discriminator, made, 0.1 * torch.randn(4, 23, 3), torch.zeros(4, 10)
    ).backward()
    from_telling = learning()
    assert from_judgement
    assert not any(name.startswith("discriminator.") for name in from_judgement)
    assert from_telling
    assert all(name.startswith("discriminator.") for name in from_telling)
