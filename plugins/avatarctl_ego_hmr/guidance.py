"""Pushing bodies out of the room while they are sampled (spec 6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl_ego_hmr.collision.partition import SAMPLES, Draw, Figure
from avatarctl_ego_hmr.collision.parts import PartNetwork

FACTORS = {1: 1.0, 2: 1.0, 4: 2.0, 5: 2.0, 7: 2.0, 8: 2.0, 10: 2.0, 11: 2.0}
"""Of each joint that is moved, those of the legs, by how much; the others stay."""
FIRST, LAST_BY_VARIANCE, FIXED = 10, 5, 0.01
"""Steps from the first of these on are guided, in proportion to their variance down to the second; after it,
where variance vanishes, by a fixed share."""
BODIES = 5
"""Bodies differentiated at once; bounds the memory."""


@dataclass(frozen=True)
class Guide:
    """What pushes, and how hard.

    The published strength is that of the mean over a batch (COAP) or the sum (VolumetricSMPL): 2 for a
    mean over 5 bodies is 0.4 for each. Here it holds for each body, whatever stands beside it.
    """

    network: PartNetwork
    body: BodyModel
    strength: float
    of_mean: bool = False
    """The strength is that of the mean over the images of a batch, as published for COAP."""
    surface: int = SAMPLES
    """Points on the surface of each part."""

    @cached_property
    def _exact(self) -> BodyModel:
        """The body in float64 where its device has it."""
        is_there = self.body.template.device.type != "mps"
        return self.body.to(dtype=torch.float64) if is_there else self.body

    def share(self, step: int, variance: float, images: int) -> float:
        """What the gradient is multiplied by in a step, 0 where it is not guided.

        Args:
            variance: Of the step.
            images: Size of the batch, samples not counted.
        """
        if step > FIRST:
            return 0.0
        strength = self.strength / images if self.of_mean else self.strength
        return strength * (variance if step >= LAST_BY_VARIANCE else FIXED)

    def gradient(self, poses: Tensor, betas: Tensor, points: Tensor, draw: Draw) -> Tensor:
        """Where each body's pose should go to collide less [B, 144]: minus the collision's derivative.

        Bodies are posed in float64, and their networks compute as they are: as float32 rounds on one
        processor or another, another point of a surface is the greatest in the encoder's pooling, which
        changes the derivative by a hundredth.

        Args:
            poses: 6D rotations of the noisy state, not normalised, rows (interleaved) [B, 144].
            betas: Shapes [B, 10].
            points: The room around each body, in its axes, metres [B, N, 3].
            draw: Points on the surface of bodies.
        """
        found, exact = torch.zeros_like(poses), self._exact.template.dtype
        for rows in torch.arange(len(poses), device=poses.device).split(BODIES):
            with torch.enable_grad():
                given = poses[rows].detach().to(exact).requires_grad_(True)
                # parity: the derivative is that of the pose, and is added to the normalised state (Q25).
                matrices = matrix_from_sixd(given.unflatten(-1, (-1, 6)), "interleaved")
                figure = Figure.of(self._exact.shape(betas[rows].to(exact)).pose_matrices(matrices))
                loss = self._loss(figure, points[rows].to(exact), draw, rows).sum()
            if loss.requires_grad:
                found[rows] = torch.autograd.grad(loss, given)[0].to(found)
        return -found * factors(poses)

    def _loss(self, figure: Figure, points: Tensor, draw: Draw, rows: Tensor) -> Tensor:
        considered = figure.around(points) if self.network.is_boxed else None
        return self.network.loss(
            figure,
            points,
            lambda partition, vertices, chosen: draw(partition, vertices, rows[chosen]),
            considered,
        )


def factors(like: Tensor) -> Tensor:
    """FACTORS of each number of a pose [144], 0 for joints that stay."""
    found = like.new_zeros(like.shape[-1] // 6, 6)
    for joint, factor in FACTORS.items():
        found[joint] = factor
    return found.flatten()
