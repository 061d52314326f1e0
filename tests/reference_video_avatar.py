"""The published procedure of video-avatar as its specification states it, for the bench: a slow twin of ours.

Each query of the surface filters the planes again, looks up four copies of them one after the other, and
gives all its numbers. Weights are normed at each call, encoded inputs that are always 0 go through the
layers, nearest vertices come from all distances, and every sample of every ray is worked on, graph and all.

A twin that is too slow for the bench filters a share of the planes' rows, for as small a share of rays or
points. Its numbers are not the published ones then; its cost is that share of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from avatarctl_video_avatar.model.avatar import Avatar
from avatarctl_video_avatar.model.colour import AFTER_VIEW, ColourNet
from avatarctl_video_avatar.model.colour import ENCODED as ENCODED_VIEW
from avatarctl_video_avatar.model.deform import Deformed, Deformer
from avatarctl_video_avatar.model.delta import ENCODED, LIMIT, DeltaSdf
from avatarctl_video_avatar.model.mlp import softplus
from avatarctl_video_avatar.model.nearest import NEIGHBOURS
from avatarctl_video_avatar.model.rendering import CHUNK, Rendered, Scene
from avatarctl_video_avatar.model.windows import COPIES, FOUR, HEADS, WindowAttention
from avatarctl_video_avatar.sample import Pose, Rays, Subject
from avatarctl_video_avatar.settings_model import Rendering
from torch import Tensor
from torch.nn import functional

AXES = ((0, 1), (1, 2), (2, 0))
"""What each plane sees along its width and height."""
DROPPED = (2, 0, 1)
"""And does not see."""
FAR, OUTSIDE = 0.1, 1.0
"""Points whose three nearest vertices are farther away, metres, have this distance."""


def attended(planes: Tensor, attention: WindowAttention) -> Tensor:
    """Planes [3, C, H, W] after self-attention in windows, all windows at once."""
    count, channels, height, width = planes.shape
    side, size = attention.window, channels // HEADS
    windows = planes.permute(0, 2, 3, 1).reshape(count, height // side, side, width // side, side, channels)
    windows = windows.transpose(2, 3).reshape(-1, side * side, channels)
    qkv = functional.linear(windows, *attention.qkv.layer())
    queries, keys, values = qkv.view(*windows.shape[:2], 3, HEADS, size).permute(2, 0, 3, 1, 4)
    scores = (queries * size**-0.5) @ keys.transpose(-2, -1)
    table = attention.relative_position_bias_table[attention.relative_position_index.flatten()]
    scores = scores + table.view(side * side, side * side, HEADS).permute(2, 0, 1)
    mixed = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(windows.shape)
    made = functional.linear(mixed, *attention.proj.layer())
    made = made.view(count, height // side, width // side, side, side, channels).transpose(2, 3)
    return made.reshape(count, height, width, channels).permute(0, 3, 1, 2)


def filtered(network: DeltaSdf, share: int = 1) -> list[Tensor]:
    """The filtered copies and the plain planes [3, C, R, R]; with a share, as many rows of the former."""
    planes = network.planes[0]
    return [
        *(attended(planes[:, :, : planes.shape[2] // share], one) for one in network.attentions()),
        planes,
    ]


def looked_up(planes: Tensor, places: Tensor) -> Tensor:
    """Values [3, C, N] at places [N, 3] in [-1, 1]; 0 outside, the outermost texels at the edges."""
    count, channels, _, resolution = planes.shape
    pixels = (places + 1) * (0.5 * (resolution - 1))
    across, down = (torch.stack([pixels[:, axes[side]] for axes in AXES]) for side in (0, 1))  # [3, N]
    left, top = across.detach().floor(), down.detach().floor()
    flat, made = planes.reshape(count, channels, -1), planes.new_zeros(())
    for right in (0, 1):
        for below in (0, 1):
            column, row = left + right, top + below
            weight = (1 - (across - column).abs()) * (1 - (down - row).abs())
            inside = (column >= 0) & (column < resolution) & (row >= 0) & (row < resolution)
            index = (row.clamp(0, resolution - 1) * resolution + column.clamp(0, resolution - 1)).long()
            texels = flat.gather(2, index[:, None].expand(-1, channels, -1))
            made = made + texels * (weight * inside)[:, None]
    return made


class Queried:
    """The surface of canonical points [N, 3]: distance, metres, and features [N, 1 + F].

    Args:
        share: Of the rows of planes that are filtered.
        copies: Planes that are filtered already; left out, each query filters them.
    """

    def __init__(self, network: DeltaSdf, share: int = 1, copies: Sequence[Tensor] | None = None) -> None:
        self.network, self.share, self.copies = network, share, copies

    def __call__(self, points: Tensor) -> Tensor:
        """Distance and features."""
        network = self.network
        copies = self.copies or filtered(network, self.share)
        if self.share > 1:
            copies = [copies[-1]] * COPIES
        places = points * (2 / network.box_warp)
        features = torch.cat([looked_up(one, places) for one in copies], dim=1)  # [3, 4 C, N]
        features = (features * self._factors(points)).permute(2, 1, 0).flatten(1)
        given = torch.cat([points, points.new_zeros(len(points), ENCODED), features], dim=1)
        return LIMIT * (2 * torch.sigmoid(_ended(given, network.decoder.layers())) - 1)

    def _factors(self, points: Tensor) -> Tensor:
        """[3, 4 C, N]."""
        channels = self.network.planes.shape[2]
        dropped = points.T[list(DROPPED)]  # [3, N]
        waves = [
            wave(2.0 ** (2 * copy + octave) * dropped)
            for copy in range(COPIES)
            for octave in (0, 1)
            for wave in (torch.sin, torch.cos)
        ]
        by_copy = torch.stack(waves, dim=1).unflatten(1, (COPIES, FOUR))
        return by_copy.repeat(1, 1, channels // FOUR, 1).flatten(1, 2)


def _ended(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return functional.linear(softplus(x, layers[:-1]), *layers[-1])


class Coloured:
    """Colours, as `Colour`."""

    def __init__(self, network: ColourNet) -> None:
        self.network = network

    def __call__(self, points: Tensor, views: Tensor, normals: Tensor, features: Tensor) -> Tensor:
        """RGB, 0 to 1 [N, 3]."""
        zeros = points.new_zeros(len(points), ENCODED_VIEW)
        x = torch.cat([points, views, zeros, normals, features], dim=1)
        assert x.shape[1] - features.shape[1] == AFTER_VIEW + ENCODED_VIEW + 3
        *layers, last = self.network.layers()
        for weight, bias in layers:
            x = functional.relu(functional.linear(x, weight, bias))
        return torch.sigmoid(functional.linear(x, *last))


class Compared:
    """The nearest of vertices [V, 3], from all distances."""

    def __init__(self, vertices: Tensor) -> None:
        self.vertices = vertices

    def __call__(self, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances in metres and indices [N, k]."""
        return torch.cdist(points.detach(), self.vertices).topk(k, largest=False)


