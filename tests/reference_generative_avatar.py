"""The published procedure of generative-avatar as its specification states it, for the bench: slow twins.

Every sample of every ray is compared with all vertices, is given eleven padded searches of all ten steps, and
carries 32 colours and a normal through dense tables; slopes come from a graph. Planes are made for each
picture, by layers whose filters, noise, biases and gains are passes of their own. Photos are decoded each
time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from avatarctl_generative_avatar.deform.broyden import CLOSE, LOST, SAME, STEPS
from avatarctl_generative_avatar.deform.nearness import RADIUS
from avatarctl_generative_avatar.deform.posing import EVERY, STARTS, Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model import backbone, discriminator, layers
from avatarctl_generative_avatar.model.decoder import FEATURES
from avatarctl_generative_avatar.model.field import EMPTY
from avatarctl_generative_avatar.model.generator import Generator, Pictures
from avatarctl_generative_avatar.model.layers import EPSILON
from avatarctl_generative_avatar.model.rays import coarse_depths, importance
from avatarctl_generative_avatar.model.rays import rays as rays_of
from avatarctl_generative_avatar.model.renderer import Draws, March
from avatarctl_generative_avatar.settings_model import NoiseMode, Rendering
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatarctl.device import Noise

AXES = ((0, 1), (0, 2), (2, 1))
"""What each plane sees along its width and height."""
ROWS = 4096
"""Points compared with all vertices at a time."""


def filtered(x: Tensor, f: Tensor, up: int = 1, down: int = 1, pad: int = 0, gain: float = 1.0) -> Tensor:
    """Zeros put between pixels, padded, filtered, and pixels left out, one after the other (spec 4.1)."""
    count, channels, height, width = x.shape
    if up > 1:
        spread = x.new_zeros(count, channels, height, up, width, up)
        spread[:, :, :, 0, :, 0] = x
        x = spread.view(count, channels, height * up, width * up)
    x = functional.pad(x, (pad + up - 1, pad, pad + up - 1, pad))
    weight = (f * gain).flip(0, 1).expand(channels, 1, -1, -1)
    return functional.conv2d(x, weight, groups=channels)[:, :, ::down, ::down]


def downsample2d(x: Tensor, f: Tensor) -> Tensor:
    """As ours."""
    return filtered(x, f, down=2, pad=1)


def upsample2d(x: Tensor, f: Tensor) -> Tensor:
    """As ours."""
    return filtered(x, f, up=2, pad=1, gain=4.0)


def conv2d_resample(
    x: Tensor, weight: Tensor, f: Tensor, *, up: int = 1, down: int = 1, bias: Tensor | None = None
) -> Tensor:
    """As ours."""
    kernel = weight.shape[-1]
    if up == 2:
        made = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        made = filtered(made, f, pad=1, gain=4.0)
    elif down == 1:
        made = functional.conv2d(x, weight, padding=kernel // 2)
    elif kernel == 1:
        made = functional.conv2d(downsample2d(x, f), weight)
    else:
        made = functional.conv2d(filtered(x, f, pad=2), weight, stride=2)
    return made if bias is None else made + bias[:, None, None]


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    f: Tensor,
    *,
    up: int = 1,
    demodulate: bool = True,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    gain: float = 1.0,
    fused: bool = False,
) -> Tensor:
    """As ours: filters of each picture are made in full, all else are passes over pictures."""
    own = weight * styles[:, None, :, None, None]
    norm = (own.square().sum((2, 3, 4)) + EPSILON).rsqrt() if demodulate else None
    if fused:
        own = own if norm is None else own * norm[..., None, None, None]
        made = conv2d_resample(x, own[0], f, up=up)
    else:
        made = conv2d_resample(x * styles[..., None, None], weight, f, up=up)
        made = made if norm is None else made * norm[..., None, None]
    made = made if noise is None else made + noise
    made = made if bias is None else made + bias[:, None, None]
    return made if gain == 1 else made * gain


@contextmanager
def published_layers() -> Iterator[None]:
    """Networks work layer by layer and pass by pass."""
    mine = (downsample2d, upsample2d, conv2d_resample, modulated_conv2d)
    every: dict[str, Any] = {one.__name__: one for one in mine} | {"innermost": Tensor.contiguous}
    with ExitStack() as held:
        for module in (layers, backbone, discriminator):
            for name in every.keys() & vars(module).keys():
                held.enter_context(mock.patch.object(module, name, every[name]))
        yield


def near(points: Tensor, vertices: Tensor) -> Tensor:
    """Whether one of the vertices [M, 3] is close, bool [P] of points [P, 3]: from all distances."""
    found = []
    for part in points.split(ROWS):
        square = sum((part[:, axis, None] - vertices[:, axis]).square() for axis in range(3))
        found.append(square.amin(dim=1) < RADIUS**2)
    return torch.cat(found)


def searched(posing: Posing, points: Tensor) -> tuple[Tensor, Tensor]:
    """Whether roots are kept, bool [N, P, 11], and canonical places, padded with 0 [N, P, 11, 3]."""
    roots = points.new_zeros(*points.shape[:2], len(STARTS), 3)
    is_valid = torch.zeros(roots.shape[:3], dtype=torch.bool)
    for sample, one in enumerate(points):
        mask = near(one, posing.vertices[sample, ::EVERY])
        found, valid = _broyden(posing, sample, one[mask])
        roots[sample, mask], is_valid[sample, mask] = found, valid & _is_last(found, valid)
    return is_valid, roots


def _broyden(posing: Posing, sample: int, points: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of points [K, 3] of a pose [K, 11, 3], and whether they are: all starts take all steps."""
    box, field = posing.template.box, posing.field[sample : sample + 1].contiguous()

    def motion(places: Tensor) -> Tensor:
        grid = box.normalise(places)[None, None, None]
        return functional.grid_sample(field, grid, align_corners=True)[0, :, 0, 0].T.unflatten(1, (3, 4))

    def gap(matrix: Tensor, places: Tensor) -> Tensor:
        return (matrix[..., :3] @ places[..., None])[..., 0] + matrix[..., 3] - target

    bones = posing.transforms[sample, list(STARTS), :3]
    target = points.repeat_interleave(len(STARTS), 0)
    away = points[:, None] - bones[:, :, 3]
    x = torch.einsum("bij,kbi->kbj", bones[..., :3], away).flatten(0, 1)
    matrix = motion(x)
    inverse, g = matrix[..., :3].mT.clone(), gap(matrix, x)
    roots, is_valid = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.bool)
    is_on = torch.ones_like(is_valid)
    for _ in range(STEPS):
        u = -(inverse @ g[..., None])[..., 0]
        x = x + u
        new = gap(motion(x), x)
        error = new.square().sum(-1)
        is_close = is_on & (error < CLOSE**2)
        roots = torch.where(is_close[:, None], x, roots)
        is_valid = torch.where(is_close, (box.normalise(x).abs() <= 1).all(-1), is_valid)
        is_on = is_on & ~is_close & (error <= LOST)
        change, g = new - g, new
        c = (inverse.mT @ u[..., None])[..., 0]
        r = -(inverse @ change[..., None])[..., 0]
        s = (c * change).sum(-1, keepdim=True)
        inverse = inverse + (r + u)[..., None] * (c / s)[..., None, :]
    roots = roots * is_valid[:, None]
    return roots.unflatten(0, (-1, len(STARTS))), is_valid.unflatten(0, (-1, len(STARTS)))


