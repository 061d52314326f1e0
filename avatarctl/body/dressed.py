"""Made-up dressed people: the open body in shirt, trousers, shoes and hair, as offsets and colours.

Clothes are functions of places on the mean body in T-pose (y up, z ahead, metres), so that they are as sharp
as the pictures: the surface moves along its normals, and every pixel has its own place to ask for a colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.device import Noise
from avatarctl.geometry.meshes import vertex_normals

Colour = tuple[float, float, float]
Pattern = Literal["plain", "stripes", "block"]
Kind = TypeVar("Kind")
SHAPE = 0.6
"""Deviation of a person's shape coefficients."""
NUM_BETAS = 10
SLEEVE, HEM, ANKLE, SOLE = 0.36, -0.34, -1.13, -1.205
"""Ends of usual sleeves (along the arm) and of the shirt, tops of the shoes and of their soles."""
EDGE = 0.006
"""Over this length a garment ends."""
EYE, MOUTH, BROW = (0.0285, 0.3695), 0.304, 0.394
"""Places of the open body's face: x and y of the left eye, heights of the mouth and of the brows."""
EMBLEM = (0.0, 0.055, 0.062)
"""Of chest and back: x, y, radius."""


@dataclass(frozen=True)
class Outfit:
    """Colours, 0 to 1, and lengths, metres on the mean body at rest."""

    skin: Colour
    hair: Colour
    shirt: tuple[Colour, Colour]
    """Of the pattern, and of what is between."""
    emblem: tuple[Colour, Colour] | None
    trousers: Colour
    shoes: Colour
    pattern: Pattern = "stripes"
    stripe: float = 0.085
    """Period of the stripes."""
    sleeve: float = SLEEVE
    hem: float = HEM
    leg: float = ANKLE
    """Where trousers end."""
    hair_end: float = 0.275
    """How far down hair hangs behind."""

    @staticmethod
    def drawn(noise: Noise) -> Outfit:
        """A random one, in few bold colours."""

        def one(kinds: Sequence[Kind]) -> Kind:
            return kinds[int(noise.integers(0, len(kinds), ()))]

        first, second, third, fourth = (CLOTHS[number] for number in noise.permutation(len(CLOTHS))[:4])
        return Outfit(
            skin=one(SKINS),
            hair=one(HAIRS),
            shirt=(first, second),
            emblem=(third, second) if one((True, False)) else None,
            trousers=fourth,
            shoes=one(SHOES),
            pattern=one(PATTERNS),
            stripe=BROAD,
            sleeve=one(SLEEVES),
            hem=one(HEMS),
            leg=one(LEGS),
            hair_end=one(HAIR_ENDS),
        )


OUTFITS = (
    Outfit(
        (0.84, 0.64, 0.52), (0.46, 0.20, 0.08), ((0.05, 0.50, 0.55), (0.95, 0.90, 0.80)),
        ((0.98, 0.78, 0.10), (0.75, 0.10, 0.12)), (0.22, 0.34, 0.66), (0.85, 0.16, 0.12),
    ),
    Outfit(
        (0.50, 0.33, 0.24), (0.20, 0.13, 0.10), ((0.86, 0.36, 0.10), (0.98, 0.86, 0.62)),
        ((0.20, 0.70, 0.45), (0.98, 0.98, 0.95)), (0.46, 0.42, 0.34), (0.15, 0.62, 0.40),
    ),
    Outfit(
        (0.90, 0.74, 0.64), (0.75, 0.58, 0.30), ((0.55, 0.16, 0.52), (0.86, 0.86, 0.92)),
        ((0.10, 0.75, 0.85), (0.98, 0.95, 0.40)), (0.25, 0.50, 0.36), (0.20, 0.30, 0.85),
    ),
)  # fmt: skip
SKINS: tuple[Colour, ...] = (
    (0.92, 0.76, 0.66), (0.84, 0.64, 0.52), (0.70, 0.50, 0.38), (0.50, 0.33, 0.24), (0.36, 0.24, 0.18),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.10, 0.08, 0.08), (0.28, 0.16, 0.09), (0.46, 0.20, 0.08), (0.80, 0.62, 0.32), (0.55, 0.55, 0.56),
)  # fmt: skip
CLOTHS: tuple[Colour, ...] = (
    (0.82, 0.12, 0.14), (0.14, 0.30, 0.72), (0.10, 0.52, 0.30), (0.96, 0.76, 0.14), (0.90, 0.45, 0.10),
    (0.48, 0.18, 0.55), (0.08, 0.58, 0.62), (0.13, 0.14, 0.18), (0.85, 0.40, 0.58), (0.52, 0.50, 0.48),
)  # fmt: skip
SHOES: tuple[Colour, ...] = ((0.12, 0.12, 0.14), (0.85, 0.16, 0.12), (0.20, 0.30, 0.80), (0.45, 0.30, 0.20))
PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "block")
SLEEVES, LEGS = (0.27, SLEEVE, 0.62), (-0.66, -0.90, ANKLE)
HAIR_ENDS, HEMS, BROAD = (0.275, 0.10), (-0.26, HEM), 0.17
"""What random outfits have; the last is the period of their stripes."""


