"""The box around the canonical body, and lookups in grids whose outermost nodes lie on its faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

Shape = tuple[int, int, int]
"""Nodes along z, y, x."""
ROOM, FLATNESS = 1.2, 4.0
"""The box's side over the body's largest extent; its side over its depth."""


@dataclass(frozen=True, eq=False)
class Box:
    """A box by its centre `offset` [3] and half its side `scale` [], metres; it is a quarter as deep."""

    offset: Tensor
    scale: Tensor

    @classmethod
    def around(cls, vertices: Tensor) -> Box:
        """The box of a body [V, 3], metres."""
        low, high = vertices.amin(dim=0), vertices.amax(dim=0)
        return cls((low + high) / 2, (high - low).amax() / 2 * ROOM)

    def to(self, device: torch.device | str) -> Box:
        """The same box on another device."""
        return Box(self.offset.to(device), self.scale.to(device))

    @cached_property
    def kernel(self) -> Tensor:
        """Factors from metres to normalised places [3]."""
        # parity: the reciprocal is rounded before it multiplies (spec 4.8).
        return (1 / self.scale) * self.scale.new_tensor([1.0, 1.0, FLATNESS])

    def normalise(self, places: Tensor) -> Tensor:
        """Places in metres counted so that the box is [-1, 1] [..., 3]."""
        return (places + -self.offset) * self.kernel

    def denormalise(self, places: Tensor) -> Tensor:
        """The inverse of `normalise` [..., 3]."""
        return places / self.kernel + self.offset

    def nodes(self, shape: Shape) -> Tensor:
        """Places of a grid's nodes, metres [D, H, W, 3]."""
        axes = [torch.linspace(-1, 1, size, device=self.offset.device) for size in shape]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        return self.denormalise(torch.stack([x, y, z], dim=-1))


def pixels(places: Tensor, shape: Shape) -> Tensor:
    """Places counted in nodes, x, y, z [K, 3], of places in [-1, 1] over the box [K, 3]."""
    return (places + 1) * (0.5 * last(places, shape))


def bordered(places: Tensor, shape: Shape) -> Tensor:
    """The same with places outside moved to the border, and those that are not finite to node 0."""
    return torch.minimum(pixels(places, shape).nan_to_num(0.0).clamp_min(0), last(places, shape))


def last(like: Tensor, shape: Shape) -> Tensor:
    """The last node along x, y, z, on the device of a tensor [3]."""
    return like.new_tensor([shape[2] - 1, shape[1] - 1, shape[0] - 1])


def margined(places: Tensor, shape: Shape) -> Tensor:
    """Places counted in nodes, no farther outside than one node, where a margin of zeros ends."""
    return torch.minimum(pixels(places, shape).nan_to_num(-1.0).clamp_min(-1), last(places, shape) + 1)


def corners(places: Tensor, shape: Shape, margin: int = 0) -> tuple[Tensor, Tensor]:
    """The lowest node of the cell around places, int64 [K], and the shares of its upper sides [K, 3].

    Args:
        places: Counted in nodes, x, y, z inside the grid and its margin [K, 3].
        margin: Nodes that the table has around the grid.
    """
    low = torch.minimum(places.floor(), last(places, shape) - 1 + margin)
    x, y, z = (low.long() + margin).unbind(-1)
    return (z * (shape[1] + 2 * margin) + y) * (shape[2] + 2 * margin) + x, places - low


def steps(shape: Shape, device: torch.device, margin: int = 0) -> Tensor:
    """From the lowest node of a cell to its 8: x changes first, then y, then z [8]."""
    height, width = shape[1] + 2 * margin, shape[2] + 2 * margin
    return torch.tensor(
        [x + width * (y + height * z) for z in (0, 1) for y in (0, 1) for x in (0, 1)], device=device
    )


def weights(share: Tensor) -> Tensor:
    """Weights of a cell's 8 nodes, in the order of `steps` [K, 8]."""
    x, y, z = torch.stack([1 - share, share], dim=-1).unbind(-2)  # each [K, 2]
    return ((x[:, None, None, :] * y[:, None, :, None]) * z[:, :, None, None]).flatten(1)


def mixed(
    table: Tensor, places: Tensor, shape: Shape, *, base: Tensor | None = None, margin: int = 0
) -> Tensor:
    """Rows of a table of nodes [n, C], interpolated [K, C].

    Args:
        places: Counted in nodes, x, y, z inside the grid and its margin [K, 3].
        base: Rows of the table before the grid that a place is looked up in [K]; left out: none.
        margin: Nodes that the table has around the grid.
    """
    first, share = corners(places, shape, margin)
    first = first if base is None else first + base
    index = first[:, None] + steps(shape, places.device, margin)
    return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights(share))
