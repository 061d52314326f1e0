"""What the network of the surface says of points, with its parameters' share computed already.

The last layer tells the distance and the features of the colour apart: where only one of them is wanted, only
its rows are applied, and a gradient passes through no others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.nn.linear import linear
from avatarctl_video_avatar.model.mlp import Layer


@dataclass(frozen=True)
class Probe:
    """The surface at N points without a graph: `distance` added to the body's, metres [N], its `gradient`
    [N, 3], and the `hidden` numbers that features are made of [N, H]."""

    distance: Tensor
    gradient: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Surface:
    """Signed distance that is added to the body's, and features of the colour, at canonical points [N, 3]."""

    hidden: Callable[[Tensor], Tensor]
    """From points to what the last layer is given [N, H]."""
    last: Layer
    limit: float | None
    """All outputs are squashed to less than this; None leaves them as they are."""

    def __call__(self, points: Tensor) -> Tensor:
        """Distance, metres, and features [N, 1 + F]; twice differentiable."""
        return self._rows(self.hidden(points), slice(None))

    def distance(self, points: Tensor) -> Tensor:
        """The distance alone, metres [N]; twice differentiable."""
        return self._rows(self.hidden(points), slice(1))[:, 0]

    def features(self, hidden: Tensor) -> Tensor:
        """Features of the colour [N, F] of `hidden` numbers [N, H]."""
        return self._rows(hidden, slice(1, None))

    def probe(self, points: Tensor) -> Probe:
        """Distance and its gradient; no graph is left of them, and parameters get no gradients."""
        with torch.enable_grad():
            points = points.detach().requires_grad_(True)
            hidden = self.hidden(points)
            distance = self._rows(hidden, slice(1))[:, 0]
            (gradient,) = torch.autograd.grad(distance.sum(), points)
        return Probe(distance.detach(), gradient, hidden.detach())

    def _rows(self, hidden: Tensor, rows: slice) -> Tensor:
        weight, bias = self.last
        made = linear(hidden, weight[rows], bias[rows])
        # limit (2 sigmoid(x) - 1), without its cancellation near 0
        return made if self.limit is None else self.limit * torch.tanh(0.5 * made)