@dataclass(frozen=True)
class Fabric:
    """The body's surface, finer: vertices `mixing` [W, V] (sparse) times the body's, `faces` [G, 3].

    `places` and `normals` [W, 3] are those on the mean body at rest.
    """

    mixing: Tensor
    faces: Tensor
    places: Tensor
    normals: Tensor

    @staticmethod
    def of(body: BodyModel) -> Fabric:
        """That of a body, by one step of Loop's subdivision."""
        import igl

        loop, faces = igl.loop_matrix(body.faces.numpy().astype(np.int64))
        loop = loop.tocoo()
        indices = torch.from_numpy(np.stack([loop.row, loop.col]).astype(np.int64))
        mixing = torch.sparse_coo_tensor(
            indices, torch.from_numpy(loop.data), loop.shape, check_invariants=True
        )
        places = (mixing @ body.template.double()).float()
        fine = torch.from_numpy(faces.astype(np.int64))
        return Fabric(mixing, fine, places, vertex_normals(places, fine))


@dataclass(frozen=True)
class Person:
    """Who is seen: a body of one shape `betas` [10], dressed.

    `offsets` [W] lead from the skin to the clothes at the fabric's vertices, metres.
    """

    body: BodyModel
    betas: Tensor
    outfit: Outfit
    fabric: Fabric
    offsets: Tensor

    @staticmethod
    def made(body: BodyModel, number: int) -> Person:
        """The person of a number; each has a shape and colours of its own."""
        betas = (SHAPE * Noise.seeded(number, "made-up person").normal((NUM_BETAS,))).clamp(-2, 2)
        return Person.of(body, betas, OUTFITS[number % len(OUTFITS)], Fabric.of(body))

    @staticmethod
    def of(body: BodyModel, betas: Tensor, outfit: Outfit, fabric: Fabric) -> Person:
        """A body of a shape in an outfit."""
        return Person(body, betas, outfit, fabric, thickness(fabric.places, fabric.normals, outfit))

    @property
    def places(self) -> Tensor:
        """Of the surface's vertices on the mean body at rest [W, 3]."""
        return self.fabric.places

    @property
    def faces(self) -> Tensor:
        """Of the surface [G, 3]."""
        return self.fabric.faces

    def dressed(self, vertices: Tensor) -> Tensor:
        """The surface that is seen [W, 3].

        Args:
            vertices: Of the posed body, metres, float64 [V, 3].
        """
        skin = self.fabric.mixing @ vertices
        return skin + self.offsets[:, None] * vertex_normals(skin, self.faces)

    def colours(self, places: Tensor) -> Tensor:
        """Colours of the surface without light, 0 to 1 [N, 3].

        Args:
            places: On the mean body at rest [N, 3].
        """
        garments = worn(places, self.outfit)
        painted = skin_colours(places, self.outfit)
        for cover, paint in (
            (garments.trousers, trousers_colours),
            (garments.shirt, shirt_colours),
            (garments.shoes, shoe_colours),
            (garments.hair, hair_colours),
        ):
            painted = torch.lerp(painted, paint(places, self.outfit), cover[:, None])
        return painted.clamp(0, 1)


@dataclass(frozen=True)
class Worn:
    """How far each garment covers places, 0 to 1 [N] each."""

    shirt: Tensor
    trousers: Tensor
    shoes: Tensor
    hair: Tensor


def worn(places: Tensor, outfit: Outfit) -> Worn:
    """What covers places on the mean body at rest [N, 3]."""
    x, y, z = places.unbind(-1)
    aside = x.abs()
    front = ramp(z, 0.03, 0.09) * (1 - ramp(aside, 0.06, 0.12))
    shirt = _below(aside, outfit.sleeve) * _below(-y, -outfit.hem) * _below(y, 0.252 - 0.062 * front)
    trousers = _below(y, outfit.hem + 0.06) * _below(-y, -outfit.leg)
    hairline = EYE[1] + 0.052 - 0.022 * ramp(aside, 0.03, 0.07)
    cap = _below(-y, -hairline)
    behind = _below(z, 0.088 + 0.012 * ramp(y, 0.36, 0.40)) * _below(-y, -0.275)
    head = torch.maximum(cap, behind) * _below(aside, 0.3)
    mane = _below(z, 0.03) * _below(aside, 0.12) * _below(-y, -outfit.hair_end)
    return Worn(shirt, trousers, _below(y, ANKLE), torch.maximum(head, mane))


