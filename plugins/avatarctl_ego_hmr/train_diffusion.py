"""Training of stage 2: poses from noise, given picture, room and place (spec 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.engine import Loop, State, evaluating, make_optimizer
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Draw, seeded
from avatarctl_ego_hmr.collision.parts import PartNetwork
from avatarctl_ego_hmr.losses_diffusion import Collide, Criterion, Predicted
from avatarctl_ego_hmr.model.diffusion import NUMBERS, PoseDiffusion
from avatarctl_ego_hmr.model.networks import build, load
from avatarctl_ego_hmr.sampling import STEPS, sample, schedule, streams
from avatarctl_ego_hmr.training import Means, Setup, check_start, start_image, start_means
from avatarctl_ego_hmr.views import Truth, View

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_train import TrainDiffusion

BEST = "mpjpe_visible"
"""The validated number whose lowest value makes the best checkpoint, metres."""
NONE = "none"


@dataclass(frozen=True)
class Drawn:
    """What a step draws."""

    noise: Tensor
    """Added to normalised poses [B, 144]."""
    steps: Tensor
    """Steps of the diffusion, int64 [B]."""
    keep_image: Tensor
    """People of whom the image is told, bool [B]."""
    rows: Tensor
    """Places in the whole batch, int64 [B]."""


class Step(NamedTuple):
    """What a step is given."""

    view: View
    truth: Truth
    drawn: Drawn


def run(settings: TrainDiffusion, run: Run) -> None:
    """EgoHMR: the pose of a body at a given place."""
    setup = Setup.of(settings, run, settings.points)
    network = network_of(settings, run, setup).to(run.device).train()
    collision = collision_of(settings, run, setup.people)
    per_epoch, batch = batches(settings, run, setup)
    criterion = Criterion(setup.people, settings.losses, setup.size)
    state = State(diffusion=network, optimizer=make_optimizer(network.parameters(), settings.optim))
    config = {"networks": {"diffusion": asdict(network.sizes)}, "body": setup.kind}
    with Loop(run, settings.loop, state, steps_per_epoch=per_epoch, config=config) as loop:
        for step in loop.over(batch):
            collide = None
            if collision is not None and loop.epoch >= settings.collision_epoch:
                collide = colliding(collision, surfaces(run.seed, loop.step_number, step.drawn.rows))
            made = denoised(network, step, settings.loosen, run.autocast())
            loop.step(step_losses(made, step, criterion, collide))
            if setup.held_out is not None and loop.due("validate"):
                with evaluating(loop.averaged("diffusion")) as (model,):
                    assert isinstance(model, PoseDiffusion)
                    loop.validated(score(model, setup, criterion, settings, run), best=BEST)


def network_of(settings: TrainDiffusion, run: Run, setup: Setup) -> PoseDiffusion:
    """The network to train: fresh, or from the weights that the training starts from."""
    network: PoseDiffusion
    if settings.start is not None:
        weights = run.weights(settings.start, stage="diffusion")
        check_start(weights, setup.kind, run)
        network = load(weights, "diffusion", torch.device("cpu")).requires_grad_(True)
    else:
        network = build("diffusion", settings.network.model_dump())
        for buffer, numbers in zip(
            (network.pose_mean, network.pose_std), setup.items.statistics(), strict=True
        ):
            buffer.copy_(torch.from_numpy(numbers))
        if settings.mean_params is not None:
            betas, _ = start_means(run.input(settings.mean_params, "mean_params"))
            network.beta_layer.init_betas.copy_(betas)
    start_image(network.backbone, settings, run)
    return network


def collision_of(settings: TrainDiffusion, run: Run, people: People) -> PartNetwork | None:
    """The collision network of the loss; None where there is no such loss.

    Raises:
        DataError: Its file was not found.
        CheckpointError: The file holds none, or one of other bodies.
    """
    if settings.collision == NONE or not settings.losses.collision:
        return None
    try:
        weights = run.weights(settings.collision, stage="collision")
    except DataError as error:
        raise DataError(
            f"collision: {error.message}",
            hint="--collision FILE (coap_smpl_neutral.ckpt from COAP's authors, github.com/markomih/COAP), "
            f"or --collision {NONE} to train without",
        ) from error
    return load_collision(weights, people)


def batches(settings: TrainDiffusion, run: Run, setup: Setup) -> tuple[int, Callable[[int], Step]]:
    """Steps in an epoch, and all that a step is given, from seed and step alone."""
    per_epoch, people = setup.shuffled(settings.batch_size, run.seed)

    def batch(step: int) -> Step:
        view, truth = people(step)
        drawn = draw(Noise.seeded(run.seed, f"diffusion/{step}"), len(view), settings.image_drop)
        return Step(view, truth, drawn)

    return per_epoch, batch


def draw(noise: Noise, count: int, image_drop: float) -> Drawn:
    """What a step draws for so many people."""
    return Drawn(
        noise=noise.normal((count, NUMBERS)),
        steps=noise.integers(0, STEPS, (count,)),
        keep_image=noise.uniform((count,)) >= image_drop,
        rows=torch.arange(count),
    )


def surfaces(seed: int, step: int, rows: Tensor) -> Draw:
    """Draws on the surfaces of the bodies of a step, each from a stream of its own."""
    return seeded([Noise.seeded(seed, f"surface/{step}/{row}") for row in rows.tolist()])


def colliding(collision: PartNetwork, draws: Draw) -> Collide:
    """The collision as the losses ask for it."""
    return lambda figure, points, considered: collision.loss(figure, points, draws, considered)


def denoised(
    network: PoseDiffusion, step: Step, loosen: bool, precision: AbstractContextManager[None] | None = None
) -> Predicted:
    """What the network makes of true poses with noise, at their true place.

    Args:
        loosen: Hips count as seen where the knees are.
        precision: The network's; left out: that of its weights.
    """
    view, truth, drawn = step
    clean = network.normalised(matrix_from_axis_angle_smpl(truth.poses))
    noisy = schedule().add_noise(clean, drawn.noise, drawn.steps)
    with precision or nullcontext():
        condition = network.condition(view, truth.transl, loosen=loosen, mask=drawn.keep_image)
        made, betas = network(noisy, drawn.steps, condition).float(), network.betas(condition).float()
    return Predicted(network.matrices(made), betas, network.poses_from(made))


def step_losses(
    made: Predicted, step: Step, criterion: Criterion, collide: Collide | None = None
) -> dict[str, Tensor]:
    """The terms of a step, and their weighed sum "total"."""
    terms = criterion.terms(made, step.view, step.truth, collide)
    return {"total": criterion.total(terms), **terms}


def score(
    network: PoseDiffusion, setup: Setup, criterion: Criterion, settings: TrainDiffusion, run: Run
) -> dict[str, float]:
    """Errors of bodies sampled for the held-out people, always from the same noise.

    `mpjpe_visible` counts the joints in the picture; `loss` lacks the terms of orthogonality and collision.
    """
    means, error, joints, first = Means(), 0.0, 0, 0
    for view, truth in setup.validation(settings.batch_size):
        names = [f"validation/{row}" for row in range(first, first + len(view))]
        with run.autocast():
            found = sample(
                network,
                network.condition(view, truth.transl, loosen=settings.loosen),
                view.points - truth.transl[:, None],
                streams(run.seed, names, 1),
                spacing=settings.validate_sampler,
                fuse=False,
            )
        made = Predicted(found.matrices[:, 0].float(), found.betas[:, 0].float())
        terms = criterion.terms(made, view, truth)
        means.add({"loss": criterion.total(terms), **terms}, len(view))
        summed, count = criterion.visible_errors(made, view, truth)
        error, joints, first = error + float(summed), joints + int(count), first + len(view)
    return {BEST: error / joints if joints else float("nan"), **means.result()}
