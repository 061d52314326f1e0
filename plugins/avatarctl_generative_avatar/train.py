"""Training of a generator of people and its discriminators (spec 5)."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import nn

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.load import is_finite
from avatarctl.config.groups import Loop as Length
from avatarctl.device import Noise
from avatarctl.engine import Loop, State
from avatarctl.errors import CheckpointError, SettingsError
from avatarctl_generative_avatar.augment import Augment
from avatarctl_generative_avatar.body import load_body
from avatarctl_generative_avatar.dataset import Photos, order
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.deform.volumes import load_sdf
from avatarctl_generative_avatar.losses import Pair, real_of
from avatarctl_generative_avatar.model import discriminator as discriminators
from avatarctl_generative_avatar.model import generator as generators
from avatarctl_generative_avatar.model.sizes import (
    DISCRIMINATOR,
    GENERATOR,
    RAW,
    DiscriminatorSizes,
    GeneratorSizes,
)
from avatarctl_generative_avatar.sheets import Sheets
from avatarctl_generative_avatar.training import Training

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_train import Train

SHARP = 0.02
"""Scale of signed distances in densities, metres, where a generator begins as a body; published: 0.1."""
SMALLEST = 8
"""Side of the smallest picture that a discriminator looks at."""


def run(settings: Train, run: Run) -> None:
    """From photos to a generator."""
    check(settings, run)
    weights = None if settings.start is None else run.weights(settings.start, target="generative-avatar")
    photos = Photos(
        run.input(settings.data, "data"),
        settings.network.img_resolution,
        max_size=settings.max_size,
        xflip=settings.mirror,
        seed=run.seed,
    )
    if photos.body is not None and photos.body != settings.body:
        raise SettingsError(
            f"body {settings.body}: the labels of {settings.data} are of the body '{photos.body}'",
            hint=f"--body {photos.body}",
        )
    training = training_of(settings, photos, weights, run)
    pair, state = training.pair, state_of(training)
    sheets = Sheets(settings.grid, training.labels, training.averaged, run)
    length, config = length_of(settings), config_of(settings, training)
    sheet_every = steps_of(settings.picture_kimg, settings) if settings.picture_kimg else 0
    with Loop(run, length, state, config=config) as loop:
        if sheet_every and run.is_writer and not loop.step_number:
            sheets.real(photos)
        share = settings.batch_size // run.world
        indices = order(len(photos), run.seed, rank=run.rank, world=run.world, start=loop.step_number * share)
        batches = photos.batches(indices, share, settings.workers)
        for step, batch in zip(loop.over(lambda step: step), batches, strict=False):
            loop.count(training.learn(step, real_of(batch, run.device)))
            images = loop.step_number * settings.batch_size
            loop.config["images"] = images
            is_due = loop.step_number == loop.steps or loop.step_number % max(sheet_every, 1) == 0
            if sheet_every and run.is_writer and is_due:
                sheets.made(images, pair.template, settings.rendering)
    sheets.end()


def check(settings: Train, run: Run) -> None:
    """Refuse settings that do not go together.

    Raises:
        SettingsError: They do not.
    """
    if run.precision != "fp32":
        raise SettingsError(
            f"--precision {run.precision}: found {run.precision}, but densities and roots need fp32",
            hint="leave --precision out",
        )
    if settings.loop.ema:
        raise SettingsError(
            f"loop.ema {settings.loop.ema}: the averaged generator has its own half-life",
            hint="--set optim.ema_kimg=10",
        )
    if settings.losses.normal_gan and not settings.rendering.is_normal:
        raise SettingsError(
            "losses.normal_gan true: its discriminator needs normals, and rendering.is_normal is false",
            hint="--set losses.normal_gan=false, or --set rendering.is_normal=true",
        )
    _check_channels(settings)
    side, losses = settings.network.img_resolution, settings.losses
    least = SMALLEST * (16 if losses.face_gan and losses.normal_gan else 8 if losses.face_gan else 2)
    if side < least:
        raise SettingsError(
            f"network.img_resolution {side}: the discriminators need {least} or more",
            hint="--set losses.face_gan=false"
            if losses.face_gan
            else f"--set network.img_resolution={least}",
        )
    if settings.batch_size % run.world:
        raise SettingsError(
            f"batch_size {settings.batch_size}: {run.world} processes cannot share it equally",
            hint=f"choose a multiple of {run.world}",
        )
    share, group = settings.batch_size // run.world, settings.critics.mbstd_group_size
    size = min(settings.micro_batch or share, share)
    for one in {size, share % size or size}:
        if one % min(group, one):
            raise SettingsError(
                f"a process works on {one} photos at a time, which groups of {group} "
                "(critics.mbstd_group_size) do not divide",
                hint=f"choose --batch-size and --micro-batch as multiples of {group}, or groups of 1",
            )


def _check_channels(settings: Train) -> None:
    """Refuse networks whose largest resolution has no channel."""
    network, critics = settings.network, settings.critics
    for name, base, side in (
        ("network", network.channel_base, network.plane_resolution),
        ("critics", critics.channel_base, network.img_resolution),
    ):
        if base < side:
            raise SettingsError(
                f"{name}.channel_base {base}: no channel is left at {side} pixels",
                hint=f"--set {name}.channel_base={side}, or more",
            )


def training_of(settings: Train, photos: Photos, weights: Weights | None, run: Run) -> Training:
    """The networks on the run's device, fresh or with tensors of other weights.

    Raises:
        AssetError: The licensed body was not found.
        CheckpointError: Tensors of the weights have other shapes, or none has a name of the networks.
    """
    body = load_body(run.bodies, settings.body, settings.body_models)
    sdf = None if settings.sdf is None else load_sdf(run.input(settings.sdf, "sdf"))
    network, critics, losses = settings.network, settings.critics, settings.losses
    generator = generators.build(
        GeneratorSizes(**network.model_dump(), decoder_lr_mul=settings.optim.decoder_lr_mul),
        Noise.seeded(run.seed, "generator"),
    )
    if settings.begin == "body":
        begin_as_body(generator)
    discriminator = discriminators.build(
        DiscriminatorSizes(img_resolution=network.img_resolution, **critics.model_dump()),
        Noise.seeded(run.seed, "discriminator"),
        losses.normal_gan,
        losses.face_gan,
    )
    averaged = copy.deepcopy(generator)
    if weights is not None:
        raw = RAW if weights.holds(RAW) else GENERATOR
        parts = ((raw, generator), (GENERATOR, averaged), (DISCRIMINATOR, discriminator))
        if not sum(begin_with(module, weights, part, settings, run) for part, module in parts):
            raise CheckpointError(
                f"{weights.path}: nothing in it is of a generator of people or its discriminators; it holds "
                f"{', '.join(weights.parts) or 'no networks'}",
                hint="avatarctl inspect FILE says what a file is; without --start a training begins fresh",
            )
    for module in (generator, averaged, discriminator):
        module.to(run.device)
    pair = Pair(
        generator=generator.train(),
        discriminator=discriminator.train(),
        template=Template.of(body, sdf).to(run.device),
        body=body.to(run.device),
        rendering=settings.rendering,
        settings=losses,
        augment=None if settings.augment.mode == "none" else Augment(),
    )
    labels = torch.as_tensor(photos.labels).to(run.device)
    averaged.eval().requires_grad_(False)
    return Training(pair, averaged, labels, settings, run.seed, is_fresh=weights is None)


@torch.no_grad()
def begin_as_body(generator: generators.Generator) -> None:
    """Let a generator begin with the body's own surface: the decoder adds nothing to its signed distances."""
    generator.decoder.get_parameter("net.2.weight")[0] = 0
    generator.renderer.sigmoid_beta.fill_(SHARP)


