"""Training of stage 1: the network and its discriminator, both in one step (spec 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.device import Noise
from avatarctl.engine import Loop, State, evaluating, make_optimizer
from avatarctl.engine.shares import same_start
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl, sixd_from_matrix
from avatarctl_ego_hmr.losses_scene import Criterion, adversarial, discriminator_loss
from avatarctl_ego_hmr.model.networks import build, load
from avatarctl_ego_hmr.model.scene import NUMBERS, SceneNet
from avatarctl_ego_hmr.training import Means, Setup, check_start, start_image, start_means
from avatarctl_ego_hmr.views import Truth, View

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_train import TrainScene

BEST = "keypoints_3d_mode"
"""The validated number whose lowest value makes the best checkpoint."""


@dataclass(frozen=True)
class Drawn:
    """What a step draws."""

    latents: Tensor
    """Of all samples but the likeliest [B, S - 1, 144]."""
    noise: Tensor
    """Added to true 6D poses [B, 144]."""
    poses: Tensor | None
    """Recorded poses for the discriminator, axis-angle without root [B, 23, 3]; None without it."""
    betas: Tensor | None
    """Their shapes [B, 10]."""


class Step(NamedTuple):
    """What a step is given."""

    view: View
    truth: Truth
    drawn: Drawn


def run(settings: TrainScene, run: Run) -> None:
    """ProHMR-scene: where the body is."""
    setup = Setup.of(settings, run, settings.points)
    network = network_of(settings, run, setup).to(run.device).train()
    generator, discriminator = optimizers_of(network, settings)
    state = State(scene=network, generator=generator, discriminator=discriminator)
    per_epoch, batch = batches(settings, run, setup)
    criterion = Criterion(setup.people, settings.losses, settings.full_2d, settings.global_3d, setup.size)
    config = {"networks": {"scene": asdict(network.sizes)}, "body": setup.kind}
    steps = settings.loop.steps or per_epoch
    with Loop(run, settings.loop, state, steps=steps, steps_per_epoch=per_epoch, config=config) as loop:
        for step in loop.over(batch):
            with run.autocast():
                condition = network.condition(step.view).float()
            start_norms(network, step.truth, condition)
            loop.step(step_losses(network, condition, step, criterion))
            if setup.held_out is not None and loop.due("validate"):
                with evaluating(loop.averaged("scene")) as (model,):
                    assert isinstance(model, SceneNet)
                    loop.validated(score(model, setup, criterion, settings, run), best=BEST)


def network_of(settings: TrainScene, run: Run, setup: Setup) -> SceneNet:
    """The network to train: fresh, or from the weights that the training starts from."""
    network: SceneNet
    if settings.start is not None:
        weights = run.weights(settings.start, stage="scene")
        check_start(weights, setup.kind, run)
        network = load(weights, "scene", torch.device("cpu")).requires_grad_(True)
    else:
        network = build("scene", settings.network.model_dump())
        if settings.mean_params is not None:
            betas, camera = start_means(run.input(settings.mean_params, "mean_params"))
            network.flow.fc_head.init_betas.copy_(betas)
            network.flow.fc_head.init_cam.copy_(camera)
    start_image(network.backbone, settings, run)
    return network


def optimizers_of(network: SceneNet, settings: TrainScene) -> tuple[Optimizer, Optimizer]:
    """That of the network, and that of its discriminator."""
    theirs = {id(parameter) for parameter in network.discriminator.parameters()}
    own = [parameter for parameter in network.parameters() if id(parameter) not in theirs]
    return (
        make_optimizer(own, settings.optim),
        make_optimizer(network.discriminator.parameters(), settings.optim),
    )


def batches(settings: TrainScene, run: Run, setup: Setup) -> tuple[int, Callable[[int], Step]]:
    """Steps in an epoch, and all that a step is given, from seed and step alone."""
    per_epoch, people = setup.shuffled(settings.batch_size, run.seed)
    mocap = None
    if settings.mocap is not None:
        mocap = read_mocap(run.input(settings.mocap, "mocap"))
    elif settings.losses.adversarial:
        run.log.warning(
            "no recorded poses for the discriminator, so there is no adversarial term; "
            "--mocap cmu_mocap.npz (data of ProHMR) brings it"
        )

    def batch(step: int) -> Step:
        view, truth = people(step)
        drawn = draw(Noise.seeded(run.seed, f"scene/{step}"), settings, mocap)
        return Step(view, truth, drawn)

    return per_epoch, batch


def draw(noise: Noise, settings: TrainScene, mocap: tuple[Tensor, Tensor] | None) -> Drawn:
    """What a step draws; recorded poses [m, 23, 3] and shapes [m, 10] are drawn from."""
    count = settings.batch_size
    latents = noise.normal((count, settings.samples - 1, NUMBERS))
    added = settings.pose_noise * noise.normal((count, NUMBERS))
    if mocap is None:
        return Drawn(latents, added, None, None)
    rows = noise.integers(0, len(mocap[0]), (count,))
    return Drawn(latents, added, mocap[0][rows], mocap[1][rows])


def read_mocap(path: Path) -> tuple[Tensor, Tensor]:
    """Recorded poses, axis-angle without root [m, 23, 3], and shapes [m, 10] (spec 2.2).

    Raises:
        DataError: The file lacks them.
    """
    arrays = read_npz(path, ("body_pose", "betas"))
    shapes = {name: array.shape for name, array in arrays.items()}
    rows = len(arrays["betas"]) if "betas" in arrays and arrays["betas"].ndim else 0
    if not rows or shapes != {"body_pose": (rows, 72), "betas": (rows, 10)}:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "neither"
        raise DataError(
            f"{path}: found {found}; expected body_pose [m, 72] and betas [m, 10]",
            hint="name cmu_mocap.npz of ProHMR's data",
        )
    poses, betas = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("body_pose", "betas"))
    if not (torch.isfinite(poses).all() and torch.isfinite(betas).all()):
        raise DataError(f"{path}: holds numbers that are not finite", hint="copy or download the file again")
    return poses[:, 3:].unflatten(1, (-1, 3)), betas


def true_sixd(truth: Truth) -> Tensor:
    """True poses as the flow has them [B, 144]."""
    return sixd_from_matrix(matrix_from_axis_angle_smpl(truth.poses), "columns").flatten(1)


def start_norms(network: SceneNet, truth: Truth, condition: Tensor) -> None:
    """Start the flow's norms from the first batch ever, alike on all ranks."""
    if not bool(network.initialized):
        network.initialise(true_sixd(truth), condition)
        same_start([network.flow])