def _is_last(roots: Tensor, is_valid: Tensor) -> Tensor:
    """Whether no later valid root is the same, bool [K, 11]."""
    square = (roots[:, :, None] - roots[:, None]).square().sum(-1)  # [K, 11, 11]
    is_later = torch.ones(square.shape[1:], dtype=torch.bool).triu(1)
    return ~((square < SAME**2) & is_later & is_valid[:, None]).any(-1)


def looked_up(planes: Tensor, places: Tensor, is_plain: bool) -> Tensor:
    """Means over planes [K, 32] of [3, 32, R, R] at scaled places [K, 3].

    Args:
        is_plain: In operations that can be derived twice.
    """
    pairs = torch.stack([places[:, axes] for axes in AXES])  # [3, K, 2]
    if not is_plain:
        found = functional.grid_sample(planes, pairs[:, None], align_corners=False)
        return found[:, :, 0].mean(0).T
    size, flat = planes.shape[-1], planes.flatten(2)
    pixels = ((pairs + 1) * size - 1) / 2
    low, made = pixels.detach().floor(), planes.new_zeros(())
    for right in (0, 1):
        for below in (0, 1):
            cell = low + low.new_tensor([right, below])
            weight = (1 - (pixels - cell).abs()).prod(-1)
            inside = ((cell >= 0) & (cell < size)).all(-1)
            x, y = cell.clamp(0, size - 1).long().unbind(-1)
            texels = flat.gather(2, (y * size + x)[:, None].expand(-1, FEATURES, -1))
            made = made + texels * (weight * inside)[:, None]
    return made.mean(0).T


