"""VolumetricSMPL: signed distance to posed bodies (spec 4.7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatarctl.body import BodyModel
from avatarctl_ego_hmr.collision.partition import PADDING, Draws, Figure
from avatarctl_ego_hmr.collision.parts import SQRT_2, PartNetwork, sharp_softplus

LAYERS, SKIP = 7, 3


@dataclass(frozen=True)
class VolumetricSizes:
    """Widths of VolumetricSMPL; those of the neutral body by default."""

    kind: str = "volumetric"
    hidden: int = 128
    """Of the encoder."""
    features: int = 128
    """Of a part's code."""
    width: int = 64
    """Of the layers that decide."""
    levels: int = 2
    """Frequencies of the positional encoding; 0 for the files of male and female bodies."""
    rank: int = 80
    """Weights that the code mixes."""
    part_rank: int = 10
    """Weights that the part mixes."""


class BlendedLinear(nn.Module):
    """A linear layer whose weight depends on the posed part: each code and part mixes it from stored ones."""

    def __init__(self, inputs: int, outputs: int, sizes: VolumetricSizes, parts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.rf_weight = nn.Parameter(torch.zeros(1, sizes.rank, outputs * inputs))
        self.part_weight2rank = nn.Parameter(torch.empty(parts, sizes.part_rank))
        self.part_weight = nn.Parameter(torch.zeros(sizes.part_rank, outputs * inputs))
        self.cond2weight = nn.Sequential(nn.Linear(sizes.features, sizes.rank))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.normal_(self.part_weight2rank)

    def weights(self, codes: Tensor, part: Tensor) -> Tensor:
        """The weight of each posed part [G, outputs, inputs] for codes [G, C] of parts [G]."""
        mixed = self.cond2weight(codes) @ self.rf_weight[0]
        own = self.part_weight2rank[part] @ self.part_weight
        return self.weight + (mixed + own).unflatten(-1, self.weight.shape)


class BlendedMlp(nn.Module):
    """Seven such layers; the fourth is given the input once more."""

    def __init__(self, sizes: VolumetricSizes, parts: int) -> None:
        super().__init__()
        given, width = 3 * (1 + 2 * sizes.levels) + sizes.features, sizes.width
        for layer in range(LAYERS):
            inputs = given if layer == 0 else width + (given if layer == SKIP else 0)
            self.add_module(
                f"lin{layer}", BlendedLinear(inputs, 2 if layer + 1 == LAYERS else width, sizes, parts)
            )

    def forward(self, places: Tensor, codes: Tensor, part: Tensor, counts: Tensor) -> Tensor:
        """Log-odds of being outside, and distance [P, 2].

        Args:
            places: Encoded points [P, D], those of a posed part side by side.
            codes: Codes of posed parts [G, C].
            part: Which part each is [G].
            counts: How many points each has [G].
        """
        x = given = torch.cat([places, codes.repeat_interleave(counts, dim=0)], dim=-1)
        several = counts.tolist()
        for layer in range(LAYERS):
            linear = self.get_submodule(f"lin{layer}")
            assert isinstance(linear, BlendedLinear)
            if layer == SKIP:
                x = torch.cat([x, given], dim=-1) / SQRT_2
            weights = linear.weights(codes, part)
            x = torch.cat([one @ weight.T for one, weight in zip(x.split(several), weights, strict=True)])
            x = x + linear.bias
            if layer + 1 < LAYERS:
                x = sharp_softplus(x)
        return x


class Volumetric(PartNetwork):
    """Signed distance of points to bodies of one kind."""

    is_boxed = False

    def __init__(self, sizes: VolumetricSizes, body: BodyModel) -> None:
        super().__init__(sizes.hidden, sizes.features, body)
        self.sizes = sizes
        self.decoder = BlendedMlp(sizes, len(self.partition))

    def depth(self, local: Tensor, part: Tensor, codes: Tensor, code: Tensor) -> Tensor:
        """Minus the signed distance, metres."""
        # A chunk may hold the points of some of the posed parts only.
        which, counts = code.unique_consecutive(return_counts=True)
        first = counts.cumsum(0) - counts
        made = self.decoder(positions(local, self.sizes.levels), codes[which], part[first], counts)
        outside, distance = made.unbind(-1)
        return torch.where(outside < 0, distance.abs(), -distance.abs())

    def cost(self, depth: Tensor) -> Tensor:
        """The depth itself, metres."""
        return depth.relu()

    def distances(self, figure: Figure, points: Tensor, draws: Draws) -> Tensor:
        """Signed distance of points [B, N, 3] to each part, metres [B, K, N]; the body's is the least.

        Outside of a part's padded box it is the distance to the box that is not padded.
        """
        boxes = self.partition.boxes(figure)
        depths = self.depths(figure, points, draws)
        local = (points[:, None] - boxes.origins[:, :, None]) @ boxes.rotations
        beyond = (local - boxes.centres[:, :, None]).abs() - boxes.sizes[:, :, None] / (2 * PADDING)
        to_box = beyond.clamp(min=0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0)
        return torch.where(depths.isfinite(), -depths, to_box)


def positions(local: Tensor, levels: int) -> Tensor:
    """Points [..., 3], then sines and cosines of pi x, 2 pi x, ... [..., 3 (1 + 2 levels)]."""
    found = [local]
    for level in range(levels):
        angle = local * (2**level * torch.pi)
        found += [angle.sin(), angle.cos()]
    return torch.cat(found, dim=-1)
