"""Canonical places that skinning moves to given points: Broyden's method from eleven bones (spec 4.8).

Plain torch: always there, on any device, the reference of the compiled one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl_generative_avatar.deform import grids
from avatarctl_generative_avatar.deform.grids import Box
from avatarctl_generative_avatar.deform.volumes import SKINNING

STEPS = 10
CLOSE, LOST = 2e-4, 1.0
"""Distance from the point, metres, at which a root is found, and beyond which the search ends."""
SAME = 1e-4
"""Roots of a point nearer than this, metres, count once."""
ROWS, ROWS_ELSEWHERE = 1 << 12, 1 << 18
"""Points at a time: about what a processor's cache holds; what keeps another device busy."""


@dataclass(frozen=True)
class Motion:
    """How canonical space moves into poses.

    `table` [N (16 + 2) (64 + 2) (64 + 2), 12] has a 3 x 4 matrix for each node of each pose, zeros around;
    `starts` [N, S, 3, 4] are the bones' motions.
    """

    table: Tensor
    starts: Tensor
    box: Box

    @property
    def nodes(self) -> int:
        """Rows of a pose."""
        return len(self.table) // len(self.starts)

    def matrices(self, places: Tensor, sample: Tensor) -> Tensor:
        """Skinning at canonical places [K, 3] of poses [K]: motions [K, 3, 4], 0 outside of the box."""
        inner = grids.margined(self.box.normalise(places), SKINNING)
        return grids.mixed(self.table, inner, SKINNING, base=sample * self.nodes, margin=1).view(-1, 3, 4)


@torch.no_grad()
def solve(motion: Motion, points: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Roots from all starts, metres [K, S, 3], whether they were found and are kept, bool [K, S].

    Args:
        points: Posed, metres [K, 3].
        sample: Which pose each is in [K].
    """
    step = ROWS if points.device.type == "cpu" else ROWS_ELSEWHERE
    roots = points.new_zeros(len(points), motion.starts.shape[1], 3)
    is_valid = torch.zeros(roots.shape[:2], dtype=torch.bool, device=points.device)
    is_kept = is_valid.clone()
    for first in range(0, len(points), step):
        rows = slice(first, first + step)
        places = starts(motion, points[rows], sample[rows]).flatten(0, 1)
        count = roots.shape[1]
        found = _search(
            motion, places, points[rows].repeat_interleave(count, 0), sample[rows].repeat_interleave(count)
        )
        is_valid[rows] = found.view(-1, count)
        roots[rows] = places.view(-1, count, 3) * is_valid[rows].unsqueeze(-1)
        is_kept[rows] = distinct(roots[rows], is_valid[rows])
    return roots, is_valid, is_kept


def starts(motion: Motion, points: Tensor, sample: Tensor) -> Tensor:
    """Where searches begin, metres [K, S, 3]."""
    bones = motion.starts[sample]
    # parity: the transpose, which is the inverse only where the scale is 1 (spec 4.8).
    return ((points[:, None] - bones[..., 3]).unsqueeze(-2) @ bones[..., :3]).squeeze(-2)


def _search(motion: Motion, places: Tensor, points: Tensor, sample: Tensor) -> Tensor:
    """Move places [M, 3] to roots, in place; whether each is one, bool [M]."""
    is_valid = torch.zeros(len(places), dtype=torch.bool, device=places.device)
    left = torch.arange(len(places), device=places.device)
    x = places
    matrix = motion.matrices(x, sample)
    inverse, gap = matrix[..., :3].mT.contiguous(), _gap(matrix, x, points)
    for _ in range(STEPS):
        step = -(inverse * gap.unsqueeze(-2)).sum(dim=-1)
        x = x + step
        new = _gap(motion.matrices(x, sample), x, points)
        error = new.square().sum(dim=-1)
        is_close = error < CLOSE**2
        ready = is_close.nonzero().squeeze(1)
        places[left[ready]] = x[ready]
        is_valid[left[ready]] = (motion.box.normalise(x[ready]).abs() <= 1).all(dim=-1)
        on = (~is_close & (error <= LOST)).nonzero().squeeze(1)  # what is not a number ends too
        if not len(on):
            break
        x, points, sample, left = x[on], points[on], sample[on], left[on]
        step, inverse, change, gap = step[on], inverse[on], (new - gap)[on], new[on]
        row = (inverse * step.unsqueeze(-1)).sum(dim=-2)
        short = step - (inverse * change.unsqueeze(-2)).sum(dim=-1)
        by = (row * change).sum(dim=-1, keepdim=True)
        inverse = inverse + short.unsqueeze(-1) * (row / by).unsqueeze(-2)
    return is_valid


def _gap(matrix: Tensor, places: Tensor, points: Tensor) -> Tensor:
    return (matrix[..., :3] * places.unsqueeze(-2)).sum(dim=-1) + matrix[..., 3] - points


def distinct(roots: Tensor, is_valid: Tensor) -> Tensor:
    """Whether roots [K, S, 3] are valid and none of the valid ones behind them is the same, bool [K, S]."""
    kept = is_valid.clone()
    for start in range(roots.shape[1] - 1):
        square = (roots[:, start + 1 :] - roots[:, start, None]).square().sum(dim=-1)
        kept[:, start] &= ~((square < SAME**2) & is_valid[:, start + 1 :]).any(dim=1)
    return kept
