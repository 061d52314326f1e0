"""Training of one person's avatar (spec 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avatarctl.checkpoints import Weights
from avatarctl.config.groups import Loop as Length
from avatarctl.device import Noise, parallel
from avatarctl.engine import Loop, State, evaluating
from avatarctl.errors import SettingsError
from avatarctl.metrics.image import Lpips
from avatarctl.runs.index import pointed
from avatarctl_video_avatar.items import Items
from avatarctl_video_avatar.losses import Criterion
from avatarctl_video_avatar.model.avatar import OTHERS, PART, Avatar, AvatarSizes, build, load, steps_of
from avatarctl_video_avatar.model.rendering import Scene, picture
from avatarctl_video_avatar.model.surface import Surface
from avatarctl_video_avatar.pipeline import check_person
from avatarctl_video_avatar.pretraining import pretrain
from avatarctl_video_avatar.sample import Subject
from avatarctl_video_avatar.scores import scores
from avatarctl_video_avatar.settings_model import Rendering
from avatarctl_video_avatar.training import Ahead, Drawn, Setup, perceptual_of

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_train import Rates, Train


def run(settings: Train, run: Run) -> None:
    """From a prepared recording to an avatar."""
    if run.precision != "fp32":
        raise SettingsError(
            f"--precision {run.precision}: found {run.precision}, but bones and depths need fp32",
            hint="leave --precision out",
        )
    setup = Setup.of(settings, run)
    weights = None if settings.start is None else run.weights(settings.start, target="video-avatar")
    avatar, done = avatar_of(settings, weights, setup, run)
    perceptual = perceptual_of(settings, weights, run)
    perceptual = None if perceptual is None else perceptual.to(run.device)
    criterion, subject = Criterion(settings.losses, perceptual), setup.items.subject.to(run.device)
    optimizer = optimizer_of(avatar, settings.optim)
    state = State(avatar=avatar, optimizer=optimizer, schedule=schedule_of(optimizer, settings.optim, done))
    ahead = Ahead(setup.items.training, len(setup.items), settings.batch_size, run.seed, settings.workers)
    length = length_of(settings, ahead.steps_per_epoch, done)
    per_epoch, config = ahead.steps_per_epoch, config_of(settings, avatar, setup)
    with ahead, Loop(run, length, state, steps_per_epoch=per_epoch, config=config) as loop:
        loop.step_number = loop.step_number or done
        for step in loop.over(lambda step: step):
            drawn = [one.to(run.device) for one in ahead(step)]
            loop.step(learn(avatar, subject, drawn, criterion, settings.rendering, step))
            if setup.held_out is not None and loop.due("validate"):
                with evaluating(loop.averaged(PART)) as (model,):
                    assert isinstance(model, Avatar)
                    found = score(model, subject, setup.held_out, perceptual, loop.step_number, run)
                is_lower = "lpips" in found
                loop.validated(found, best="lpips" if is_lower else "psnr", lower=is_lower)


def avatar_of(settings: Train, weights: Weights | None, setup: Setup, run: Run) -> tuple[Avatar, int]:
    """The avatar to train on the run's device, and how many steps it has had.

    Args:
        weights: Those that the training starts from; None for a fresh avatar.

    Raises:
        CheckpointError: They hold another person's avatar, or none.
    """
    if weights is not None:
        check_person(weights, setup.data)
        avatar = load(weights, run.device, frozen=False)
        tell_differences(weights, avatar.sizes, settings, run)
        return avatar, steps_of(weights)
    avatar = build(AvatarSizes(**settings.network.model_dump()), Noise.seeded(run.seed, "network")).to(
        run.device
    )
    is_resumed = run.resume and pointed(run.folder, "last") is not None
    if settings.pretrain_skinning and not is_resumed:
        if avatar.skinning_model is None:
            raise SettingsError(
                f"pretrain_skinning {settings.pretrain_skinning}: an avatar with network.deform "
                f"{settings.network.deform} has no skinning network",
                hint="--pretrain-skinning 0",
            )
        noise, steps = Noise.seeded(run.seed, "pretraining"), settings.pretrain_skinning
        error = pretrain(avatar, setup.body, setup.data.canonical, steps, noise, run)
        run.log.info("the skinning network starts with an error of %.3g", error)
    return avatar, 0


def tell_differences(weights: Weights, sizes: AvatarSizes, settings: Train, run: Run) -> None:
    """Say where weights were made with other settings: sizes are theirs, all else is this training's."""
    own, theirs = settings.network.model_dump(), sizes.stored()
    network = {f"network.{name}": (theirs[name], own[name]) for name in theirs if theirs[name] != own[name]}
    for name, (there, here) in network.items():
        run.log.info("%s: %s is %s, as in the weights; the settings say %s", weights.path, name, there, here)
    stated, now = weights.config.get("rendering"), settings.rendering.model_dump()
    stated = stated if isinstance(stated, dict) else {}
    for name, here in now.items():
        if name in stated and stated[name] != here:
            run.log.warning(
                "%s: was trained with rendering.%s %s; goes on with %s",
                weights.path,
                name,
                stated[name],
                here,
            )


