"""Optimisers, averages and strengths of a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avatarctl_generative_avatar import training
from avatarctl_generative_avatar.losses import Moment, Pair, Real, Terms
from avatarctl_generative_avatar.model import discriminator as discriminators
from avatarctl_generative_avatar.model.sizes import DiscriminatorSizes
from avatarctl_generative_avatar.settings_model import Rendering
from avatarctl_generative_avatar.settings_train import Augmenting, Rates, Train
from avatarctl_generative_avatar.training import Phase, Strength, Training
from torch import Tensor, nn

from avatarctl.device import Noise


def test_terms_at_an_interval_scale_rate_and_betas() -> None:
    made = training.adam([nn.Parameter(torch.zeros(1))], 0.0025, Rates(betas=(0.5, 0.99)), 4)
    (group,) = made.param_groups
    assert group["lr"] == pytest.approx(0.0025 * 4 / 5)
    assert group["betas"] == pytest.approx((0.5**0.8, 0.99**0.8))
    plain = training.adam([nn.Parameter(torch.zeros(1))], 0.0025, Rates(), 0)
    assert (plain.param_groups[0]["lr"], plain.param_groups[0]["betas"]) == (0.0025, (0.0, 0.99))


def test_the_average_has_its_half_life_and_follows_at_once_in_the_beginning() -> None:
    settings = Rates(ema_kimg=10, ema_rampup=0.05)
    assert training.ema_decay(settings, 10**9, 32, is_fresh=True) == pytest.approx(0.5 ** (32 / 10_000))
    assert training.ema_decay(settings, 1000, 4, is_fresh=True) == pytest.approx(0.5 ** (4 / 50))
    assert training.ema_decay(settings, 1000, 4, is_fresh=False) == pytest.approx(0.5 ** (4 / 1250))
    assert training.ema_decay(settings, 0, 4, is_fresh=True) == 0


def test_parameters_are_averaged_and_buffers_copied() -> None:
    mine, theirs = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        theirs.weight.fill_(3.0)
        theirs.running_mean.fill_(5.0)
    training.follow(mine, theirs, 0.75)
    assert mine.weight.tolist() == [1.5, 1.5]
    assert mine.running_mean.tolist() == [5.0, 5.0]


def test_gradients_that_are_not_finite_are_no_steps_into_nowhere() -> None:
    param, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1))
    param.grad = torch.tensor([float("nan"), float("inf"), 1.0])
    norm = training.stepped([param, other], torch.optim.SGD([param, other], lr=1e-5))
    torch.testing.assert_close(param.detach(), torch.tensor([1.0, 0.0, 1 - 1e-5]))
    assert float(norm) == pytest.approx(1e5)
    assert param.grad is None
    assert other.tolist() == [1]


def test_the_first_layers_of_each_discriminator_are_frozen() -> None:
    sizes = DiscriminatorSizes(img_resolution=32, channel_base=128, channel_max=8, mapping_layers=1)
    made = discriminators.build(sizes, Noise.seeded(0, "d"), True, False)
    every = len(list(made.parameters()))
    assert len(training.trained(made, 0)) == every
    kept = {id(param) for param in training.trained(made, 2)}
    frozen = [name for name, param in made.named_parameters() if id(param) not in kept]
    assert frozen == [
        f"{head}.b{side}.{layer}.{name}"
        for head, side in (("D_image", 32), ("D_normal", 16))
        for layer in ("fromrgb", "conv0")
        for name in ("weight", "bias")
    ]


def test_what_comes_after_the_last_halving_always_learns() -> None:
    sizes = DiscriminatorSizes(img_resolution=32, channel_base=128, channel_max=8, mapping_layers=1)
    made = discriminators.build(sizes, Noise.seeded(0, "d"), False, False)
    kept = {id(param) for param in training.trained(made, 100)}
    learning = [name for name, param in made.named_parameters() if id(param) in kept]
    assert {name.split(".")[1] for name in learning} == {"b4", "mapping"}


def signs(value: float) -> Terms:
    one = torch.tensor(value)
    return {"signs.real.full": one, "signs.real.face": one, "r1": torch.ones(())}


def test_augmentation_grows_while_real_logits_are_too_often_positive() -> None:
    strength = Strength(Augmenting(mode="ada", target=0.6, kimg=500), is_fresh=True)
    step = 8 * training.MOVES_EVERY / 500_000
    for value in (0.9, 0.7):
        strength.note(signs(value))
    strength.move(8)
    assert float(strength.p) == pytest.approx(step)
    for _ in range(3):
        strength.note(signs(0.1))
        strength.move(8)
    assert float(strength.p) == 0


def test_a_fixed_strength_stays_and_started_trainings_move_faster() -> None:
    fixed = Strength(Augmenting(mode="fixed", p=0.3), is_fresh=True)
    fixed.note(signs(1.0))
    fixed.move(8)
    assert float(fixed.p) == pytest.approx(0.3)
    assert Strength(Augmenting(mode="ada"), is_fresh=False).kimg == 100


class Made(nn.Module):
    """One parameter that should be the mean of z."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = SimpleNamespace(z_dim=3)
        self.value = nn.Parameter(torch.zeros(3))


def trained_with(micro_batch: int, **more: Any) -> Training:
    settings = Train(data=Path(), batch_size=8, micro_batch=micro_batch, **more)
    stand_in: Any = SimpleNamespace()
    pair = Pair(Made(), nn.Linear(1, 1), stand_in, stand_in, Rendering(), settings.losses)  # type: ignore[arg-type]
    made = Training(pair, Made(), torch.zeros(5, 111), settings, 0, is_fresh=True)  # type: ignore[arg-type]

    def gradients(pair: Any, drawn: Any, real: Real, moment: Moment, noise: Noise, part: float) -> Terms:
        loss = (pair.generator.value - drawn.z).square().mean()
        (loss * part).backward()
        return {"generator": loss.detach()}

    made.phases = [Phase("generator", 1, True, gradients)]
    return made


def photos(count: int = 8) -> Real:
    return Real(torch.zeros(count, 3, 2, 2), torch.zeros(count, 3, 2, 2), torch.zeros(count, 111))


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_working_on_few_at_a_time_changes_nothing(micro_batch: int) -> None:
    found: list[tuple[Tensor, ...]] = []
    for size in (0, micro_batch):
        made = trained_with(size)
        terms = made._learn(made.phases[0], 0, photos(), Moment())
        found.append((*terms.values(), made.pair.generator.value.detach()))
    torch.testing.assert_close(found[0], found[1])


def test_people_of_a_step_come_from_seed_and_step_alone() -> None:
    made, again = trained_with(0), trained_with(0)
    phase = made.phases[0]
    again.drawn(phase, 3)
    assert torch.equal(made.drawn(phase, 7).z, again.drawn(phase, 7).z)
    assert not torch.equal(made.drawn(phase, 7).z, made.drawn(phase, 8).z)


def test_phases_come_in_order_and_smoothness_may_be_left_out() -> None:
    settings = Train(data=Path())
    names = [(phase.name, phase.every) for phase in training.phases_of(settings)]
    assert names == [("generator", 1), ("density", 4), ("discriminator", 1), ("r1", 16)]
    without = settings.losses.model_copy(update={"density_reg": 0.0})
    names = [(phase.name, phase.every) for phase in training.phases_of(Train(data=Path(), losses=without))]
    assert [name for name, _ in names] == ["generator", "discriminator", "r1"]
