"""Volume rendering of an avatar in one pose (spec 4.9).

A `Scene` holds what is the same for all points: the bones, the tree of posed vertices, the networks' weights
and filtered planes. Rays are rendered in one of two ways, with equal numbers. Where gradients are enabled, as
in training, everything is kept for the backward pass. Where they are not, rays go through in blocks that fit
into caches, normals alone are differentiated, and colours are asked only where they count.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from avatarctl.device import Noise
from avatarctl_video_avatar.model.avatar import Avatar
from avatarctl_video_avatar.model.deform import Deformed, Deformer, turned
from avatarctl_video_avatar.model.nearest import Nearest
from avatarctl_video_avatar.model.skeleton import bone_transforms
from avatarctl_video_avatar.model.surface import Surface
from avatarctl_video_avatar.model.volume import BaseSdf
from avatarctl_video_avatar.sample import Pose, Sample, Subject
from avatarctl_video_avatar.settings_model import Rendering

CHUNK = 4096
"""Rays of the published code's chunks; the draws of a picture come in such portions."""
WEAK = 0.2
"""Below this sum the samples of a ray say too little of its sharpness and count alike."""


@dataclass(frozen=True)
class Rendered:
    """n rays with S samples, under the published names.

    Of the last five, training has skinning weights and no sums, and showing has sums and no skinning weights.
    """

    color: Tensor
    """RGB 0 to 1, background included [n, 3]."""
    sdf: Tensor
    """Signed distance, metres [n, S]."""
    dists: Tensor
    """To the next sample, metres [n, S]."""
    gradients: Tensor
    """Of the signed distance at canonical points [n, S, 3]."""
    s_val: Tensor
    """One over the sharpness of the ray [n, S]."""
    mid_z_vals: Tensor
    """Depths of the samples, metres [n, S]."""
    weights: Tensor
    """Share of each sample in the colour [n, S]."""
    cdf: Tensor
    """Sigmoid of distance times sharpness [n, S]."""
    gradient_error: Tensor
    """Mean of (|gradient| - 1)^2, a scalar."""
    pts_W_pred: Tensor | None = None
    """Skinning weights by the network [n S, 24]; None also without a skinning network."""
    pts_W_sampled: Tensor | None = None
    """Skinning weights by the nearest vertices [n S, 24]."""
    normals: Tensor | None = None
    """Weighted sum of the gradients of a ray, canonical axes [n, 3]."""
    body_normals: Tensor | None = None
    """The same, each turned by the motion of its point into the body's axes [n, 3]."""

    @property
    def opacity(self) -> Tensor:
        """Share of each ray that does not see the background [n]."""
        return self.weights.sum(-1)


@dataclass(frozen=True)
class Painted:
    """What a surface shows at points of the posed body: `points` of the canonical body, unit `normals` in the
    body's axes, and `colours` 0 to 1 as seen against the normal [N, 3]."""

    points: Tensor
    normals: Tensor
    colours: Tensor


@dataclass(frozen=True)
class Picture:
    """A whole picture, rows times columns.

    Where no ray is rendered, `image` and `normals` [H, W, 3] hold the background's colour, as published;
    `body_normals` [H, W, 3] and `opacity` [H, W] hold zero.
    """

    image: Tensor
    normals: Tensor
    body_normals: Tensor
    opacity: Tensor


@dataclass(frozen=True)
class _Samples:
    """Places along rays [n, S]: distances to the next (`steps`), and the middles of these steps."""

    steps: Tensor
    depths: Tensor
    depth_steps: Tensor


@dataclass(frozen=True)
class _Surface:
    """The surface at N canonical points."""

    sdf: Tensor
    """Signed distance, metres [N]."""
    base: Tensor
    """The naked body's alone [N]."""
    gradient: Tensor
    """Of the signed distance [N, 3]."""
    told: Tensor
    """Features of the colour [N, F]; where gradients are off, the hidden numbers behind them [N, H]."""


