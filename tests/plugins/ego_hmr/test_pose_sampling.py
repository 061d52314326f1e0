"""Sampling: the steps of both samplers, and samples that depend on their own streams alone."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from avatarctl_ego_hmr.guidance import Guide
from avatarctl_ego_hmr.sampling import ddpm, sample, schedule, streams
from avatarctl_ego_hmr.views import View
from small_networks import network
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.errors import UsageError
from avatarctl.geometry.rotations import matrix_from_sixd

POINTS = torch.full((2, 5, 3), 9.0)
SEED = 4


@dataclass
class Stub:
    """A network whose clean pose is known; its condition is what each image's pose is near."""

    pose_mean: Tensor = field(default_factory=lambda: torch.zeros(144))
    steps: list[int] = field(default_factory=list)
    noisy: list[Tensor] = field(default_factory=list)

    def __call__(self, noisy: Tensor, steps: Tensor, condition: Tensor, *, fuse: bool) -> Tensor:
        assert len(set(steps.tolist())) == 1
        self.steps.append(int(steps[0]))
        self.noisy.append(noisy)
        return condition + 0.2 * noisy.tanh()

    def packed(self, bodies: int) -> AbstractContextManager[None]:
        return nullcontext()

    def betas(self, condition: Tensor) -> Tensor:
        return condition[:, :10]

    def poses_from(self, noisy: Tensor) -> Tensor:
        return noisy

    def matrices(self, clean: Tensor) -> Tensor:
        return matrix_from_sixd(clean.unflatten(-1, (24, 6)), "interleaved")


def condition(count: int = 2) -> Tensor:
    return Noise.seeded(0, "condition").normal((count, 144))


def sampled(stub: Stub, given: Tensor, samples: int = 1, **words: Any):
    names = [str(image) for image in range(len(given))]
    return sample(stub, given, POINTS[: len(given)], streams(SEED, names, samples), **words)  # type: ignore


def test_all_fifty_steps_are_taken_from_the_noisiest():
    stub = Stub()
    found = sampled(stub, condition())
    assert stub.steps == list(range(49, -1, -1))
    assert found.matrices.shape == (2, 1, 24, 3, 3)
    assert found.betas.shape == (2, 1, 10)


def test_five_steps_keep_their_original_numbers():
    stub = Stub()
    sampled(stub, condition(), spacing="ddim5")
    assert stub.steps == [40, 30, 20, 10, 0]


def test_steps_are_those_of_the_formula():
    given, stub = condition(1), Stub()
    sampled(stub, given)
    kept = [math.cos((step / 50 + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(51)]
    betas = [min(1 - after / before, 0.999) for before, after in pairwise(kept)]
    bar = [math.prod(1 - beta for beta in betas[: step + 1]) for step in range(50)]
    noise = streams(SEED, ["0"], 1)[0].pose
    noisy = noise.normal((1, 144))
    for step in range(49, 0, -1):
        torch.testing.assert_close(stub.noisy[49 - step], noisy, rtol=1e-4, atol=1e-4)
        clean = given + 0.2 * noisy.tanh()
        before = bar[step - 1]
        mean = clean * betas[step] * before**0.5 + noisy * (1 - before) * (1 - betas[step]) ** 0.5
        spread = (betas[step] * (1 - before) / (1 - bar[step])) ** 0.5
        noisy = mean / (1 - bar[step]) + spread * noise.normal((1, 144))
    torch.testing.assert_close(stub.noisy[-1], noisy, rtol=1e-4, atol=1e-4)


def test_five_steps_are_those_of_the_formula():
    given, stub = condition(1), Stub()
    sampled(stub, given, spacing="ddim5")
    bar = [float(schedule().alphas_cumprod[step]) for step in (40, 30, 20, 10, 0)]
    noisy = streams(SEED, ["0"], 1)[0].pose.normal((1, 144))
    for place in range(4):
        torch.testing.assert_close(stub.noisy[place], noisy, rtol=1e-4, atol=1e-4)
        clean = given + 0.2 * noisy.tanh()
        direction = ((1 / bar[place]) ** 0.5 * noisy - clean) / (1 / bar[place] - 1) ** 0.5
        noisy = bar[place + 1] ** 0.5 * clean + (1 - bar[place + 1]) ** 0.5 * direction
    torch.testing.assert_close(stub.noisy[-1], noisy, rtol=1e-4, atol=1e-4)


def test_samples_depend_neither_on_other_images_nor_on_how_many_there_are():
    given = condition()
    many = sampled(Stub(), given, samples=3)
    few = sampled(Stub(), given, samples=1)
    torch.testing.assert_close(many.matrices[:, :1], few.matrices)
    alone = sampled(Stub(), given[:1], samples=3)
    torch.testing.assert_close(many.matrices[:1], alone.matrices)
    gap = (many.matrices[0, 0] - many.matrices[0, 1]).abs().max()
    assert gap > 0.01


def test_the_network_itself_can_be_sampled():
    made = network("diffusion").eval()
    view = View(
        image=torch.zeros(2, 3, 224, 224),
        focal=torch.full((2,), 1500.0),
        centre=torch.full((2, 2), 500.0),
        box_centre=torch.full((2, 2), 500.0),
        box_size=torch.full((2,), 300.0),
        points=POINTS,
        detected=torch.ones(2, 25, dtype=torch.bool),
    )
    with torch.no_grad():
        given = made.condition(view, torch.zeros(2, 3), loosen=True)  # type: ignore[operator]
    found = sample(made, given, POINTS, streams(0, ["a", "b"], 2), spacing="ddim5")  # type: ignore[arg-type]
    assert found.matrices.shape == (2, 2, 24, 3, 3)
    assert torch.isfinite(found.matrices).all()


@dataclass(frozen=True)
class Push(Guide):
    """A guide that pushes everything by the same."""

    seen: list[int] = field(default_factory=list)

    def gradient(self, poses: Tensor, betas: Tensor, points: Tensor, draw: object) -> Tensor:
        self.seen.append(len(poses))
        return torch.ones_like(poses)


def push(strength: float, **words: Any) -> Push:
    return Push(None, open_body("smpl"), strength, **words)  # type: ignore[arg-type]


def test_guidance_is_added_to_the_mean_of_late_steps():
    plain, guided, guide = Stub(), Stub(), push(0.5)
    sampled(plain, condition())
    sampled(guided, condition(), guide=guide)
    assert torch.equal(plain.noisy[39], guided.noisy[39])  # entering step 10, the first that is guided
    variance = float(schedule().posterior().variance[10])
    torch.testing.assert_close(guided.noisy[40] - plain.noisy[40], torch.full((2, 144), 0.5 * variance))
    assert len(guide.seen) == 10  # what the last step leads to is used by nothing


def test_published_strength_counts_images_not_samples():
    stub = Stub()
    sampled(stub, condition(), samples=3, guide=push(0.5, of_mean=True))
    plain = Stub()
    sampled(plain, condition(), samples=3)
    variance = float(schedule().posterior().variance[10])
    torch.testing.assert_close(stub.noisy[40] - plain.noisy[40], torch.full((6, 144), 0.25 * variance))


def test_five_steps_cannot_be_guided():
    with pytest.raises(UsageError, match="sampler ddim5: collision guidance"):
        sampled(Stub(), condition(), spacing="ddim5", guide=push(1.0))


def test_ddpm_ends_with_the_last_prediction():
    found = ddpm(
        schedule(),
        lambda noisy, step: torch.full_like(noisy, float(step)),
        lambda: torch.zeros(1, 3),
        lambda noisy, step, variance: 0.0,
    )
    assert found.tolist() == [[0.0, 0.0, 0.0]]
