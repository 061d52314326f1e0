"""From the posed body back to the canonical one (spec 4.7, 4.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatarctl_video_avatar.model.nearest import NEIGHBOURS, Nearest, skinning_of

Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Deformed:
    """Canonical points [N, 3]; skinning weights by the network (absent without one) and by the nearest
    vertices [N, 24]; and the motion [N, 3, 4] that leads from canonical to posed points."""

    points: Tensor
    predicted: Tensor | None
    sampled: Tensor
    motion: Tensor


def blended(weights: Tensor, bones: Tensor) -> Tensor:
    """The bones' motions [J, 4, 4] in the mean of `weights` [N, J] [N, 3, 4]."""
    return (weights @ bones[:, :3].flatten(1)).unflatten(-1, (3, 4))


def cofactors(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Of the linear part of motions [N, 3, 4]: its cofactors [N, 3, 3] and determinant [N, 1].

    Cofactors over determinant are the transpose of its inverse: they turn normals.
    """
    x, y, z = motion[..., :3].unbind(-2)
    rows = [torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)]
    return torch.stack(rows, dim=-2), (x * rows[0]).sum(-1, keepdim=True)


def undone(points: Tensor, motion: Tensor) -> Tensor:
    """Where points [N, 3] were before motions [N, 3, 4]."""
    matrix, determinant = cofactors(motion)
    return ((points - motion[..., 3]).unsqueeze(-1) * matrix).sum(-2) / determinant


def turned(normals: Tensor, motion: Tensor) -> Tensor:
    """Normals [N, 3] turned by motions [N, 3, 4]; their lengths stay."""
    matrix, determinant = cofactors(motion)
    moved = (matrix * normals.unsqueeze(-2)).sum(-1) * determinant.sign()
    return torch.nn.functional.normalize(moved, dim=-1) * normals.norm(dim=-1, keepdim=True)


class Deformer:
    """Brings points of one posed body to the canonical body.

    A point starts from the skinning of its nearest vertices. Then either the skinning network is asked
    `passes` times, each time where the point was found last, or `offset` moves it on. Gradients flow through
    the last pass alone.

    Args:
        bones: From canonical to posed body [J, 4, 4].
        nearest: The posed vertices.
        weights: Skinning of these vertices [V, J].
        skinning: Skinning weights at canonical points; None without the network.
        passes: How often it is asked.
        offset: Non-rigid motion at canonical points, metres; None without it.
    """

    def __init__(
        self,
        bones: Tensor,
        nearest: Nearest,
        weights: Tensor,
        *,
        skinning: Field | None = None,
        passes: int = 3,
        offset: Field | None = None,
    ) -> None:
        self.bones, self.nearest, self.weights = bones, nearest, weights
        self.skinning, self.passes, self.offset = skinning, passes, offset

    @torch.no_grad()
    def start(self, points: Tensor) -> Deformed:
        """Points [N, 3] by the skinning of their nearest vertices."""
        sampled = skinning_of(*self.nearest(points, NEIGHBOURS), self.weights)
        motion = blended(sampled, self.bones)
        return Deformed(undone(points, motion), None, sampled, motion)

    def __call__(self, points: Tensor) -> Deformed:
        """Points [N, 3] of the posed body."""
        found = self.start(points)
        if self.offset is not None:
            return replace(found, points=found.points + self.offset(found.points))
        with torch.no_grad():
            for _ in range(self.passes - 1):
                found = self.step(points, found)
        return self.step(points, found)

    def step(self, points: Tensor, found: Deformed) -> Deformed:
        """One pass of the skinning network over points [N, 3] that were found at canonical ones."""
        assert self.skinning is not None, "a deformer has a skinning network or a non-rigid one"
        weights = self.skinning(found.points)
        motion = blended(weights, self.bones)
        return Deformed(undone(points, motion), weights, found.sampled, motion)