@torch.no_grad()
def begin_with(module: nn.Module, weights: Weights, part: str, settings: Train, run: Run) -> int:
    """Copy what weights have under the same names, and count it; the rest stays fresh.

    Raises:
        CheckpointError: A tensor has another shape.
    """
    if not weights.holds(part):
        run.log.warning("%s: holds no '%s'; it begins fresh", weights.path, part)
        return 0
    given, own = weights.part(part), module.state_dict()
    if bad := [name for name, tensor in given.items() if not is_finite(tensor)]:
        raise CheckpointError(
            f"{weights.path}: {part}: {bad[0]}: holds numbers that are not finite",
            hint="take another checkpoint of the run",
        )
    names = [name for name in own if name in given and (settings.start_noise or "noise" not in name)]
    for name in names:
        if given[name].shape != own[name].shape:
            raise CheckpointError(
                f"{weights.path}: {part}: {name}: found {list(given[name].shape)}, this training has "
                f"{list(own[name].shape)}",
                hint="give network.* and critics.* the sizes of the weights: avatarctl inspect FILE",
            )
        own[name].copy_(given[name])
    run.log.info("%s: %s: %d of %d tensors taken over", weights.path, part, len(names), len(own))
    return len(names)


def state_of(training: Training) -> State:
    """What checkpoints hold."""
    strength = {} if training.strength is None else {"augment": training.strength}
    networks: dict[str, nn.Module] = {
        GENERATOR: training.averaged,
        RAW: training.pair.generator,
        DISCRIMINATOR: training.pair.discriminator,
        **strength,
    }
    return State(
        **networks,
        adam_generator=training.generator_adam,
        adam_discriminator=training.discriminator_adam,
    )


def steps_of(kimg: float, settings: Train) -> int:
    """Steps in which so many thousand photos are seen."""
    return max(math.ceil(kimg * 1000 / settings.batch_size), 1)


def length_of(settings: Train) -> Length:
    """The loop in steps."""
    given = settings.loop
    return given.model_copy(
        update={
            "steps": given.steps or steps_of(settings.kimg, settings),
            "save_every": given.save_every or steps_of(settings.save_kimg, settings),
        }
    )


def config_of(settings: Train, training: Training) -> dict[str, object]:
    """What is stored with the weights; photos seen are added as they are counted."""
    generator = asdict(training.pair.generator.sizes)
    critics = DiscriminatorSizes(
        img_resolution=settings.network.img_resolution, **settings.critics.model_dump()
    )
    return {
        "networks": {GENERATOR: generator, RAW: generator, DISCRIMINATOR: asdict(critics)},
        "rendering": settings.rendering.model_dump(),
        "body": settings.body,
        "images": 0,
    }
