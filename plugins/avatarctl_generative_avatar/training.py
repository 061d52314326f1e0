"""What a training does in a step: phases, optimisers, averages, how strongly to augment (spec 5.1).

Adam steps once a phase; terms at intervals share moments with the main ones of their network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from avatarctl.device import Noise, parallel
from avatarctl.engine.shares import average_gradients, share
from avatarctl_generative_avatar import losses
from avatarctl_generative_avatar.losses import Drawn, Moment, Pair, Real, Terms, moment_of
from avatarctl_generative_avatar.model.discriminator import Discriminator, Head
from avatarctl_generative_avatar.model.generator import Generator

if TYPE_CHECKING:
    from avatarctl_generative_avatar.settings_train import Augmenting, Rates, Train

EPS = 1e-8
LARGE = 1e5
"""What infinite gradients become."""
MOVES_EVERY = 4
"""Steps between two looks at the signs of real logits."""


@dataclass(frozen=True)
class Phase:
    """A part of a step: its terms, which network learns, and every how many steps."""

    name: str
    every: int
    of_generator: bool
    gradients: Callable[[Pair, Drawn, Real, Moment, Noise, float], Terms]
    """From what is drawn to terms; the last number is the share of the batch."""


def phases_of(settings: Train) -> list[Phase]:
    """The phases in their order."""
    weights = settings.losses

    def generator(pair: Pair, drawn: Drawn, _: Real, moment: Moment, noise: Noise, part: float) -> Terms:
        return losses.generator_main(pair, drawn, moment, noise, share=part)[0]

    def density(pair: Pair, drawn: Drawn, _: Real, moment: Moment, noise: Noise, part: float) -> Terms:
        gain = float(weights.density_reg_every)
        return losses.generator_regulariser(pair, drawn, moment, noise, gain, share=part)

    def critics(pair: Pair, drawn: Drawn, real: Real, moment: Moment, noise: Noise, part: float) -> Terms:
        return losses.discriminator_main(pair, drawn, real, moment, noise, share=part)

    def r1(pair: Pair, _: Drawn, real: Real, moment: Moment, noise: Noise, part: float) -> Terms:
        return losses.discriminator_regulariser(
            pair, real, moment, noise, float(weights.r1_every), share=part
        )

    found = [Phase("generator", 1, True, generator)]
    if weights.density_reg:
        found.append(Phase("density", weights.density_reg_every, True, density))
    return [*found, Phase("discriminator", 1, False, critics), Phase("r1", weights.r1_every, False, r1)]


class Training:
    """A pair that learns.

    Args:
        averaged: The generator that follows.
        labels: Of which the generator's people are drawn, on the device [M, 111].
        is_fresh: Whether it begins without weights.
    """

    def __init__(
        self, pair: Pair, averaged: Generator, labels: Tensor, settings: Train, seed: int, *, is_fresh: bool
    ) -> None:
        self.pair, self.averaged, self.labels, self.settings, self.seed = (
            pair,
            averaged,
            labels,
            settings,
            seed,
        )
        self.is_fresh = is_fresh
        self.phases = phases_of(settings)
        optim, weights = settings.optim, settings.losses
        generator_every = weights.density_reg_every if weights.density_reg else 0
        self.generator_params = list(pair.generator.parameters())
        self.discriminator_params = trained(pair.discriminator, optim.freeze_layers)
        self.generator_adam = adam(self.generator_params, optim.lr, optim, generator_every)
        self.discriminator_adam = adam(
            self.discriminator_params, optim.lr_discriminator, optim, weights.r1_every
        )
        self.strength = None if pair.augment is None else Strength(settings.augment, is_fresh=is_fresh)

    def learn(self, step: int, real: Real) -> Terms:
        """One step.

        Args:
            step: Steps before.
            real: This process's photos.
        """
        settings = self.settings
        images, batch = step * settings.batch_size, settings.batch_size
        moment = moment_of(
            settings.losses,
            images,
            batch,
            is_told=not settings.rendering.c_gen_conditioning_zero,
            augmented=0.0 if self.strength is None else float(self.strength.p),
        )
        if not (self.is_fresh or settings.start_blur):
            moment = Moment(0.0, moment.augmented, moment.swapped)
        terms: Terms = {}
        for phase in self.phases:
            if step % phase.every == 0:
                terms = self._learn(phase, step, real, moment) | terms
        decay = ema_decay(settings.optim, images, batch, is_fresh=self.is_fresh)
        follow(self.averaged, self.pair.generator, decay)
        if self.strength is not None and (step + 1) % MOVES_EVERY == 0:
            self.strength.move(batch)
            terms["augmented"] = self.strength.p.clone()
        return {"total": terms["generator"] + terms["discriminator"], **terms}

    def _learn(self, phase: Phase, step: int, real: Real, moment: Moment) -> Terms:
        drawn = self.drawn(phase, step)
        noise = Noise.seeded(self.seed, f"phase/{step}/{phase.name}", parallel.rank())
        of_generator = phase.of_generator
        params = self.generator_params if of_generator else self.discriminator_params
        learning(self.generator_params, of_generator)
        learning(self.discriminator_params, not of_generator)
        count, size = len(drawn.z), self.settings.micro_batch or len(drawn.z)
        terms: Terms = {}
        for first in range(0, count, size):
            rows = slice(first, first + size)
            part = len(drawn.z[rows]) / count
            found = phase.gradients(self.pair, drawn[rows], real[rows], moment, noise, part)
            terms = {name: terms.get(name, 0.0) + part * term for name, term in found.items()}
        if self.strength is not None:
            self.strength.note(terms)
        optimizer = self.generator_adam if of_generator else self.discriminator_adam
        return terms | {f"gradient.{phase.name}": stepped(params, optimizer)}

    def drawn(self, phase: Phase, step: int) -> Drawn:
        """This process's people in a phase, from seed and step alone."""
        noise = Noise.seeded(self.seed, f"people/{step}/{phase.name}")
        batch, device = self.settings.batch_size, self.labels.device
        z = noise.normal((batch, self.pair.generator.sizes.z_dim))
        rows = noise.integers(0, len(self.labels), (batch,))
        return Drawn(share(z, device), self.labels[share(rows, device)])


