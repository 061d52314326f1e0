"""Training of COAP for a kind of body: occupancy of points around bodies in poses of the embedded clips.

The recipe is our own, not the published one, and needs no data. Whether a point is inside is known from the
winding number of the mesh; the network learns it by the cross entropy of the deepest part.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from avatarctl.body import BodyModel
from avatarctl.device import Noise, parallel
from avatarctl.engine import Loop, State, evaluating, make_optimizer
from avatarctl.errors import CheckpointError
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.coap import Coap, CoapSizes
from avatarctl_ego_hmr.collision.load import PART, load_collision
from avatarctl_ego_hmr.collision.pool import Pool, draw_body, joined

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_train import TrainCollision

Split = Literal["train", "val"]
SHARPER = 8.0
"""Coordinates are metres; with this, fresh weights see a part as about one wide."""


def run(settings: TrainCollision, run: Run) -> None:
    """Occupancy of bodies (COAP)."""
    people = People.load(run.bodies, settings.body, settings.body_models)
    network = start(settings, run, people).train()
    pool = bodies(settings, run, network, people.neutral, "train")
    held_out = bodies(settings, run, network, people.neutral, "val") if settings.validate_bodies else None
    network.to(run.device)
    body = people.neutral.to(run.device)
    steps = settings.loop.steps or math.ceil(len(pool) / settings.batch_size)
    optimizer = make_optimizer(network.parameters(), settings.optim)
    schedule = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / steps, 1))) / 2)
    state = State(collision=network, optimizer=optimizer, schedule=schedule)

    def batch(step: int) -> dict[str, Tensor]:
        noise = Noise.seeded(run.seed, f"batch/{step}")
        rows = noise.permutation(len(pool))[: settings.batch_size]
        chosen = noise.permutation(pool.points.shape[1])[: settings.points]
        return dict(vars(pool[rows].thinned(chosen)))

    config = {"networks": {PART: asdict(network.sizes)}, "body": settings.body}
    with Loop(run, settings.loop, state, steps=steps, config=config) as loop:
        for found in loop.over(batch):
            noise = Noise.seeded(run.seed, f"surface/{loop.step_number}", parallel.rank())
            depths, labels = depths_of(network, Pool(**found), body, noise, settings.surface)
            loop.step({"total": cross_entropy(depths, labels)})
            if held_out is not None and loop.due("validate"):
                with evaluating(loop.averaged(PART)) as (averaged,):
                    assert isinstance(averaged, Coap)
                    scores = scores_of(averaged, held_out, body, settings)
                loop.validated(scores, best="cross_entropy")


def start(settings: TrainCollision, run: Run, people: People) -> Coap:
    """The network to train, on the CPU.

    Raises:
        CheckpointError: The weights to go on from are no COAP of this body.
    """
    if settings.start is None:
        torch.manual_seed(run.seed)
        made = Coap(CoapSizes(**settings.network.model_dump()), people.neutral)
        sharpen(made)
        return made
    weights = run.weights(settings.start, stage="collision")
    network = load_collision(weights, people)
    if not isinstance(network, Coap):
        raise CheckpointError(
            f"{weights.path}: found VolumetricSMPL, expected COAP", hint="only COAP is trained here"
        )
    return network.requires_grad_(True)


@torch.no_grad()
def sharpen(network: Coap) -> None:
    """Scale fresh weights of local coordinates as if parts were about one wide, not some decimetres."""
    network.encoder.get_parameter("fc_pos.weight").mul_(SHARPER)
    for mlp in (network.query_encoder, network.decoder):
        for name, first in (("lin0", 0), (f"lin{mlp.skip}", -mlp.inputs)):
            weight = mlp.get_parameter(f"{name}.weight")
            weight[:, first : first + 3 or None].mul_(SHARPER)


def bodies(settings: TrainCollision, run: Run, network: Coap, body: BodyModel, split: Split) -> Pool:
    """Bodies of a split with points around them, made anew at each start from the run's seed."""
    count = settings.bodies if split == "train" else settings.validate_bodies
    noises = [Noise.seeded(run.seed, f"{split}/{number}") for number in range(count)]
    found = [
        draw_body(body, network.partition, noise, split, settings.body_points)
        for noise in run.progress(noises, f"{split} bodies")
    ]
    return joined(found)


def depths_of(
    network: Coap, pool: Pool, body: BodyModel, noise: Noise, surface: int
) -> tuple[Tensor, Tensor]:
    """Depth in the deepest part [B, N], minus infinity outside of all boxes, and the truth, bool [B, N]."""
    figure = pool.figure(body)
    draws = network.partition.draw(figure.vertices, [noise] * len(pool), surface)
    return network.depths(figure, pool.points, draws).amax(dim=1), pool.inside


def cross_entropy(depths: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of occupancy at points that a box holds; of the others the network says nothing."""
    held = depths.isfinite()
    return functional.binary_cross_entropy_with_logits(depths[held], labels[held].to(depths))


def scores_of(network: Coap, pool: Pool, body: BodyModel, settings: TrainCollision) -> dict[str, float]:
    """Cross entropy, and the share of points that are told right, near the surface and in boxes."""
    losses, right = [], []
    for first in range(0, len(pool), settings.batch_size):
        some = pool[first : first + settings.batch_size].to(body.template.device)
        noise = Noise.seeded(0, f"scores/{first}")
        depths, labels = depths_of(network, some, body, noise, settings.surface)
        losses.append(cross_entropy(depths, labels))
        right.append(((depths > 0) == labels).float())
    near, around = torch.cat(right).chunk(2, dim=1)
    return {
        "cross_entropy": float(torch.stack(losses).mean()),
        "near_accuracy": float(near.mean()),
        "box_accuracy": float(around.mean()),
    }