class Scene:
    """An avatar in a pose.

    Args:
        step: Finished training steps; they say how far the opacity's cosine is in and what networks are told.
        refine: Whether the pose decoder corrects the pose; None leaves it to the step.
        surface: The avatar's, where it is there already.
    """

    def __init__(
        self,
        avatar: Avatar,
        subject: Subject,
        pose: Pose,
        rendering: Rendering,
        step: int,
        refine: bool | None = None,
        surface: Surface | None = None,
    ) -> None:
        self.rendering = rendering
        refine = step >= rendering.kick_in_iter if refine is None else refine
        self.bones = bone_transforms(pose, avatar.pose_decoder(pose.numbers) if refine else None)
        self.anneal = min(1.0, step / rendering.anneal_end) if rendering.anneal_end else 1.0
        self.base = BaseSdf.of(subject)
        self.surface, self.colour = surface or avatar.surface(), avatar.colour()
        self.sharpness = avatar.sharpness()
        moves = avatar.non_rigid_mlp
        self.deformer = Deformer(
            self.bones,
            Nearest(pose.vertices),
            subject.skinning,
            passes=rendering.n_iter_backward,
            skinning=avatar.skinning() if moves is None else None,
            offset=None
            if moves is None
            else partial(
                moves,
                numbers=pose.numbers,
                step=step,
                kick_in=rendering.non_rigid_kick_in_iter,
                full_band=rendering.non_rigid_full_band_iter,
            ),
        )

    def render(
        self, origins: Tensor, directions: Tensor, depths: Tensor, shift: Tensor | None, background: Tensor
    ) -> Rendered:
        """Render rays of the body's frame.

        Args:
            origins: Metres [n, 3], n > 0.
            directions: Unit [n, 3].
            depths: Metres, in order [n, S].
            shift: By how much of two even steps each ray's depths are moved, 0 to 1; a half does nothing [n].
            background: Colour 0 to 1 [3].
        """
        if torch.is_grad_enabled():
            return self._block(origins, directions, depths, shift, background)
        size = max(1, _block_size(depths.device) // depths.shape[1])
        blocks = [slice(first, first + size) for first in range(0, len(depths), size)]
        parts = [
            self._block(
                origins[block],
                directions[block],
                depths[block],
                None if shift is None else shift[block],
                background,
            )
            for block in blocks
        ]
        return _joined(parts)

    @torch.no_grad()
    def field(self, points: Tensor) -> Tensor:
        """Signed distance in metres [N] at points [N, 3] of the body's frame; negative inside."""
        parts = points.split(_block_size(points.device))
        return torch.cat([self._distance(self.deformer(part).points) for part in parts])

    @torch.no_grad()
    def painted(self, points: Tensor) -> Painted:
        """What the surface shows at points [N, 3] of the body's frame."""
        parts = [self._painted(part) for part in points.split(_block_size(points.device))]
        return Painted(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Painted)))

    def _distance(self, points: Tensor) -> Tensor:
        return self.base(points)[:, 0] + self.surface.distance(points)

    def _painted(self, points: Tensor) -> Painted:
        found = self.deformer(points)
        surface = self._surface(found.points)
        views = -normalize(surface.gradient, dim=-1)
        features = self.surface.features(surface.told)
        colours = self.colour(found.points, views, surface.gradient, features)
        return Painted(found.points, normalize(turned(surface.gradient, found.motion), dim=-1), colours)

    def _block(
        self, origins: Tensor, directions: Tensor, depths: Tensor, shift: Tensor | None, background: Tensor
    ) -> Rendered:
        """As `render`, all at once."""
        trains = torch.is_grad_enabled()
        samples, (n, s) = _samples(depths, shift), depths.shape
        points = origins[:, None] + directions[:, None] * samples.depths[..., None]
        found = self.deformer(points.reshape(-1, 3))
        surface = self._surface(found.points)
        views, gradients = _views(found.points.view(n, s, 3)), surface.gradient.view(n, s, 3)
        sharpness, cdf, weights = self._weights(surface, gradients, views, samples.depth_steps)
        if trains:
            colours = self.colour(found.points, views.reshape(-1, 3), surface.gradient, surface.told)
            rest: dict[str, Tensor | None] = {"pts_W_pred": found.predicted, "pts_W_sampled": found.sampled}
        else:
            colours, rest = self._seen(found, surface, views, weights)
        color = (weights[..., None] * colours.view(n, s, 3)).sum(1)
        return Rendered(
            color=color + background * (1 - weights.sum(-1, keepdim=True)),
            sdf=surface.sdf.view(n, s),
            dists=samples.steps,
            gradients=gradients,
            s_val=(1 / sharpness).expand(n, s),
            mid_z_vals=samples.depths,
            weights=weights,
            cdf=cdf,
            gradient_error=_eikonal(gradients),
            **rest,
        )

    def _surface(self, points: Tensor) -> _Surface:
        """The surface at canonical points [N, 3]; where gradients are on, `gradient` is part of the graph."""
        if not torch.is_grad_enabled():
            probe, (base, slope) = self.surface.probe(points), self.base.probe(points)
            return _Surface(base + probe.distance, base, slope + probe.gradient, probe.hidden)
        points = points if points.requires_grad else points.requires_grad_()
        base, detail = self.base(points)[:, 0], self.surface(points)
        sdf = base + detail[:, 0]
        (gradient,) = torch.autograd.grad(sdf.sum(), points, create_graph=True)
        return _Surface(sdf, base.detach(), gradient, detail[:, 1:])

    def _weights(
        self, surface: _Surface, gradients: Tensor, views: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sharpness [n, 1], cdf [n, S] and the samples' weights in the colour [n, S].

        Args:
            gradients: Of the signed distance [n, S, 3].
            views: Unit directions at canonical points [n, S, 3].
            steps: Metres to the next sample [n, S].
        """
        sdf = surface.sdf.view_as(steps)
        sharpness = self._sharpness(sdf.detach(), gradients.norm(dim=-1))
        cosine = (views * gradients).sum(-1)
        slope = relu(0.5 - 0.5 * cosine) * (1 - self.anneal) + relu(-cosine) * self.anneal
        cdf = torch.sigmoid(sdf * sharpness)
        alpha = (1 - torch.exp(-sharpness * (1 - cdf) * slope * steps)).clamp(0, 1)
        # parity: the naked body alone decides, however far the detail reaches (spec 9, Q34)
        alpha = alpha * (surface.base.view_as(steps) <= self.rendering.sdf_threshold)
        passing = torch.cumprod(1 - alpha[:, :-1] + 1e-7, dim=-1)
        return sharpness, cdf, alpha * torch.cat([torch.ones_like(alpha[:, :1]), passing], dim=-1)

    def _sharpness(self, sdf: Tensor, slopes: Tensor) -> Tensor:
        """How sharp the surface is for each ray [n, 1]: sharper where the field is steep at the surface.

        Args:
            sdf: Metres, without gradient [n, S].
            slopes: Lengths of the field's gradients [n, S].
        """
        with torch.no_grad():
            scale = self.sharpness.clamp(1e-6, 1e3)
            near = torch.sigmoid(scale * sdf)
            near = scale * near * (1 - near)
            near = near / (near.sum(-1, keepdim=True) + 1e-6)
            near = torch.where(near.sum(-1, keepdim=True) < WEAK, 1 / sdf.shape[1], near)
        return self.sharpness.clamp(1e-6, 1e6) * torch.exp((slopes * near).sum(-1, keepdim=True) - 1)

    def _seen(
        self, found: Deformed, surface: _Surface, views: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Colours [n S, 3], asked only where weights [n, S] are not zero, and the normals of the rays."""
        (seen,) = weights.reshape(-1).nonzero(as_tuple=True)
        gradients, features = surface.gradient, self.surface.features(surface.told[seen])
        colours, body = torch.zeros_like(found.points), torch.zeros_like(found.points)
        colours[seen] = self.colour(found.points[seen], views.reshape(-1, 3)[seen], gradients[seen], features)
        body[seen] = turned(gradients[seen], found.motion[seen])
        sums = {"normals": gradients, "body_normals": body}
        return colours, {
            name: (weights[..., None] * values.view(*weights.shape, 3)).sum(1)
            for name, values in sums.items()
        }


def picture(scene: Scene, sample: Sample, noise: Noise | None, chunk: int = CHUNK) -> Picture:
    """Render the rays of a whole picture that meet the body; the others show the background.

    Args:
        noise: Shifts each ray's depths, as published; None leaves them where they are.
        chunk: Rays of a portion of draws.
    """
    rays, shot = sample.rays, sample.shot
    shift = None
    if noise is not None and scene.rendering.perturb:
        # parity: drawn also for rays that are not rendered; the others get the published draws (spec 6)
        portions = [noise.uniform((len(part), 1)) for part in rays.depths.split(chunk)]
        shift = torch.cat(portions)[:, 0].to(rays.depths)
    parts = []
    with torch.no_grad():
        hitting = rays.hits.nonzero()[:, 0]
        for hits in hitting.split(chunk) if len(hitting) else ():
            found = scene.render(
                rays.origins[hits],
                rays.directions[hits],
                rays.depths[hits],
                None if shift is None else shift[hits],
                sample.background,
            )
            assert found.normals is not None
            assert found.body_normals is not None
            parts.append(
                torch.cat([found.color, found.normals, found.body_normals, found.opacity[:, None]], -1)
            )
    behind = torch.cat([sample.background, sample.background, sample.background.new_zeros(4)])
    pixels = behind.repeat(len(rays), 1)
    if parts:
        pixels[rays.hits] = torch.cat(parts)
    pixels = pixels.view(shot.height, shot.width, -1)
    return Picture(pixels[..., :3], pixels[..., 3:6], pixels[..., 6:9], pixels[..., 9])


def _block_size(device: torch.device) -> int:
    """Points that are worked on at once where nothing is kept for gradients."""
    return 1 << 13 if device.type == "cpu" else 1 << 18


def _samples(depths: Tensor, shift: Tensor | None) -> _Samples:
    """Samples in the middle of the steps between `depths` [n, S], which are first moved by `shift` [n]."""
    if shift is not None:
        # parity: in metres, whatever the distances of the samples (spec 4.9)
        depths = depths + (shift[:, None] - 0.5) * 2 / depths.shape[1]
    steps = _steps(depths)
    middles = depths + steps * 0.5
    return _Samples(steps, middles, _steps(middles))


def _steps(depths: Tensor) -> Tensor:
    """From each depth to the next; the last takes the mean of the others [n, S]."""
    steps = depths.diff(dim=-1)
    return torch.cat([steps, steps.mean(-1, keepdim=True)], dim=-1)


def _views(points: Tensor) -> Tensor:
    """Unit directions from each canonical point of a ray to the next; the last repeats the one before it.

    Args:
        points: Metres [n, S, 3].
    """
    views = normalize(points.diff(dim=1), dim=-1, eps=1e-12)
    return torch.cat([views, views[:, -1:]], dim=1)


def _eikonal(gradients: Tensor) -> Tensor:
    errors = (gradients.norm(dim=-1) - 1) ** 2
    return errors.sum() / (errors.numel() + 1e-5)


def _joined(parts: list[Rendered]) -> Rendered:
    """Blocks of rays as one."""
    joined = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(Rendered)
        if f.name != "gradient_error" and getattr(parts[0], f.name) is not None
    }
    return Rendered(**joined, gradient_error=_eikonal(joined["gradients"]))
