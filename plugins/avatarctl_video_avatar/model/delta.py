"""Detail of the surface from three planes (spec 4.8; PET-NeuS, Wang et al. 2023, and tri-planes of EG3D)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl_video_avatar.model.mlp import (
    Stack,
    TracedStack,
    draw_geometric,
    draw_normal,
    skipping,
    softplus,
    widths,
)
from avatarctl_video_avatar.model.planes import PLANES, Texels
from avatarctl_video_avatar.model.surface import Surface
from avatarctl_video_avatar.model.windows import COPIES, FOUR, WINDOWS, WindowAttention, filtered

ENCODED = 36
"""Inputs of the encoded place, which are always 0."""
COUNT = 4
"""Layers of the decoder."""
START_COUNT, START_SKIP = 6, 4
"""Layers of the network that gives the planes their first values; the one that is given its input again."""
LIMIT = 0.1
"""All outputs are less, the distance in metres."""
LARGEST = max(WINDOWS.values())
POINTS = 16384
"""Texels that are given their first values at a time."""


class DeltaSdf(nn.Module):
    """Planes, three window attentions on them, and the decoder of what a point reads there."""

    progress: Tensor

    def __init__(self, resolution: int, channels: int, box_warp: int, hidden: int, features: int) -> None:
        super().__init__()
        if resolution < LARGEST or resolution % LARGEST:
            raise ValueError(f"img_resolution is {resolution}, expected a multiple of {LARGEST}")
        if channels < FOUR or channels % FOUR or box_warp < 1:
            raise ValueError(
                f"img_channels is {channels}, box_warp {box_warp}; expected a multiple of 4 and at least 1"
            )
        self.box_warp = box_warp
        self.planes = nn.Parameter(torch.zeros(1, PLANES, channels, resolution, resolution))
        self.sdf_para = Stack(_start_widths(hidden, channels))
        self.decoder = TracedStack(
            widths(3 + ENCODED + PLANES * COPIES * channels, hidden, 1 + features, COUNT)
        )
        for name, window in WINDOWS.items():
            self.add_module(name, WindowAttention(channels, window))
        self.register_buffer("progress", torch.zeros(()))

    def attentions(self) -> list[WindowAttention]:
        """In the order of their copies of the planes."""
        return [self.get_submodule(name) for name in WINDOWS]  # type: ignore[misc]

    def filtered(self) -> Texels:
        """The planes and their filtered copies; depends on parameters only."""
        return Texels(filtered(self.planes[0], self.attentions()), self.planes.shape[-1], 2 / self.box_warp)

    def surface(self, planes: Texels | None = None) -> Surface:
        """The distance and features as a function of points.

        Args:
            planes: Filtered ones; left out, they are filtered now.
        """
        found = planes or self.filtered()
        (weight, bias), *layers, last = self.decoder.layers()
        # parity: the encoded place stays 0, its columns count in the norms only (spec 9, Q12).
        place, texels = weight[:, :3], weight[:, 3 + ENCODED :]
        # Columns stand in the order [copies, C / 4, 4, planes]; features in [planes, C / 4, copies, 4].
        texels = texels.view(len(weight), COPIES, -1, FOUR, PLANES).permute(0, 4, 2, 1, 3).flatten(1)
        layers = [(torch.cat([place, texels], dim=1), bias), *layers]

        def hidden(points: Tensor) -> Tensor:
            return softplus(torch.cat([points, found(points).flatten(1)], dim=1), layers)

        return Surface(hidden, last, LIMIT)

    def reset(self, noise: Noise) -> None:
        """Draw the published initial values; the planes take those of a network with random weights."""
        draw_normal(self.sdf_para.linears(), noise)
        for image, points in zip(self.planes[0], _start_points(self.planes), strict=True):
            values = [skipping(part, self.sdf_para.layers()) for part in points.split(POINTS)]
            image.copy_(torch.cat(values).T.view_as(image))
        linears = self.decoder.linears()
        draw_geometric(linears, noise, linears[0].inputs - 3)
        for attention in self.attentions():
            attention.reset(noise)


def _start_widths(hidden: int, channels: int) -> list[tuple[int, int]]:
    sizes = widths(3, hidden, channels, START_COUNT)
    sizes[START_SKIP - 1] = (hidden, hidden - 3)
    return sizes


def _start_points(planes: Tensor) -> list[Tensor]:
    """Where the first values of each plane's texels are taken [R R, 3]; rows go down."""
    resolution = planes.shape[-1]
    middle = resolution / 2 - 0.5
    steps = (torch.arange(resolution, dtype=planes.dtype, device=planes.device) - middle) / middle
    ys, xs = torch.meshgrid(-steps, steps, indexing="ij")
    zeros = torch.zeros_like(xs)
    orders = ((zeros, xs, ys), (xs, zeros, ys), (xs, ys, zeros))
    return [torch.stack(order, dim=-1).flatten(0, 1) for order in orders]