def learning(params: Iterable[nn.Parameter], is_on: bool) -> None:
    """Whether parameters gather gradients."""
    for param in params:
        param.requires_grad_(is_on)


def trained(discriminator: Discriminator, frozen: int) -> list[nn.Parameter]:
    """The parameters of discriminators that learn; those of their first layers do not, nor have gradients.

    Args:
        frozen: Layers of each, counted from the picture; those at 4 x 4 and those of labels always learn.
    """
    discriminator.requires_grad_(True)
    for critic in discriminator.children():
        assert isinstance(critic, Head)
        blocks = tuple(f"{name}." for name in critic.names)
        layers = [
            one
            for name, one in critic.named_modules()
            if next(one.parameters(recurse=False), None) is not None and name.startswith(blocks)
        ]
        for layer in layers[:frozen]:
            layer.requires_grad_(False)
    return [param for param in discriminator.parameters() if param.requires_grad]


def adam(params: Iterable[nn.Parameter], lr: float, settings: Rates, every: int) -> torch.optim.Adam:
    """Adam for main terms and those at an interval, whose steps come in addition.

    Args:
        every: The interval; 0 for none.
    """
    ratio = every / (every + 1) if every else 1.0
    first, second = (beta**ratio for beta in settings.betas)
    return torch.optim.Adam(list(params), lr=lr * ratio, betas=(first, second), eps=EPS)


def stepped(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> Tensor:
    """Step along the mean gradients of all processes; returns their norm []."""
    average_gradients(params)
    grads = [param.grad for param in params if param.grad is not None]
    for grad in grads:
        torch.nan_to_num(grad, nan=0.0, posinf=LARGE, neginf=-LARGE, out=grad)
    norm = nn.utils.get_total_norm(grads)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def ema_decay(settings: Rates, images: int, batch: int, *, is_fresh: bool) -> float:
    """How much of itself the averaged generator keeps in a step.

    Args:
        images: Photos seen before.
        is_fresh: Whether the training began without weights; its half-life grows.
    """
    half = settings.ema_kimg * 1000 * batch / 32
    if settings.ema_rampup and is_fresh:
        half = min(half, images * settings.ema_rampup)
    return float(0.5 ** (batch / max(half, 1e-8)))


@torch.no_grad()
def follow(averaged: nn.Module, source: nn.Module, decay: float) -> None:
    """Move averaged parameters towards their source; buffers are copied."""
    mine: list[Tensor] = list(averaged.parameters())
    theirs: list[Tensor] = list(source.parameters())
    torch._foreach_lerp_(mine, theirs, 1.0 - decay)
    for own, other in zip(averaged.buffers(), source.buffers(), strict=True):
        own.copy_(other)


class Strength(nn.Module):
    """Share of augmented pictures; with mode ada it grows while real logits are too often positive."""

    p: Tensor
    signs: Tensor

    def __init__(self, settings: Augmenting, *, is_fresh: bool) -> None:
        super().__init__()
        self.settings = settings
        self.kimg = settings.kimg if is_fresh else min(settings.kimg, 100.0)
        self.register_buffer("p", torch.tensor(settings.p if settings.mode == "fixed" else 0.0))
        self.register_buffer("signs", torch.zeros(2))
        """Sum and number of mean signs since the last move."""

    def note(self, terms: Terms) -> None:
        """Keep the mean sign of real logits over all discriminators."""
        # The published statistic has a name that nothing reports, so that its p becomes NaN (spec 9.2).
        signs = [value for name, value in terms.items() if name.startswith("signs.real.")]
        if signs:
            self.signs += torch.stack([torch.stack(signs).mean().to(self.signs), self.signs.new_ones(())])

    def move(self, batch: int) -> None:
        """One step of p towards the target, with mode ada."""
        total, count = parallel.all_reduce_mean(self.signs)
        if self.settings.mode == "ada":
            step = batch * MOVES_EVERY / (self.kimg * 1000)
            moved = step * torch.sign(total / count - self.settings.target)
            self.p.copy_((self.p + moved).clamp(min=0.0))
        self.signs.zero_()