def template_at(template: Template, places: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances [K] and slopes [K, 3] at canonical places [K, 3], by a graph."""
    with torch.enable_grad():
        given = places.detach().requires_grad_()
        grid = template.normalise(given)[None, None, None]
        sdf = functional.grid_sample(template.sdf, grid, padding_mode="border", align_corners=True).flatten()
        (slope,) = torch.autograd.grad(sdf.sum(), given)
    return sdf.detach(), slope


@dataclass(frozen=True)
class Asked:
    """What all points are.

    Signed `value` [N, P], `colours` [N, P, 32], canonical `slope` as losses see it and `normal` [N, P, 3].
    """

    value: Tensor
    colours: Tensor
    slope: Tensor
    normal: Tensor


class DenseField:
    """As `Field`: every point is asked, for all that there is."""

    def __init__(
        self, generator: Generator, planes: Tensor, space: Posing | Template, box_warp: float
    ) -> None:
        self.decoder, self.planes, self.space, self.box_warp = generator.decoder, planes, space, box_warp
        self.template = space if isinstance(space, Template) else space.template

    def values(self, points: Tensor) -> Tensor:
        """Signed values [N, P]."""
        return self.ask(points).value

    def ask(self, points: Tensor, wants_normals: bool = True) -> Asked:
        """All about points [N, P, 3]."""
        if isinstance(self.space, Template):
            value, colours, slope, steep = self._decoded(list(points), wants_normals)
            parts = (one.unflatten(0, points.shape[:2]) for one in (value, colours, slope + steep))
            value, colours, slope = parts
            return Asked(value, colours, slope, _unit(slope))
        is_valid, roots = searched(self.space, points)
        given = [one[rows] for one, rows in zip(roots, is_valid, strict=True)]
        value, colours, slope, steep = self._decoded(given, wants_normals)
        normal = torch.cat(
            [
                self._turned(one, sample, vectors)
                for sample, (one, vectors) in enumerate(
                    zip(given, (slope + steep).split([len(one) for one in given]), strict=True)
                )
            ]
        )

        def padded(found: Tensor, empty: float = 0.0) -> Tensor:
            made = found.new_full((*is_valid.shape, *found.shape[1:]), empty)
            return made.masked_scatter(_like(is_valid, made), found)

        best, start = padded(value, EMPTY).max(-1)
        chosen = [
            one.gather(2, _like(start[..., None], one)).squeeze(2)
            for one in map(padded, (colours, slope, normal))
        ]
        return Asked(best, chosen[0], chosen[1], _unit(chosen[2]))

    def _decoded(self, given: list[Tensor], wants_slopes: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Value, colours, slopes of the decoder and of the template, at each person's places [K, 3]."""
        is_learning = torch.is_grad_enabled()
        found = []
        for sample, places in enumerate(given):
            planes = self.planes[sample if len(self.planes) > 1 else 0]
            sdf, steep = template_at(self.template, places)
            with torch.set_grad_enabled(wants_slopes):
                scaled = (places * (2 / self.box_warp)).detach().requires_grad_(wants_slopes)
                made = self.decoder.net(looked_up(planes, scaled, is_learning))
                slope = torch.zeros_like(scaled)
                if wants_slopes:
                    (slope,) = torch.autograd.grad(made[:, 0].sum(), scaled, create_graph=True)
                colours = torch.sigmoid(made[:, 1:]) * 1.002 - 0.001
            numbers = (made[:, 0] + sdf, colours, slope, steep)
            found.append(numbers if is_learning else tuple(one.detach() for one in numbers))
        value, colours, slope, steep = (torch.cat(parts) for parts in zip(*found, strict=True))
        return value, colours, slope, steep

    def _turned(self, places: Tensor, sample: int, vectors: Tensor) -> Tensor:
        """Vectors [K, 3] as skinning turns them at canonical places [K, 3]."""
        assert isinstance(self.space, Posing)
        grid = self.template.normalise(places)[None, None, None]
        weights = functional.grid_sample(
            self.template.weights[None], grid, padding_mode="border", align_corners=True
        )[0, :, 0, 0].T
        matrices = torch.einsum("kj,jab->kab", weights, self.space.transforms[sample])
        return (matrices[:, :3, :3] @ vectors[..., None])[..., 0]


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors * vectors.new_tensor([-1.0, 1.0, 1.0]), dim=-1)


def _like(index: Tensor, values: Tensor) -> Tensor:
    """An index or mask for the last axes of values too."""
    more = values.dim() - index.dim()
    return index.view(*index.shape, *[1] * more).expand(*index.shape, *values.shape[index.dim() :])


@dataclass(frozen=True)
class DenseSamples:
    """What losses see of all samples."""

    grad_cano: Tensor

    @property
    def eikonal(self) -> Tensor:
        """As ours."""
        return (self.grad_cano.norm(dim=-1) - 1).square().mean()