def thickness(places: Tensor, normals: Tensor, outfit: Outfit) -> Tensor:
    """How far clothes and hair stand off the skin, metres [N].

    Args:
        places, normals: On the mean body at rest [N, 3].
    """
    x, y, z = places.unbind(-1)
    aside, garments = x.abs(), worn(places, outfit)
    sleeve = ramp(aside, 0.20, outfit.sleeve)
    shirt = 0.010 + 0.010 * ramp(-y, 0.05, -outfit.hem) * (1 - sleeve) + 0.011 * sleeve + folds(places)
    trousers = 0.009 + 0.012 * ramp(-y, 0.70, 1.08) + folds(places)
    # Between the legs and in the armpits two sides face each other.
    inward = (-normals[:, 0] * x.sign()).clamp(min=0)
    shy = 1 - 0.8 * inward * ramp(-y, 0.25, 0.36) * (1 - ramp(-y, 0.55, 0.9))
    armpit = 1 - 0.7 * torch.exp(-(((aside - 0.18) / 0.05) ** 2) - ((y - 0.06) / 0.06) ** 2)
    strands = 0.003 * torch.sin(260 * x + 8 * torch.sin(30 * y)) * ramp(y, 0.3, 0.45)
    hair = 0.020 + 0.010 * ramp(0.08 - z, 0.0, 0.06) + strands
    cloth = torch.maximum(shirt * garments.shirt, trousers * garments.trousers) * shy * armpit
    return torch.maximum(
        torch.maximum(cloth, hair * garments.hair), (0.008 + 0.006 * ramp(z, 0.08, 0.15)) * garments.shoes
    )


def folds(places: Tensor) -> Tensor:
    """Height of the folds of shirt and trousers, metres [N]."""
    x, y, z = places.unbind(-1)
    aside = x.abs()
    around = torch.atan2(z - 0.04, x)
    is_arm, is_leg = ramp(aside, 0.17, 0.22) * ramp(y, -0.1, 0.0), ramp(-y, 0.36, 0.45)
    body = torch.sin(48 * y + 22 * aside + 2.2 * torch.sin(3 * around)) * torch.sin(5 * around + 9 * y)
    arm = torch.sin(75 * aside + 40 * z + 2 * torch.sin(60 * y))
    leg = torch.sin(52 * y + 30 * z + 2 * torch.sin(35 * x))
    gathered = 0.35 + 0.65 * torch.maximum(ramp(-y, 0.85, 1.1), torch.exp(-(((y + 0.74) / 0.09) ** 2)))
    mixed = body * (1 - is_arm) * (1 - is_leg) + arm * is_arm + gathered * leg * is_leg
    return 0.0045 * mixed


def skin_colours(places: Tensor, outfit: Outfit) -> Tensor:
    """Skin, with a face [N, 3]."""
    x, y, z = places.unbind(-1)
    aside, is_face = x.abs(), ramp(z, 0.12, 0.135) * ramp(y, 0.24, 0.26)
    colours = _colour(outfit.skin, places).clone()

    def paint(colour: Colour, cover: Tensor) -> None:
        torch.lerp(colours, _colour(colour, places), (cover * is_face)[:, None], out=colours)

    def oval(right: float, up: float, width: float, height: float, edge: float = 0.15) -> Tensor:
        far = (((aside - right) / width) ** 2 + ((y - up) / height) ** 2).sqrt()
        return 1 - ramp(far, 1 - edge, 1 + edge)

    blush = (min(1.0, outfit.skin[0] * 1.1), outfit.skin[1] * 0.78, outfit.skin[2] * 0.78)
    paint(blush, oval(0.043, 0.335, 0.022, 0.018, 0.6))
    paint((0.72, 0.22, 0.24), oval(0.0, MOUTH, 0.026, 0.0085))
    paint((0.98, 0.98, 0.97), oval(*EYE, 0.0165, 0.0095))
    paint((0.12, 0.25, 0.32), oval(*EYE, 0.0080, 0.0090))
    paint(outfit.hair, oval(EYE[0] + 0.001, BROW, 0.019, 0.0045))
    return colours