def optimizer_of(avatar: Avatar, settings: Rates) -> Optimizer:
    """Adam with a group for each learning rate; a decay of 0 makes AdamW the same."""
    rates, groups = settings.model_dump(), avatar.groups()
    groups = {OTHERS: groups.pop(OTHERS), **groups}  # whose rate is the one that is logged
    each = [
        {"params": params, "name": name, "lr": rates.get(f"lr_{name}", settings.lr), "clip": settings.clip}
        for name, params in groups.items()
    ]
    return torch.optim.AdamW(each, betas=settings.betas, weight_decay=settings.weight_decay)


def schedule_of(optimizer: Optimizer, settings: Rates, done: int) -> LambdaLR:
    """Rates that fall from the first step on; there is no warm-up, whatever the published name says.

    Args:
        done: Steps that the weights have had already.
    """
    return LambdaLR(optimizer, lambda step: 0.1 ** ((done + step) / settings.decade))


def length_of(settings: Train, per_epoch: int, done: int) -> Length:
    """The loop in steps.

    Raises:
        SettingsError: There is nothing left to do.
    """
    given = settings.loop
    steps = given.steps or settings.epochs * per_epoch
    if done >= steps:
        raise SettingsError(
            f"the weights have {done} steps, and the training ends after {steps}",
            hint=f"steps count from the beginning: --set loop.steps={done + per_epoch} or more",
        )
    every = {
        "validate_every": given.validate_every or settings.validate_epochs * per_epoch,
        "save_every": given.save_every or settings.save_epochs * per_epoch,
    }
    return given.model_copy(update={"steps": steps, **every})


def config_of(settings: Train, avatar: Avatar, setup: Setup) -> dict[str, object]:
    """What is stored with the weights."""
    return {
        "networks": {PART: avatar.sizes.stored()},
        "body": setup.data.about.body,
        "rendering": settings.rendering.model_dump(),
        "subject": setup.data.name,
        "offset": settings.offset,
        "validate_views": settings.validate_views,
    }


def learn(
    avatar: Avatar,
    subject: Subject,
    drawn: Sequence[Drawn],
    criterion: Criterion,
    rendering: Rendering,
    step: int,
) -> dict[str, Tensor]:
    """Mean terms over the pictures of a step; `total` has what is left of their mean's gradient.

    Pictures go backward one by one, so that memory holds the graph of one; the caller does the last.
    """
    means: dict[str, Tensor] = {}
    for number, (one, surface) in enumerate(zip(drawn, avatar.surfaces(len(drawn)), strict=True), start=1):
        found = terms_of(avatar, subject, one, criterion, rendering, step, surface)
        terms = {name: term / len(drawn) for name, term in found.items()}
        if number < len(drawn):
            torch.autograd.backward(terms["total"])
            terms = {name: term.detach() for name, term in terms.items()}
        means = {name: means[name] + term if name in means else term for name, term in terms.items()}
    return means


def terms_of(
    avatar: Avatar,
    subject: Subject,
    drawn: Drawn,
    criterion: Criterion,
    rendering: Rendering,
    step: int,
    surface: Surface,
) -> dict[str, Tensor]:
    """The terms of one picture, and their sum."""
    sample, shift = drawn
    scene = Scene(avatar, subject, sample.pose, rendering, step, surface=surface)
    rays = sample.rays
    made = scene.render(
        rays.origins, rays.directions, rays.depths, shift if rendering.perturb else None, sample.background
    )
    return criterion.terms(made, sample, step)


def score(
    avatar: Avatar, subject: Subject, items: Items, perceptual: Lpips | None, step: int, run: Run
) -> dict[str, float]:
    """Means of PSNR, SSIM and LPIPS over pictures, always with the same draws (spec 7.1).

    Args:
        step: Steps finished.
    """
    names = ("psnr", "ssim", "lpips")
    sums = torch.zeros(2, len(names), dtype=torch.float64)
    for index in run.progress(range(run.rank, len(items), run.world), "validation"):
        sample = items.picture(index).to(run.device)
        scene = Scene(avatar, subject, sample.pose, items.rendering, step)
        made = picture(scene, sample, Noise.seeded(run.seed, f"validation/{index}"))
        found = scores(made, sample, perceptual)
        sums += torch.tensor([[found.get(name, 0.0) for name in names], [name in found for name in names]])
    total, count = parallel.all_reduce_mean(sums)
    return {name: float(total[place] / count[place]) for place, name in enumerate(names) if count[place]}
