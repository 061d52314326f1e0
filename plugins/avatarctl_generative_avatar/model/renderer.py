"""Volume rendering of people: two passes of samples, density of signed values, marching (spec 4.6 to 4.11).

Most samples see nothing: only those with a canonical place are kept, in lists. Their densities go into the
dense table that is marched along; colours and normals are asked only of samples that count in a picture, and
are summed up ray by ray from the lists. One code renders with and without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl_generative_avatar.model.decoder import FEATURES
from avatarctl_generative_avatar.model.field import EMPTY, Field, Found
from avatarctl_generative_avatar.model.rays import coarse_depths, importance, middles
from avatarctl_generative_avatar.settings_model import Rendering

START = 0.1
"""Of the width of the surface, metres."""
LEAST = 1e-4
NEGLIGIBLE = 1e-9
"""A sample that counts less in its ray changes no picture."""


class Renderer(nn.Module):
    """The one trained number of rendering: how wide the surface is."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid_beta = nn.Parameter(torch.full((1,), START))

    def density(self, value: Tensor) -> Tensor:
        """One over metres, of signed values [...]."""
        return torch.sigmoid(value / self.beta) / self.beta

    @property
    def beta(self) -> Tensor:
        """Width of the surface, metres [1]."""
        return self.sigmoid_beta.abs() + LEAST

    @property
    def nothing(self) -> Tensor:
        """The density of empty space [1]: 0 in float32, unless the surface is wider than metres."""
        return self.density(self.sigmoid_beta.new_full((1,), EMPTY))


@dataclass(frozen=True)
class Draws:
    """Uniform draws for the depths of all rays: first pass [N, R, S], second [N, R, F]."""

    coarse: Tensor
    fine: Tensor

    @classmethod
    def of(cls, noise: Noise | None, shape: tuple[int, int], rendering: Rendering, like: Tensor) -> Draws:
        """The published draws in their order; without noise, the middles of equal parts."""
        first, second = rendering.depth_resolution, rendering.depth_resolution_importance
        if noise is None:
            coarse, fine = like.new_full((*shape, first), 0.5), middles(second, like).expand(*shape, second)
            return cls(coarse, fine)
        coarse = noise.uniform((*shape, first, 1), device=like.device).squeeze(-1)
        rows = shape[0] * shape[1]
        fine = noise.uniform((rows, second), device=like.device) if second else like.new_empty(rows, 0)
        return cls(coarse, fine.view(*shape, second))

    def of_rays(self, part: slice) -> Draws:
        """Those of some rays."""
        return Draws(self.coarse[:, part], self.fine[:, part])


@dataclass(frozen=True)
class March:
    """R rays with S samples in the order of their depths.

    `depths` in metres and `densities` [R, S], and the `weights` of the steps between samples [R, S - 1].
    """

    depths: Tensor
    densities: Tensor
    weights: Tensor

    @classmethod
    def along(cls, depths: Tensor, densities: Tensor) -> March:
        """Through samples that are in order (spec 4.10)."""
        density = (densities[:, 1:] + densities[:, :-1]) / 2
        alpha = 1 - torch.exp(-density * (depths[:, 1:] - depths[:, :-1]))
        passing = torch.cumprod(1 - alpha[:, :-1] + 1e-10, dim=-1)
        return cls(depths, densities, alpha * torch.cat([torch.ones_like(alpha[:, :1]), passing], dim=-1))

    @property
    def counts(self) -> Tensor:
        """How much each sample counts in its ray: it is half of the steps on either side [R, S]."""
        none = torch.zeros_like(self.weights[:, :1])
        return (torch.cat([none, self.weights], dim=-1) + torch.cat([self.weights, none], dim=-1)) / 2

    @property
    def depth(self) -> Tensor:
        """Mean depth, metres; infinite where nothing is seen [R]."""
        steps = (self.depths[:, 1:] + self.depths[:, :-1]) / 2
        return ((self.weights * steps).sum(-1) / self.weights.sum(-1)).nan_to_num(torch.inf)


