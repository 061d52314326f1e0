"""From posed points back to canonical places, and normals the other way (spec 4.8, 4.9)."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect
from avatarctl_generative_avatar.body import scaled_body
from avatarctl_generative_avatar.deform import broyden
from avatarctl_generative_avatar.deform.nearness import Nearness
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.deform.volumes import SKINNING

log = logging.getLogger(__name__)

STARTS = (0, 1, 2, 4, 5, 12, 15, 16, 17, 18, 19)
"""Joints from whose motions searches start."""
EVERY = 10
"""Vertices of which one tells what is near."""


@dataclass(frozen=True)
class Roots:
    """Canonical places of posed points, ordered by point, then start.

    `point` [K] counts through all N P points, `sample` [K] is their pose, `start` [K] of `STARTS`, `places`
    [K, 3] metres.
    """

    point: Tensor
    sample: Tensor
    start: Tensor
    places: Tensor


@dataclass(frozen=True)
class Dense:
    """The same for all points and starts, and how they came about.

    `near` bool [N, P]; `roots`, 0 where none was found [N, P, S, 3]; whether they were found (`converged`),
    and are no duplicates (`kept`), bool [N, P, S].
    """

    near: Tensor
    roots: Tensor
    converged: Tensor
    kept: Tensor


class Posing:
    """The poses of labels [N, 111]; no gradient flows through them.

    `transforms` move the joints from canonical space [N, 24, 4, 4]; `vertices` [N, 6890, 3] metres.
    """

    def __init__(self, template: Template, labels: Tensor) -> None:
        scaled = scaled_body(template.body, labels)
        self.template = template
        self.vertices = scaled.vertices
        self.transforms = scaled.transforms @ template.inverse

    @cached_property
    def motion(self) -> broyden.Motion:
        """Skinning at all nodes of the box."""
        matrices = self.transforms[..., :3, :].flatten(-2)
        return broyden.Motion(
            table=(self.template.padded_rows @ matrices).flatten(0, 1),
            starts=self.transforms[:, list(STARTS), :3],
            box=self.template.box,
        )

    @property
    def field(self) -> Tensor:
        """The same: 3 x 4 matrices at the nodes [N, 12, 16, 64, 64]."""
        padded = self.motion.table.view(len(self.transforms), *(size + 2 for size in SKINNING), 12)
        return padded[:, 1:-1, 1:-1, 1:-1].permute(0, 4, 1, 2, 3)

    @cached_property
    def _nearness(self) -> list[Nearness]:
        return [Nearness(vertices) for vertices in self.vertices[:, ::EVERY]]

    @torch.no_grad()
    def near(self, points: Tensor) -> Tensor:
        """Whether points are close enough to the body to be worked on, bool [N, P] of metres [N, P, 3]."""
        expect(points, f"{len(self.vertices)} P 3", "points")
        pairs = zip(self._nearness, points, strict=True)
        if _has_compiled(points):
            from avatarctl_generative_avatar.deform import compiled

            return torch.stack([compiled.near(known, one) for known, one in pairs])
        return torch.stack([known(one) for known, one in pairs])

    @torch.no_grad()
    def roots(self, points: Tensor) -> Roots:
        """Distinct canonical places of points [N, P, 3], metres."""
        index = self.near(points).flatten().nonzero().squeeze(1)
        sample = index // max(points.shape[1], 1)
        roots, _, kept = self._solve(points.flatten(0, 1)[index], sample)
        row, start = kept.nonzero().unbind(-1)
        return Roots(index[row], sample[row], start, roots[row, start])

    @torch.no_grad()
    def dense(self, points: Tensor) -> Dense:
        """All that is found on the way to the roots of points [N, P, 3], metres."""
        near = self.near(points)
        sample = near.nonzero()[:, 0]
        roots = points.new_zeros(*points.shape[:2], len(STARTS), 3)
        converged = near.new_zeros(roots.shape[:3])
        kept = converged.clone()
        roots[near], converged[near], kept[near] = self._solve(points[near], sample)
        return Dense(near, roots, converged, kept)

    def posed_normals(self, gradient: Tensor, places: Tensor, sample: Tensor) -> Tensor:
        """Vectors at canonical places [K, 3] of poses [K], turned as skinning turns there [K, 3].

        Differentiable in the vectors.
        """
        matrices = self.motion.matrices(places, sample)
        return (matrices[..., :3] * gradient.unsqueeze(-2)).sum(dim=-1)

    def _solve(self, points: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if _has_compiled(points):
            from avatarctl_generative_avatar.deform import compiled

            return compiled.solve(self.motion, points, sample)
        return broyden.solve(self.motion, points, sample)


def _has_compiled(points: Tensor) -> bool:
    if points.device.type != "cpu":
        return False
    if importlib.util.find_spec("numba"):
        return True
    _advise()
    return False


@cache
def _advise() -> None:
    """Say once, not for each pose, what would be faster."""
    log.info('pip install "avatarctl[fast]" finds canonical places several times as fast')
