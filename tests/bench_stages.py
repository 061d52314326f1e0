"""A step of each training stage at the published sizes and settings, on fewer windows, for the bench."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from avatarctl_sparse_tracking import pipeline, train
from avatarctl_sparse_tracking.losses import decoder_losses, refiner_losses, vqvae_losses
from avatarctl_sparse_tracking.model import build
from avatarctl_sparse_tracking.sampling import latents_of, sample
from avatarctl_sparse_tracking.settings_train import TrainDecoder, TrainDiffusion, TrainRefiner, TrainVqvae
from avatarctl_sparse_tracking.training import half, tracked
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import smooth_l1_loss

from avatarctl.body import open_body
from avatarctl.engine import make_optimizer
from avatarctl.geometry.rotations import matrix_from_axis_angle, sixd_from_matrix
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import Tracking

BATCH = 32
"""Windows of a step."""
RUN: Any = SimpleNamespace(rank=0, autocast=nullcontext)
"""The little of a run that a training step looks at."""


def steps() -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and functions that take one step."""
    motion = clips()["dab"].motion()[: BATCH + 1]
    frames = Tracking.from_motion(motion).features().float().unflatten(-1, (3, 18))
    rotations = sixd_from_matrix(matrix_from_axis_angle(motion[1:].body_poses(22))).flatten(1)
    trackers, sixd = pipeline.windows_of(frames), pipeline.windows_of(rotations)
    rest, noise = open_body().rest_joints[:22], torch.randn(BATCH, 10, 384)
    nets: dict[str, Any] = {part: build(part, {}) for part in ("upper", "lower", "decoder")}
    for part in ("upper", "lower"):
        yield f"vqvae {part}", _vqvae(part, half(sixd, part), trackers, rest)
    for part in ("upper", "lower"):
        yield f"diffusion {part}", _diffusion(part, nets, trackers, noise)
    yield "decoder alone", _decoder(nets, ["decoder"], trackers, sixd[:, -1], rest, noise)
    yield "decoder and both samplers", _decoder(nets, list(nets), trackers, sixd[:, -1], rest, noise)
    yield "refiner", _refiner(sixd[:, -1], trackers, rest)


def _step(loss: Callable[[], Tensor], weights: Iterable[Parameter], optim: Any) -> Callable[[], None]:
    optimizer = make_optimizer(weights, optim)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _vqvae(part: str, truth: Tensor, trackers: Tensor, rest: Tensor) -> Callable[[], None]:
    network: Any = build(f"{part}_vqvae", {})
    settings = TrainVqvae()

    def loss() -> Tensor:
        made, quantised = train.autoencode(network, truth, trackers, RUN)
        heads = tracked(trackers)
        terms = vqvae_losses(made[:, -1], truth[:, -1], quantised, heads, part, rest, settings.losses)
        return terms["total"]

    return _step(loss, network.parameters(), settings.optim)


def _diffusion(part: str, nets: dict[str, Any], trackers: Tensor, noise: Tensor) -> Callable[[], None]:
    found = {
        "trackers": trackers,
        "noise": noise,
        "steps": torch.randint(0, 1000, (BATCH,)),
        "rows": torch.randint(0, 22, (BATCH, 2)),
    }

    def loss() -> Tensor:
        given = None
        if part == "lower":
            with torch.no_grad():
                given = sample(nets["upper"], trackers, noise)
        return smooth_l1_loss(train.diffuse(nets[part], noise, found, given), noise)

    return _step(loss, nets[part].parameters(), TrainDiffusion().optim)


def _decoder(
    nets: dict[str, Any], trained: list[str], trackers: Tensor, truth: Tensor, rest: Tensor, noise: Tensor
) -> Callable[[], None]:
    settings = TrainDecoder()

    def loss() -> Tensor:
        with torch.set_grad_enabled(len(trained) > 1):
            latents = latents_of(nets["upper"], nets["lower"], trackers, noise, noise)
        made = nets["decoder"](*latents, trackers)[:, -1]
        return decoder_losses(made, truth, rest, settings.losses)["total"]

    weights = [weight for part in trained for weight in nets[part].parameters()]
    return _step(loss, weights, settings.optim)


def _refiner(frames: Tensor, trackers: Tensor, rest: Tensor) -> Callable[[], None]:
    network, settings = build("refiner", {}), TrainRefiner()

    def loss() -> Tensor:
        made = frames + network(frames[None])[0][0]
        return refiner_losses(made, frames, tracked(trackers), rest, settings.losses)["total"]

    return _step(loss, network.parameters(), settings.optim)