@dataclass(frozen=True)
class Pass:
    """One pass over rays: `depths` of the samples [N, R, S], and what is `found` there."""

    depths: Tensor
    found: Found

    @classmethod
    def along(cls, field: Field, origins: Tensor, directions: Tensor, depths: Tensor) -> Pass:
        """Ask the field at depths [N, R, S] along rays [N, R, 3]."""
        points = origins[:, :, None] + directions[:, :, None] * depths[..., None]
        return cls(depths, field.find(points.flatten(1, 2)))

    @property
    def rows(self) -> Tensor:
        """Depths, ray by ray [N x R, S]."""
        return self.depths.flatten(0, 1)

    @property
    def ray(self) -> Tensor:
        """That of what is found, among N x R [K]."""
        return torch.div(self.found.point, self.depths.shape[-1], rounding_mode="floor")

    def densities(self, renderer: Renderer) -> Tensor:
        """Of all samples [N x R, S]."""
        dense = renderer.nothing.expand(self.depths.numel())
        made = dense.index_put((self.found.point,), renderer.density(self.found.value))
        return made.view_as(self.rows)


@dataclass(frozen=True)
class Samples:
    """What all samples of N people are, for losses; in order of passes, not of depths.

    Block by block of rays and pass by pass, what is `found` and its `gradients` [K, 3].
    """

    found: tuple[tuple[Found, ...], ...]
    gradients: tuple[tuple[Tensor, ...], ...]
    is_canonical: bool

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples | None:
        """Those of all blocks; None of none."""
        if not parts:
            return None
        found, gradients = (
            tuple(block for part in parts for block in getattr(part, name)) for name in ("found", "gradients")
        )
        return cls(found, gradients, parts[0].is_canonical)

    @property
    def sdf(self) -> Tensor:
        """Signed values [N, samples, 1, 1]."""
        values = tuple(tuple(found.value for found in block) for block in self.found)
        return self._dense(values, EMPTY)[..., None, None]

    @property
    def grad_cano(self) -> Tensor:
        """Canonical gradients, 0 where nothing is [N, samples, 1, 1, 3]; in that space [N, samples, 1, 3]."""
        made = self._dense(self.gradients, 0.0).unsqueeze(2)
        return made if self.is_canonical else made.unsqueeze(2)

    @property
    def eikonal(self) -> Tensor:
        """Mean over all samples of (|gradient| - 1)^2; where nothing is it is 1 (spec 5.4)."""
        total = sum(found.shape[0] * found.shape[1] for block in self.found for found in block)
        lengths = torch.cat([one for block in self.gradients for one in block]).norm(dim=-1)
        return ((lengths - 1).square().sum() + (total - len(lengths))) / total

    def _dense(self, values: tuple[tuple[Tensor, ...], ...], empty: float) -> Tensor:
        made = [
            found.dense(value, empty)
            for founds, given in zip(zip(*self.found, strict=True), zip(*values, strict=True), strict=True)
            for found, value in zip(founds, given, strict=True)
        ]
        return torch.cat(made, dim=1)


@dataclass(frozen=True)
class Rendered:
    """R rays of N pictures.

    `features` -1 to 1 [N, R, 32], `normals` [N, R, 3], `depth` in metres [N, R], and `samples` for losses.
    """

    features: Tensor
    normals: Tensor | None
    depth: Tensor
    samples: Samples | None


