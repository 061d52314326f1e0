"""Random changes that only discriminators see, so that few photos suffice (Karras et al., 2020; spec 5.5).

Every change has a parameter per picture, which is used with probability p and neutral, 0, otherwise. Draws
come in the published order: the parameter, then whether it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatarctl.device import Noise

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass taps of the least asymmetric wavelet with six vanishing moments (Daubechies, 1992)."""
SYM2 = tuple((a + b * math.sqrt(3)) / (4 * math.sqrt(2)) for a, b in ((1, -1), (3, -1), (3, 1), (1, 1)))
"""Those of the one with two."""
ENERGIES = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Expected power of pictures in the bands, lowest first."""
MARGIN = len(SYM6) // 2


def warp_taps() -> Tensor:
    """The low-pass filter of warps [12], sum 1."""
    taps = torch.tensor(SYM6, dtype=torch.float64)
    return (taps / taps.sum()).float()


def bands() -> Tensor:
    """Filters of four octaves, lowest first, that add up to the identity [4, 43].

    With the wavelet's product filter L(z) and its mirror H(z) = L(-z), L + H = 1, the octaves are H(z),
    H(z^2) L(z), H(z^4) L(z^2) L(z), and what is left, L(z^4) L(z^2) L(z).
    """
    taps = torch.tensor(SYM2, dtype=torch.float64)
    low = _convolved(taps, taps.flip(0)) / 2  # [7]
    high = low * torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    rest, found = torch.ones(1, dtype=torch.float64), []
    for spread in (1, 2, 4):
        found.append(_convolved(_spread(high, spread), rest))
        rest = _convolved(_spread(low, spread), rest)
    width = len(rest)
    padded = [F.pad(band, ((width - len(band)) // 2,) * 2) for band in (rest, *found[::-1])]
    return torch.stack(padded).float()


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _spread(taps: Tensor, step: int) -> Tensor:
    """Zeros between the taps."""
    made = taps.new_zeros((len(taps) - 1) * step + 1)
    made[::step] = taps
    return made


@dataclass(frozen=True)
class Augment:
    """The groups of changes that are made; the defaults are those of the published training."""

    geometry: bool = True
    """Flips, turns, shifts and scalings."""
    colour: bool = True
    """Brightness, contrast, inversion, hue and saturation."""
    corruption: bool = False
    """Filtering, noise and a square cut out."""

    def __call__(self, images: Tensor, p: float, noise: Noise) -> Tensor:
        """The changed pictures [N, C, H, W], differentiable once in the pictures.

        Args:
            images: Colours from -1 to 1, C a multiple of 3 [N, C, H, W].
            p: Probability of each change.
            noise: Where parameters are drawn from.
        """
        draws = _Draws(len(images), p, noise)
        if self.geometry:
            images = warp(images, geometry(draws, images.shape[-1], images.shape[-2]))
        if self.colour:
            images = recolour(images, colour(draws))
        return corrupt(images, draws) if self.corruption else images


@dataclass(frozen=True)
class _Draws:
    """Parameters of `count` pictures, 0 where they are not used."""

    count: int
    p: float
    noise: Noise

    def normal(self, *more: int) -> Tensor:
        """[count, *more], the first of `more` under a common decision."""
        return self._used(self.noise.normal((self.count, *more)), self.p)

    def signed(self, *more: int, p: float | None = None) -> Tensor:
        """Uniform from -1 to 1 [count, *more]."""
        return self._used(self.noise.uniform((self.count, *more)) * 2 - 1, self.p if p is None else p)

    def choice(self, n: int, *more: int) -> Tensor:
        """One of 0 to n - 1 [count, *more]."""
        return self._used((self.noise.uniform((self.count, *more)) * n).floor(), self.p)

    def _used(self, values: Tensor, p: float) -> Tensor:
        shape = (self.count, *([1] * (values.ndim - 1)))
        return torch.where(self.noise.uniform(shape) < p, values, 0.0)


def geometry(draws: _Draws, width: int, height: int) -> Tensor:
    """Where a pixel of the result comes from, about the centre, in pixels [N, 3, 3]."""
    size = torch.tensor([width, height])
    turned = 1 - math.sqrt(1 - min(draws.p, 1.0))  # twice: together with probability p

    made = _scaled(1 - 2 * draws.choice(2), torch.ones(draws.count))
    made = made @ _turned(draws.choice(4) * (math.pi / 2))
    made = made @ _moved(-(draws.signed(2) / 8 * size).round())
    scale = torch.exp2(0.2 * draws.normal())
    made = made @ _scaled(1 / scale, 1 / scale)
    made = made @ _turned(draws.signed(p=turned) * math.pi)
    stretch = torch.exp2(0.2 * draws.normal())
    made = made @ _scaled(1 / stretch, stretch)
    made = made @ _turned(draws.signed(p=turned) * math.pi)
    return made @ _moved(-draws.normal(2) / 8 * size)


def warp(images: Tensor, source: Tensor) -> Tensor:
    """Pictures resampled at twice the resolution between low-pass filters [N, C, H, W].

    Args:
        images: [N, C, H, W].
        source: Where a pixel of the result comes from, about the centre, in pixels [N, 3, 3], on the CPU.
    """
    count, channels, height, width = images.shape
    half = torch.tensor([width - 1, height - 1]) / 2
    signs = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    corners = torch.cat([signs * half, torch.ones(4, 1)], dim=1)
    reached = (source @ corners.T)[:, :2].movedim(1, 0).flatten(1)  # [2, N 4]
    beyond = torch.stack([-reached.amin(1), reached.amax(1)]) + MARGIN - half  # before, after
    before, after = beyond.clamp(min=0).minimum(half * 2).ceil().int()
    (left, top), (right, bottom) = before.tolist(), after.tolist()
    padded = F.pad(images, (left, right, top, bottom), mode="reflect")
    source = _moved((before - after).float()[None] / 2) @ source

    taps = warp_taps().to(images)
    larger = _filtered(padded, taps * 2, up=True)  # zeros in between take half of each axis' sum
    source = _both(2.0) @ source @ _both(0.5)
    shift = torch.full((1, 2), 0.5)
    source = _moved(-shift) @ source @ _moved(shift)
    sides = (2 * (height + MARGIN), 2 * (width + MARGIN))
    theta = (
        _scaled(*(torch.tensor([2 / larger.shape[axis]]) for axis in (3, 2)))
        @ source
        @ _scaled(*(torch.tensor([side / 2]) for side in sides[::-1]))
    )
    grid = F.affine_grid(theta[:, :2].to(images), [count, channels, *sides], align_corners=False)
    sampled = F.grid_sample(larger, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _filtered(sampled[:, :, 1:-1, 1:-1], taps, up=False)


def _filtered(x: Tensor, taps: Tensor, *, up: bool) -> Tensor:
    """Rows and columns filtered and doubled, or halved, without padding."""
    channels = x.shape[1]
    for axis, shape in enumerate(((1, 1, -1, 1), (1, 1, 1, -1))):
        weight = taps.view(shape).expand(channels, -1, -1, -1)
        stride = (2, 1) if axis == 0 else (1, 2)
        if up:
            # the full convolution, of which 5 are left out at either end (spec 5.5: pad 6 before, 5 after).
            padding = (5, 0) if axis == 0 else (0, 5)
            x = F.conv_transpose2d(x, weight, stride=stride, padding=padding, groups=channels)
        else:
            x = F.conv2d(x, weight, stride=stride, groups=channels)
    return x


def colour(draws: _Draws) -> Tensor:
    """The change of colours (r, g, b, 1) [N, 4, 4]."""
    eye = torch.eye(4)
    grey = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    axis = torch.outer(grey, grey)

    made = eye.repeat(draws.count, 1, 1)
    made[:, :3, 3] = 0.2 * draws.normal()[:, None]
    contrast = torch.exp2(0.5 * draws.normal())
    made = torch.diag_embed(torch.stack([*[contrast] * 3, torch.ones_like(contrast)], dim=-1)) @ made
    made = (eye - 2 * axis * draws.choice(2, 1, 1)) @ made
    made = _about_grey(draws.signed() * math.pi) @ made
    return (axis + (eye - axis) * torch.exp2(draws.normal(1, 1))) @ made


def recolour(images: Tensor, change: Tensor) -> Tensor:
    """Pictures with the colours of every triplet of channels changed [N, C, H, W] by [N, 4, 4]."""
    change = change.to(images)
    colours = images.unflatten(1, (-1, 3)).flatten(3)  # [N, C / 3, 3, H W]
    made = change[:, None, :3, :3] @ colours + change[:, None, :3, 3:]
    return made.view(images.shape)


def corrupt(images: Tensor, draws: _Draws) -> Tensor:
    """Pictures with octaves amplified, noise, and a square cut out [N, C, H, W]."""
    count, channels, height, width = images.shape
    taps = (_amplified(draws) @ bands()).to(images).repeat_interleave(channels, dim=0)  # [N C, 43]
    reach = taps.shape[1] // 2
    x = F.pad(images, [reach] * 4, mode="reflect").flatten(0, 1)[None]
    x = F.conv2d(x, taps[:, None, None, :], groups=len(taps))
    x = F.conv2d(x, taps[:, None, :, None], groups=len(taps))
    x = x.view(images.shape)

    strength = 0.1 * draws.normal(1, 1, 1).abs()
    x = x + (strength * draws.noise.normal(images.shape)).to(images)

    size = torch.where(draws.noise.uniform((count, 1, 1, 1, 1)) < draws.p, 0.5, 0.0)
    centre = draws.noise.uniform((count, 2, 1, 1, 1))
    across = (torch.arange(width) + 0.5) / width - centre[:, 0]  # [N, 1, 1, W]
    down = ((torch.arange(height) + 0.5) / height)[:, None] - centre[:, 1]  # [N, 1, H, 1]
    kept = (across.abs() >= size[:, 0] / 2) | (down.abs() >= size[:, 0] / 2)
    return x * kept.to(images)


def _amplified(draws: _Draws) -> Tensor:
    """Factors of the octaves that keep the expected power [N, 4]."""
    energies = torch.tensor(ENERGIES)
    factors = torch.ones(draws.count, len(ENERGIES))
    for band in range(len(ENERGIES)):
        one = torch.ones_like(factors)
        one[:, band] = torch.exp2(draws.normal())
        factors = factors * one / (energies * one.square()).sum(1, keepdim=True).sqrt()
    return factors


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """[N, 3, 3] from elements [N]."""
    return torch.stack([torch.stack(list(row), dim=-1) for row in rows], dim=-2)


def _scaled(x: Tensor, y: Tensor) -> Tensor:
    """Scaling by [N] and [N] as [N, 3, 3]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=-1))


def _both(factor: float) -> Tensor:
    """Scaling of both axes [1, 3, 3]."""
    return _scaled(torch.tensor([factor]), torch.tensor([factor]))


def _moved(by: Tensor) -> Tensor:
    """A shift [N, 2] as [N, 3, 3]."""
    made = torch.eye(3).repeat(len(by), 1, 1)
    made[:, :2, 2] = by
    return made


def _turned(angle: Tensor) -> Tensor:
    """A rotation [N] as [N, 3, 3]."""
    zero, one, cos, sin = torch.zeros_like(angle), torch.ones_like(angle), angle.cos(), angle.sin()
    return _matrix([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def _about_grey(angle: Tensor) -> Tensor:
    """A rotation of colours about the grey axis [N] as [N, 4, 4] (Rodrigues' formula)."""
    axis = torch.full((3,), 1 / math.sqrt(3))
    cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3))  # cross @ x = axis x x
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    made = torch.eye(4).repeat(len(angle), 1, 1)
    made[:, :3, :3] = cos * torch.eye(3) + sin * cross + (1 - cos) * torch.outer(axis, axis)
    return made