def marched(march: March, values: Tensor) -> Tensor:
    """Values [R, S, C] as rays see them before white [R, C]."""
    middle = (values[:, 1:] + values[:, :-1]) / 2
    return (march.weights[..., None] * middle).sum(-2) + 1 - march.weights.sum(-1, keepdim=True)


def rendered(
    generator: Generator,
    field: DenseField,
    rays: tuple[Tensor, Tensor],
    draws: Draws,
    rendering: Rendering,
    wants_normals: bool = True,
) -> tuple[Tensor, Tensor, Tensor, DenseSamples]:
    """Features [N, R, 32], normals [N, R, 3], depth [N, R] of rays [N, R, 3], and all samples."""
    origins, directions = rays
    count = origins.shape[:2]

    def along(depths: Tensor) -> Asked:
        return field.ask(
            (origins[:, :, None] + directions[:, :, None] * depths[..., None]).flatten(1, 2), wants_normals
        )

    def rows(values: Tensor, samples: int) -> Tensor:
        return values.unflatten(1, (-1, samples)).flatten(0, 1)

    density = generator.renderer.density
    depths = coarse_depths(origins, draws.coarse, rendering.ray_start, rendering.ray_end)
    first, steps = along(depths), depths.shape[-1]
    march = March.along(depths.flatten(0, 1), density(rows(first.value, steps)))
    marched(march, rows(first.colours, steps))
    marched(march, rows(first.normal, steps))
    fine = importance(march.depths, march.weights.detach(), draws.fine.flatten(0, 1))
    second = along(fine.unflatten(0, count))
    every, order = torch.cat([depths.flatten(0, 1), fine], dim=-1).sort(-1)

    def ordered(name: str) -> Tensor:
        parts = [rows(getattr(one, name), size) for one, size in ((first, steps), (second, fine.shape[-1]))]
        both = torch.cat(parts, dim=1)
        return both.gather(1, _like(order, both))

    march = March.along(every, density(ordered("value")))
    features, normals = marched(march, ordered("colours")) * 2 - 1, marched(march, ordered("normal"))
    depth = march.depth.clamp(depths.min(), depths.max())
    samples = DenseSamples(torch.cat([first.slope, second.slope], dim=1))
    return features.unflatten(0, count), normals.unflatten(0, count), depth.unflatten(0, count), samples


class Published(Generator):
    """A generator that works as published; it is made from one of ours, whose parameters it has."""

    @classmethod
    def of(cls, generator: Generator) -> Published:
        """The same person maker."""
        made = deepcopy(generator)
        made.__class__ = cls
        assert isinstance(made, Published)
        return made

    def planes(self, ws: Tensor, noise_mode: NoiseMode = "const", noise: Noise | None = None) -> Tensor:
        """As ours."""
        with published_layers():
            return super().planes(ws, noise_mode, noise)

    def field(self, planes: Tensor, space: Posing | Template, box_warp: float) -> Any:
        """As ours."""
        return DenseField(self, planes, space, box_warp)

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        labels: Tensor,
        space: Posing | Template,
        rendering: Rendering,
        *,
        rays: int | None = None,
        noise: Noise | None = None,
        wants_normals: bool | None = None,
        keeps_samples: bool | None = None,
    ) -> Pictures:
        """As ours."""
        side = rays or self.sizes.rays
        field = self.field(planes, space, rendering.box_warp)
        draws = Draws.of(noise, (len(labels), side * side), rendering, labels)
        is_asked = rendering.is_normal if wants_normals is None else wants_normals
        found = rendered(self, field, rays_of(labels, side), draws, rendering, is_asked)
        features, normals, depth = (
            one.mT.unflatten(-1, (side, side)) for one in (*found[:2], found[2][..., None])
        )
        with published_layers():
            image = self.superresolution(features[:, :3], features, ws, antialias=rendering.sr_antialias)
        samples: Any = found[3]
        return Pictures(image, features[:, :3], normals if is_asked else None, depth, samples)


def photo(archive: zipfile.ZipFile, name: str) -> tuple[np.ndarray, np.ndarray]:
    """An RGB photo and its normals from a zip, uint8 and float64 [3, H, W], 0 to 255 (spec 2.3)."""
    image, coded = (
        np.asarray(Image.open(io.BytesIO(archive.read(one)))) for one in (name, name.replace("img", "normal"))
    )
    is_white = (coded == 255).all(-1)
    normals = coded / 255 * 2 - 1
    normals = normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-8)
    normals = (normals + 1) * 127.5
    normals[is_white] = 255
    return image.transpose(2, 0, 1).copy(), normals.transpose(2, 0, 1).copy()