def step_losses(network: SceneNet, condition: Tensor, step: Step, criterion: Criterion) -> dict[str, Tensor]:
    """The terms of a step; the gradient of their "total" is that of the network and of the discriminator.

    Neither gets a gradient of the other's loss, so that one step of both optimisers is the published two.

    Args:
        condition: Of the step's people [B, C].
    """
    made = network.predict(condition, step.view, step.drawn.latents)
    terms = criterion.terms(made, step.view, step.truth)
    terms["nll"] = -network.log_prob(true_sixd(step.truth) + step.drawn.noise, condition).mean()
    if step.drawn.poses is None or step.drawn.betas is None:
        return {"total": criterion.total(terms), **terms}
    terms["adversarial"] = adversarial(network.discriminator, made)
    generator = criterion.total(terms)
    told = discriminator_loss(network.discriminator, made, step.drawn.poses, step.drawn.betas)
    total = generator + criterion.weights.adversarial * told
    return {"total": total, "generator": generator, "discriminator": told, **terms}


def score(
    network: SceneNet, setup: Setup, criterion: Criterion, settings: TrainScene, run: Run
) -> dict[str, float]:
    """Mean terms over the held-out people, always with the same samples, and their weighed sum."""
    noise, means = Noise.seeded(run.seed, "validation"), Means()
    for view, truth in setup.validation(settings.batch_size):
        latents = noise.normal((len(view), settings.validate_samples - 1, NUMBERS), device=run.device)
        with run.autocast():
            condition = network.condition(view).float()
        terms = criterion.terms(network.predict(condition, view, latents), view, truth)
        terms["nll"] = -network.log_prob(true_sixd(truth), condition).mean()
        means.add({"loss": criterion.total(terms), **terms}, len(view))
    return means.result()
