"""What COAP and VolumetricSMPL share: each part of a body has a code, and says how deep points are in it.

Only pairs of a point and a part whose box holds it are computed, only parts that hold points are encoded, and
the derivative is taken through the pairs that decide alone. All of it is exact: other pairs weigh nothing.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from avatarctl.body import BodyModel
from avatarctl_ego_hmr.collision.partition import Boxes, Draw, Draws, Figure, Partition
from avatarctl_ego_hmr.model.points import PointEncoder

CHUNK = 8192
"""Pairs computed at once where nothing is differentiated."""
CODES = 16
"""Parts encoded at once there."""
NOWHERE = float("-inf")
"""Depth in a part whose box does not hold the point."""


class PartNetwork(nn.Module):
    """Codes of posed parts, and a `depth` that they decide: above 0 inside a part, growing inwards."""

    is_boxed: bool
    """Whether guidance looks at the points in the body's box only."""

    def __init__(self, hidden: int, features: int, body: BodyModel) -> None:
        super().__init__()
        blocks = ("block_0", "block_1", "block_3", "block_4")
        self.encoder = PointEncoder(hidden, features, position="fc_pos", blocks=blocks)
        self.partition = Partition(body)

    @abstractmethod
    def depth(self, local: Tensor, part: Tensor, codes: Tensor, code: Tensor) -> Tensor:
        """Depths [P] of pairs.

        Args:
            local: Points in the axes of their part [P, 3], those of a part side by side.
            part: Which it is [P].
            codes: Codes of posed parts [G, C].
            code: Which of them each pair has, ascending [P].
        """

    @abstractmethod
    def cost(self, depth: Tensor) -> Tensor:
        """What points at these depths add to a collision, 0 outside [...]."""

    def loss(self, figure: Figure, points: Tensor, draw: Draw, considered: Tensor | None = None) -> Tensor:
        """The collision of each body: the sum of its points' costs [B].

        Args:
            points: In the bodies' axes, metres [B, N, 3].
            draw: Which points of their surfaces are encoded; bodies whose boxes hold no points draw none.
            considered: Which points count, bool [B, N]; left out: all.
        """
        total = points.new_zeros(len(points))
        rows = self._rows(points, considered)
        if not len(rows):
            return total
        chosen = figure[rows]
        with torch.no_grad():
            draws = draw(self.partition, chosen.vertices, rows)
            some = None if considered is None else considered[rows]
            deepest, parts = self.depths(chosen.detach(), points[rows], draws, some).max(dim=1)
            body, point = (deepest > 0).nonzero(as_tuple=True)
            order = (body * len(self.partition) + parts[body, point]).argsort(stable=True)
            body, point = body[order], point[order]
        if not len(body) or not torch.is_grad_enabled():
            return total.index_add(0, rows[body], self.cost(deepest[body, point]).to(total))
        pairs = torch.stack([body, parts[body, point], point], dim=1)
        depths = self.of_pairs(chosen, self.partition.boxes(chosen), points[rows], draws, pairs)
        return total.index_add(0, rows[body], self.cost(depths).to(total))

    @torch.no_grad()
    def occupied(
        self, figure: Figure, points: Tensor, draw: Draw, considered: Tensor | None = None
    ) -> Tensor:
        """Which points are inside their body, bool [B, N]; arguments as in `loss`."""
        inside = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
        rows = self._rows(points, considered)
        if len(rows):
            chosen, some = figure[rows], None if considered is None else considered[rows]
            draws = draw(self.partition, chosen.vertices, rows)
            inside[rows] = self.depths(chosen, points[rows], draws, some).amax(dim=1) > 0
        return inside

    def depths(
        self, figure: Figure, points: Tensor, draws: Draws, considered: Tensor | None = None
    ) -> Tensor:
        """Depths in each part [B, K, N]; minus infinity outside of its box. Arguments as in `loss`."""
        boxes = self.partition.boxes(figure)
        held = boxes.holding(points, considered)
        pairs = held.nonzero()
        depths = points.new_full(held.shape, NOWHERE)
        return depths.masked_scatter(held, self.of_pairs(figure, boxes, points, draws, pairs).to(depths))

    def of_pairs(self, figure: Figure, boxes: Boxes, points: Tensor, draws: Draws, pairs: Tensor) -> Tensor:
        """Depths [P] of pairs (body, part, point), int64, sorted by body and part [P, 3]."""
        if not len(pairs):
            return points.new_zeros(0)
        body, part, point = pairs.unbind(-1)
        groups, code = (body * len(self.partition) + part).unique_consecutive(return_inverse=True)
        codes = self.codes(figure, boxes, draws, groups)
        local = boxes.local(points.flatten(0, 1)[body * points.shape[1] + point], groups[code]).to(codes)
        if torch.is_grad_enabled():
            return self.depth(local, part, codes, code)
        pieces = zip(local.split(CHUNK), part.split(CHUNK), code.split(CHUNK), strict=True)
        return torch.cat([self.depth(*piece[:2], codes, piece[2]) for piece in pieces])

    def codes(self, figure: Figure, boxes: Boxes, draws: Draws, groups: Tensor) -> Tensor:
        """Codes [G, C] of posed parts, body K + part of each [G]."""
        several = [groups] if torch.is_grad_enabled() else groups.split(CODES)
        surfaces = (self.partition.surface(figure, boxes, draws, one) for one in several)
        return torch.cat([self.encoder(one.to(self.encoder.fc_c.weight)) for one in surfaces])

    def _rows(self, points: Tensor, considered: Tensor | None) -> Tensor:
        """Bodies with points to look at [R]."""
        if considered is None:
            return torch.arange(len(points), device=points.device)
        return considered.any(dim=1).nonzero()[:, 0]


class SkipMlp(nn.Module):
    """Linear layers `lin0`, `lin1`, ... with sharp softplus between; one is given the input once more.

    Args:
        widths: Channels in and out of the layers [layers + 1]; that of layer `skip` counts the input.
        skip: The layer that takes [x, input] / sqrt 2.
    """

    def __init__(self, widths: tuple[int, ...], skip: int) -> None:
        super().__init__()
        self.skip, self.count, self.inputs = skip, len(widths) - 1, widths[0]
        for layer in range(self.count):
            outputs = widths[layer + 1] - (widths[0] if layer + 1 == skip else 0)
            self.add_module(f"lin{layer}", nn.Linear(widths[layer], outputs))

    def forward(self, given: Tensor) -> Tensor:
        """Numbers [..., widths[-1]] of numbers [..., widths[0]]."""
        x = given
        for layer in range(self.count):
            if layer == self.skip:
                x = torch.cat([x, given], dim=-1) / SQRT_2
            x = self.get_submodule(f"lin{layer}")(x)
            if layer + 1 < self.count:
                x = sharp_softplus(x)
        return x


SQRT_2 = 2**0.5


def sharp_softplus(x: Tensor) -> Tensor:
    """Softplus that is close to a rectifier."""
    return nn.functional.softplus(x, beta=100)