@dataclass(frozen=True)
class Shares:
    """Rays that hit something, among n.

    `rays` [A], and how much each of their samples counts, pass by pass [A, samples].
    """

    rays: Tensor
    counts: Tensor
    total: int

    def of(self, one: Pass, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """What of a pass counts: rows of what was found, rows of `rays` and the counts [K] each.

        Args:
            first: Samples of the passes before it.
        """
        row_of = torch.empty(self.total, dtype=torch.int64, device=self.rays.device)
        row_of[self.rays] = torch.arange(len(self.rays), device=self.rays.device)
        row = row_of[one.ray]
        count = self.counts[row, one.found.point % one.depths.shape[-1] + first]
        seen = (count > NEGLIGIBLE).nonzero().squeeze(1)
        return seen, row[seen], count[seen]

    def spread(self, values: Tensor, empty: float) -> Tensor:
        """Values of the rays [A, C] among all [n, C]."""
        made = values.new_full((self.total, *values.shape[1:]), empty)
        return made.index_put((self.rays,), values)


def two_passes(
    renderer: Renderer, field: Field, origins: Tensor, directions: Tensor, draws: Draws, rendering: Rendering
) -> list[Pass]:
    """Samples along rays [N, R, 3]: even ones, then more where these found something."""
    even = coarse_depths(origins, draws.coarse, rendering.ray_start, rendering.ray_end)
    first = Pass.along(field, origins, directions, even)
    if not draws.fine.shape[-1]:
        return [first]
    with torch.no_grad():
        march = March.along(first.rows, first.densities(renderer))
        finer = importance(march.depths, march.weights, draws.fine.flatten(0, 1))
    return [first, Pass.along(field, origins, directions, finer.view_as(draws.fine))]


def merged(renderer: Renderer, passes: Sequence[Pass], rays: Tensor) -> tuple[March, Tensor]:
    """Some rays [A] through samples of all passes; also how much each counts, pass by pass [A, samples]."""
    depths, order = torch.cat([one.rows[rays] for one in passes], dim=-1).sort(dim=-1)
    densities = torch.cat([one.densities(renderer)[rays] for one in passes], dim=-1)
    march = March.along(depths, densities.gather(1, order))
    return march, torch.zeros_like(depths).scatter(1, order, march.counts)


def render(
    renderer: Renderer,
    field: Field,
    rays: tuple[Tensor, Tensor],
    draws: Draws,
    rendering: Rendering,
    *,
    wants_normals: bool = True,
    keeps_samples: bool = False,
) -> Rendered:
    """Render rays, `rendering.chunk` samples at a time.

    Args:
        rays: Origins and directions [N, R, 3].
        wants_normals: Whether pictures of normals are asked for.
        keeps_samples: Whether losses will ask for the samples.
    """
    n, r = rays[0].shape[:2]
    size = n * (draws.coarse.shape[-1] + draws.fine.shape[-1])
    step = max(1, rendering.chunk // size)
    blocks = []
    for first in range(0, r, step):
        part = slice(first, first + step)
        passes = two_passes(
            renderer, field, rays[0][:, part], rays[1][:, part], draws.of_rays(part), rendering
        )
        blocks.append(_block(renderer, field, passes, wants_normals, keeps_samples))
    depth = torch.cat([block.depth for block in blocks], dim=1)
    # parity: where nothing is seen the depth is the largest of the whole batch (spec 4.10).
    ends = coarse_depths(rays[0], draws.coarse, rendering.ray_start, rendering.ray_end)
    normals = [block.normals for block in blocks if block.normals is not None]
    return Rendered(
        features=torch.cat([block.features for block in blocks], dim=1),
        normals=torch.cat(normals, dim=1) if wants_normals else None,
        depth=depth.clamp(ends.min(), ends.max()),
        samples=Samples.joined([block.samples for block in blocks if block.samples is not None]),
    )


def _block(
    renderer: Renderer, field: Field, passes: Sequence[Pass], wants_normals: bool, keeps_samples: bool
) -> Rendered:
    """What rays see, of their passes; depth is infinite where nothing is."""
    n, r = passes[0].depths.shape[:2]
    is_hit = torch.full((n * r,), bool(renderer.nothing > 0), device=passes[0].depths.device)
    for one in passes:
        is_hit[one.ray] = True
    hit = is_hit.nonzero().squeeze(1)
    march, counts = merged(renderer, passes, hit)
    shares = Shares(hit, counts, n * r)
    colours, normals = counts.new_zeros(len(hit), FEATURES), counts.new_zeros(len(hit), 3)
    gradients, first = [], 0
    for one in passes:
        seen, row, count = shares.of(one, first)
        found, first = one.found[seen], first + one.depths.shape[-1]
        colours = colours.index_add(0, row, count[:, None] * field.colours(found))
        if keeps_samples:
            gradients.append(field.gradient(one.found))
        if wants_normals:
            gradient = gradients[-1][seen] if keeps_samples else field.gradient(found)
            normals = normals.index_add(0, row, count[:, None] * field.normals(found, gradient))
    rest = 1 - march.weights.sum(-1, keepdim=True)
    founds = tuple(one.found for one in passes)
    return Rendered(
        features=shares.spread((colours + rest) * 2 - 1, 1.0).unflatten(0, (n, r)),
        normals=shares.spread(normals + rest, 1.0).unflatten(0, (n, r)) if wants_normals else None,
        depth=shares.spread(march.depth, torch.inf).unflatten(0, (n, r)),
        samples=Samples((founds,), (tuple(gradients),), field.is_canonical) if keeps_samples else None,
    )
