"""Detail of the surface by one plain network, the alternative to planes (spec 4.10)."""

from __future__ import annotations

from torch import Tensor

from avatarctl.device import Noise
from avatarctl_video_avatar.model.mlp import SKIP, TracedStack, draw_geometric, skipping
from avatarctl_video_avatar.model.surface import Surface

ENCODED = 48
"""Inputs beside the place, which are always 0."""
COUNT = 9
"""Layers."""


class MlpSdf(TracedStack):
    """Nine layers, of which the fifth is given the input again."""

    def __init__(self, hidden: int, features: int) -> None:
        given = 3 + ENCODED
        widths = [(given, hidden), *[(hidden, hidden)] * (COUNT - 2), (hidden, 1 + features)]
        widths[SKIP - 1] = (hidden, hidden - given)
        super().__init__(widths)

    def surface(self) -> Surface:
        """The distance and features, not squashed, as a function of points."""
        *layers, last = self.layers()
        # parity: the encoded inputs stay 0, their columns count in the norms only (spec 9, Q12).
        layers[0] = (layers[0][0][:, :3], layers[0][1])
        weight, bias = layers[SKIP]
        layers[SKIP] = (weight[:, :-ENCODED], bias)

        def hidden(points: Tensor) -> Tensor:
            return skipping(points, layers)

        return Surface(hidden, last, limit=None)

    def reset(self, noise: Noise) -> None:
        """Draw the published initial values."""
        draw_geometric(self.linears(), noise, ENCODED)