class Inverted(Deformer):
    """Points brought back by inverses of 4x4 matrices."""

    @torch.no_grad()
    def start(self, points: Tensor) -> Deformed:
        """By the skinning of the nearest vertices."""
        distances, which = self.nearest(points, NEIGHBOURS)
        shares = distances.sum(-1, keepdim=True) / (distances + 1e-8)
        shares = shares / (shares.sum(-1, keepdim=True) + 1e-8)
        return self._moved(points, (self.weights[which] * shares[..., None]).sum(1), None)

    def step(self, points: Tensor, found: Deformed) -> Deformed:
        """By the skinning network."""
        assert self.skinning is not None
        return self._moved(points, self.skinning(found.points), found.sampled)

    def _moved(self, points: Tensor, weights: Tensor, sampled: Tensor | None) -> Deformed:
        motion = torch.einsum("nj,jab->nab", weights, self.bones)
        places = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
        back = (torch.linalg.inv(motion) @ places[..., None])[:, :3, 0]
        if sampled is None:
            return Deformed(back, None, weights, motion[:, :3])
        return Deformed(back, weights, sampled, motion[:, :3])


def scene(
    avatar: Avatar, subject: Subject, pose: Pose, rendering: Rendering, step: int, share: int = 1
) -> Scene:
    """An avatar in a pose, all parts as published; to be used with gradients enabled, or by `field`."""
    assert isinstance(avatar.sdf_network, DeltaSdf)
    queried = Queried(avatar.sdf_network, share)
    made = Scene(avatar, subject, pose, rendering, step, surface=queried)  # type: ignore[arg-type]
    made.colour = Coloured(avatar.color_network)  # type: ignore[assignment]
    made.deformer = deformer(avatar, subject, pose, made.bones, rendering.n_iter_backward)
    return made


def deformer(avatar: Avatar, subject: Subject, pose: Pose, bones: Tensor, passes: int = 3) -> Deformer:
    """What brings points to the canonical body; weights of its network are normed each time."""

    def skinning(points: Tensor) -> Tensor:
        return avatar.skinning()(points)

    nearest = Compared(pose.vertices)
    return Inverted(bones, nearest, subject.skinning, skinning=skinning, passes=passes)  # type: ignore[arg-type]


@torch.enable_grad()
def rendered(made: Scene, rays: Rays, background: Tensor, shift: Tensor | None = None) -> list[Rendered]:
    """All rays, hit or not, in chunks."""
    return [
        made.render(
            rays.origins[rows],
            rays.directions[rows],
            rays.depths[rows],
            None if shift is None else shift[rows],
            background,
        )
        for rows in torch.arange(len(rays)).split(CHUNK)
    ]


@torch.no_grad()
def field(made: Scene, points: Tensor) -> Tensor:
    """Signed distance, metres [N], at points [N, 3] of a block of the grid (spec 8)."""
    away, _ = made.deformer.nearest(points, 3)
    found = made.deformer(points).points
    sdf = (made.base(found) + made.surface(found)[:, :1])[:, 0]
    return torch.where(away.mean(dim=1) > FAR, OUTSIDE, sdf)
