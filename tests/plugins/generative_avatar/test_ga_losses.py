"""What phases minimise, on stand-in networks whose terms are known in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avatarctl_generative_avatar import losses
from avatarctl_generative_avatar.augment import Augment
from avatarctl_generative_avatar.losses import Drawn, Moment, Pair, Real, moment_of
from avatarctl_generative_avatar.model.layers import blur
from avatarctl_generative_avatar.settings_model import Rendering
from avatarctl_generative_avatar.settings_train import Losses
from torch import Tensor, nn
from torch.nn.functional import softplus

from avatarctl.device import Noise

COUNT, SIDE = 2, 32
STILL = Moment()
PLAIN = Losses(normal_gan=False, face_gan=False)


class Critic(nn.Module):
    """Logits that are linear in the pictures."""

    def __init__(self) -> None:
        super().__init__()
        draw = Noise.seeded(0, "critic")
        self.image = nn.Parameter(draw.normal((3, SIDE, SIDE)))
        self.raw = nn.Parameter(draw.normal((3, SIDE // 2, SIDE // 2)))

    def forward(self, pictures: dict[str, Tensor], labels: Tensor, noise: Noise) -> dict[str, Tensor]:
        logits = (pictures["image"] * self.image).sum((1, 2, 3)) + (pictures["image_raw"] * self.raw).sum(
            (1, 2, 3)
        )
        return {"full": logits[:, None], "normal": torch.ones(len(labels), 1)}


class Maker(nn.Module):
    """Pictures that are one parameter, densities that are linear in places; it remembers what it was told."""

    def __init__(self, steepness: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.full((COUNT, 3, SIDE, SIDE), 0.01))
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.steepness = nn.Parameter(torch.tensor(steepness))
        self.told: list[Tensor] = []
        self.renderer = SimpleNamespace(density=lambda value: value)

    def mapping(self, z: Tensor, labels: Tensor, **more: Any) -> Tensor:
        self.told.append(labels)
        return z[:, None].expand(-1, 4, -1)

    def planes(self, ws: Tensor, noise_mode: str, noise: Noise) -> Tensor:
        return ws

    def field(self, planes: Tensor, template: Any, box_warp: float) -> Any:
        return SimpleNamespace(values=lambda points: points @ self.steepness)

    def synthesis(self, *words: Any, **more: Any) -> Any:
        image = 1 * self.picture
        samples = SimpleNamespace(eikonal=(self.slope - 1) ** 2)
        return SimpleNamespace(
            image=image, image_raw=image[..., ::2, ::2], image_normal=None, samples=samples
        )


def pair(settings: Losses = PLAIN, maker: Maker | None = None, **more: Any) -> Any:
    stand_in: Any = SimpleNamespace()
    maker, critic = maker or Maker(), Critic()
    return Pair(maker, critic, stand_in, stand_in, Rendering(), settings, **more)  # type: ignore[arg-type]


def drawn() -> Drawn:
    return Drawn(Noise.seeded(1, "z").normal((COUNT, 5)), torch.arange(COUNT * 111.0).view(COUNT, 111))


def real() -> Real:
    noise = Noise.seeded(2, "photos")
    pictures = [noise.uniform((COUNT, 3, SIDE, SIDE)) * 2 - 1 for _ in range(2)]
    return Real(pictures[0], pictures[1], torch.zeros(COUNT, 111))


def test_blur_fades_with_the_batch_and_labels_are_swapped_less_and_less() -> None:
    settings = Losses(blur_init_sigma=10, blur_fade_kimg=200, gpc_reg_prob=0.5, gpc_reg_fade_kimg=500)
    assert moment_of(settings, 0, 32, is_told=False) == Moment(10.0, 0.0, None)
    assert moment_of(settings, 100_000, 32, is_told=True) == Moment(5.0, 0.0, 0.9)
    assert moment_of(settings, 12_500, 4, is_told=True).sigma == 5.0
    assert moment_of(settings, 10**9, 32, is_told=True) == Moment(0.0, 0.0, 0.5)


@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_r1_is_the_squared_slope_by_the_picture_after_its_blur(sigma: float) -> None:
    both = pair()
    critic = both.discriminator
    terms = losses.discriminator_regulariser(
        both, real(), Moment(sigma), Noise.seeded(0, "r1"), 16.0, share=0.5
    )
    slope = critic.image.square().sum() + critic.raw.square().sum()
    torch.testing.assert_close(terms["r1"], slope.detach())
    torch.testing.assert_close(critic.image.grad, critic.image.detach() * (PLAIN.gamma * 16 * 0.5))


def test_the_generator_is_told_by_the_logits_and_by_its_slopes() -> None:
    both = pair(Losses(normal_gan=False, face_gan=False, lambda_eikonal=3.0))
    maker, critic = both.generator, both.discriminator
    terms, _ = losses.generator_main(both, drawn(), STILL, Noise.seeded(0, "main"))
    logits = critic({"image": maker.picture, "image_raw": maker.picture[..., ::2, ::2]}, drawn().labels, None)
    torch.testing.assert_close(terms["generator"], softplus(-losses.total(logits)).mean().detach())
    torch.testing.assert_close(terms["eikonal"], torch.tensor(1.0))
    torch.testing.assert_close(maker.slope.grad, torch.tensor(3.0 * 2))
    assert maker.picture.grad is not None


def test_discriminators_do_not_reach_the_generator() -> None:
    both = pair()
    terms = losses.discriminator_main(both, drawn(), real(), STILL, Noise.seeded(0, "main"))
    assert both.generator.picture.grad is None
    assert both.discriminator.image.grad is not None
    found = [losses.judged({"full": torch.tensor([[2.0], [-1.0]])}, "real")]
    assert found[0]["signs.real.full"] == 0
    assert {"discriminator", "scores.fake.full", "signs.real.full"} <= terms.keys()


def test_logits_of_normals_alone_are_weighted() -> None:
    settings = Losses(normal_gan=False, face_gan=False, lambda_normal=0.5)
    photos = real()
    pictures = {"image": photos.images, "image_raw": photos.images[..., ::2, ::2]}
    plain, weighted = (
        pair(one).logits(pictures, photos.labels, Noise.seeded(0, "d")) for one in (PLAIN, settings)
    )
    assert torch.equal(weighted["full"], plain["full"])
    assert torch.equal(weighted["normal"], plain["normal"] * 0.5)


def test_densities_near_each_other_are_compared_by_their_absolute_difference() -> None:
    maker = Maker((1.0, -2.0, 3.0))
    settings = Losses(density_reg=0.25, density_reg_p_dist=0.01)
    noise = Noise.seeded(0, "density")
    terms = losses.generator_regulariser(pair(settings, maker), drawn(), STILL, noise, 4.0)
    noise = Noise.seeded(0, "density")
    noise.uniform((COUNT, losses.POINTS, 3))
    moved = noise.normal((COUNT, losses.POINTS, 3)) * 0.01
    expected = 0.25 * (moved @ maker.steepness.detach()).abs().mean()
    torch.testing.assert_close(terms["density"], expected, rtol=1e-4, atol=0)  # float32 sums of places
    assert "monotonic" not in terms


@pytest.mark.parametrize(("steepness", "is_punished"), [(5.0, True), (-5.0, False)])
@pytest.mark.parametrize("kind", ["monotonic-fixed", "monotonic-detach"])
def test_densities_that_fall_along_the_view_are_punished(
    kind: Any, steepness: float, is_punished: bool
) -> None:
    maker = Maker((0.0, 0.0, steepness))
    both = pair(Losses(reg_type=kind), maker)
    terms = losses.generator_regulariser(both, drawn(), STILL, Noise.seeded(0, "density"), 1.0)
    gap = both.rendering.box_warp / 256 * steepness
    expected = losses.MONOTONIC_WEIGHT * gap if is_punished else 0.0
    assert float(terms["monotonic"]) == pytest.approx(expected, rel=1e-3)  # float32 places near 1
    assert terms["density"] > 0


def test_a_detached_density_has_no_say_in_the_slope() -> None:
    slopes = []
    for kind in ("monotonic-fixed", "monotonic-detach"):
        maker = Maker((0.0, 0.0, 5.0))
        settings = Losses(reg_type=kind, density_reg=1e-12)  # type: ignore[arg-type]
        losses.generator_regulariser(pair(settings, maker), drawn(), STILL, Noise.seeded(0, "density"), 1.0)
        assert maker.steepness.grad is not None
        slopes.append(float(maker.steepness.grad[2]))
    # d/da of 10 (a z - a (z - w)) is 10 w; with the first detached it is 10 w - 10 mean z.
    assert slopes[0] == pytest.approx(10 * 1.9 / 256, rel=1e-3)
    assert abs(slopes[1] - slopes[0]) > 1e-3


@pytest.mark.parametrize(("swapped", "is_rolled"), [(None, False), (0.0, False), (1.0, True)])
def test_the_generator_may_be_told_another_label(swapped: float | None, is_rolled: bool) -> None:
    both, people = pair(), drawn()
    both.styles(people, Moment(swapped=swapped), Noise.seeded(0, "swap"))
    expected = people.labels.flip(0) if is_rolled else people.labels
    assert torch.equal(both.generator.told[-1], expected)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_mixed_styles_end_with_those_of_others(probability: float) -> None:
    both, people = pair(Losses(style_mixing_prob=probability)), drawn()
    ws = both.styles(people, STILL, Noise.seeded(0, "mixing"))
    own = people.z[:, None].expand(-1, 4, -1)
    assert torch.equal(ws[:, 0], own[:, 0])
    assert torch.equal(ws[:, -1], own[:, -1]) == (probability == 0)


def test_the_small_picture_is_augmented_as_the_large_one() -> None:
    both = pair(augment=Augment(geometry=False))
    photos = real()
    image = torch.full((COUNT, 3, SIDE, SIDE), 0.25)
    pictures = {"image": image, "image_raw": image[..., ::2, ::2]}
    made = both.prepared(pictures, Moment(augmented=1.0), Noise.seeded(0, "colours"))
    assert not torch.allclose(made["image"], image)
    torch.testing.assert_close(made["image_raw"], made["image"][..., ::2, ::2], rtol=0, atol=1e-5)
    untouched = both.prepared(pictures, STILL, Noise.seeded(0, "colours"))
    torch.testing.assert_close(untouched["image"], image)
    assert len(photos[:1].images) == 1


@pytest.mark.parametrize("is_blurred", [False, True])
def test_normals_are_blurred_only_where_it_is_asked_for(is_blurred: bool) -> None:
    both, photos = pair(Losses(blur_normals=is_blurred)), real()
    pictures = {"image": photos.images, "image_raw": photos.images[..., ::2, ::2], "normal": photos.normals}
    made = both.prepared(pictures, Moment(2.0), Noise.seeded(0, "blur"))
    expected = blur(photos.normals, 2.0) if is_blurred else photos.normals
    assert torch.equal(made["normal"], expected)
    assert torch.equal(made["image"], blur(photos.images, 2.0))


def test_photos_become_numbers_from_minus_one_to_one() -> None:
    levels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    photo: Any = SimpleNamespace(image=levels, normals=levels.float(), label=torch.zeros(1, 111))
    made = losses.real_of(photo, torch.device("cpu"))
    assert made.images.flatten().tolist() == [-1, 1]
    assert math.isclose(float(made.normals.max()), 1)
