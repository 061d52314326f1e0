"""COAP: neural occupancy of posed bodies (Mihajlovic et al., CVPR 2022; spec 4.6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.body import BodyModel
from avatarctl_ego_hmr.collision.partition import Draws, Figure
from avatarctl_ego_hmr.collision.parts import PartNetwork, SkipMlp

HALF = 0.5
"""Occupancy at the surface."""


@dataclass(frozen=True)
class CoapSizes:
    """Widths of COAP; the published ones by default."""

    kind: str = "coap"
    hidden: int = 128
    """Of the encoder."""
    features: int = 128
    """Of a part's code."""
    query: int = 256
    """Of the layers that mix a point with the code."""
    mixed: int = 128
    """What they make of it."""
    width: int = 256
    """Of the layers that decide."""


class Coap(PartNetwork):
    """Occupancy of points by bodies of one kind."""

    is_boxed = True

    def __init__(self, sizes: CoapSizes, body: BodyModel) -> None:
        super().__init__(sizes.hidden, sizes.features, body)
        self.sizes = sizes
        query, width = sizes.query, sizes.width
        given = 3 + 1 + len(self.partition) + sizes.features
        self.query_encoder = SkipMlp((given, query, query, query, sizes.mixed), skip=2)
        self.decoder = SkipMlp((3 + sizes.mixed, *(width,) * 6, 1), skip=3)

    def depth(self, local: Tensor, part: Tensor, codes: Tensor, code: Tensor) -> Tensor:
        """Log-odds of being inside."""
        inside = torch.ones_like(local[:, :1])  # in the part's box, as all pairs are
        which = functional.one_hot(part, len(self.partition)).to(local)
        mixed = self.query_encoder(torch.cat([local, inside, which, codes.index_select(0, code)], dim=-1))
        return -self.decoder(torch.cat([local, mixed], dim=-1))[:, 0]

    def cost(self, depth: Tensor) -> Tensor:
        """Occupancy above a half."""
        return (depth.sigmoid() - HALF).relu()

    def occupancies(self, figure: Figure, points: Tensor, draws: Draws) -> Tensor:
        """Occupancy of points [B, N, 3] by each part, 0 to 1 [B, K, N]; the body's is the greatest."""
        return self.depths(figure, points, draws).sigmoid()