def shirt_colours(places: Tensor, outfit: Outfit) -> Tensor:
    """A pattern around trunk and sleeves, an emblem on the chest and another on the back [N, 3]."""
    x, y, z = places.unbind(-1)
    aside, along = x.abs(), torch.where(x.abs() > 0.19, x.abs(), -y + 0.02)
    share = torch.ones_like(x)
    if outfit.pattern == "stripes":
        share = ramp(torch.sin(2 * math.pi * along / outfit.stripe), -0.06, 0.06)
    elif outfit.pattern == "block":
        share = ramp(along, 0.04, 0.05) * _below(aside, 0.19)
    colours = torch.lerp(_colour(outfit.shirt[1], places), _colour(outfit.shirt[0], places), share[:, None])
    sleeve, hem = outfit.sleeve, outfit.hem
    trim = torch.maximum(ramp(aside, sleeve - 0.022, sleeve - 0.018), ramp(-y, -hem - 0.022, -hem - 0.018))
    collar = ramp(y, 0.222 - 0.060 * ramp(z, 0.03, 0.09), 0.228 - 0.060 * ramp(z, 0.03, 0.09)) * (
        aside < 0.12
    )
    colours = torch.lerp(
        colours, _colour(outfit.shirt[0], places) * 0.7, torch.maximum(trim, collar)[:, None]
    )
    if outfit.emblem is None:
        return colours * _worn_out(places)
    right, up, radius = EMBLEM
    dx, dy = x - right, y - up
    far, angle = (dx**2 + dy**2).sqrt(), torch.atan2(dx, dy)
    disc = (1 - ramp(far, radius - 0.002, radius + 0.002))[:, None]
    star = 1 - ramp(far - radius * (0.55 + 0.28 * torch.cos(5 * angle)), -0.002, 0.002)
    bars = ((dx.abs() < 0.034) & ((dy - 0.032).abs() < 0.010)) | (
        ((dx + 0.4 * (dy - 0.032) + 0.024).abs() < 0.011) & (dy.abs() < 0.042)
    )
    mark = torch.where(z > 0.07, star, bars.to(star.dtype))[:, None]
    colours = torch.lerp(colours, _colour(outfit.emblem[0], places), disc)
    return torch.lerp(colours, _colour(outfit.emblem[1], places), disc * mark) * _worn_out(places)


def trousers_colours(places: Tensor, outfit: Outfit) -> Tensor:
    """Plain cloth with a light stripe down the sides, a patch on the left knee, and back pockets [N, 3]."""
    x, y, z = places.unbind(-1)
    colours = _colour(outfit.trousers, places) * (1 + 0.06 * torch.sin(9 * y + 5 * x))[:, None]
    middle = 0.075 + 0.085 * (y + 0.36) / 0.75
    side = (1 - ramp((z - middle.clamp(-0.015, 0.08)).abs(), 0.013, 0.017)) * ramp(x.abs(), 0.115, 0.12)
    colours = torch.lerp(colours, _colour((0.93, 0.93, 0.90), places), side[:, None])
    if outfit.emblem is not None:
        patch = ((x - 0.118).abs() < 0.042) & ((y + 0.71).abs() < 0.05) & (z > 0.04)
        colours = torch.lerp(colours, _colour(outfit.emblem[0], places), patch.to(x.dtype)[:, None])
    pocket = ((x.abs() - 0.085).abs() < 0.038) & ((y + 0.40).abs() < 0.045) & (z < 0.03)
    colours = colours * torch.where(pocket, 0.72, 1.0)[:, None]
    cuff = ramp(-y, -outfit.leg - 0.035, -outfit.leg - 0.030)[:, None]
    return torch.lerp(colours, colours * 0.7, cuff) * _worn_out(places)


def shoe_colours(places: Tensor, outfit: Outfit) -> Tensor:
    """Shoes with white soles, caps and laces [N, 3]."""
    x, y, z = places.unbind(-1)
    colours = _colour(outfit.shoes, places)
    laces = ((x.abs() - 0.118 - 0.18 * z.clamp(min=0)).abs() < 0.018) & (
        torch.sin(2 * math.pi * z / 0.03) > 0
    )
    laces &= (z > 0.0) & (z < 0.09) & (y > -1.19)
    white = torch.maximum(ramp(-y, -SOLE - 0.002, -SOLE + 0.002), laces.to(x.dtype))
    white = torch.maximum(white, ramp(z, 0.148, 0.152))
    return torch.lerp(colours, _colour((0.95, 0.95, 0.93), places), white[:, None])


def hair_colours(places: Tensor, outfit: Outfit) -> Tensor:
    """Strands of a little lighter and darker hair [N, 3]."""
    x, y, z = places.unbind(-1)
    strands = torch.sin(260 * x + 8 * torch.sin(30 * y)) + 0.6 * torch.sin(140 * z + 90 * x)
    return _colour(outfit.hair, places) * (1 + 0.16 * strands)[:, None]


def ramp(values: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 up to `low`, 1 from `high` on, smooth between."""
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _below(values: Tensor, limit: float | Tensor) -> Tensor:
    """1 where values are less than a limit, with a soft edge."""
    return 1 - ramp(values, limit - EDGE, limit + EDGE)


def _worn_out(places: Tensor) -> Tensor:
    """Valleys of folds are darker [N, 1]."""
    return (0.93 + 22 * folds(places)).clamp(0.8, 1.05)[:, None]


def _colour(colour: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(list(colour)).expand(len(like), 3)
