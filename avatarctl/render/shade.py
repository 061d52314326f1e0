"""Light and shadow: a soft key light, a bright sky over dark ground, a little rim, blurred shadows.

Every vertex is lit and pixels interpolate: at the resolution of a body model that cannot be told from
lighting every pixel. Shadows come from the rasteriser itself, by way of a far camera in the place of each
light. Colours are lit as their squares, which is close to linear light, and come out under a square root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.geometry.cameras import Camera, look_at
from avatarctl.render.rasterize import rasterize

KEY, SKY, GROUND, RIM, GLOSS = 0.92, 0.66, 0.32, 0.30, 0.05
"""Strengths of the key light, the ambient light from above and from below, the rim and the highlight."""
KEY_ANGLE, KEY_HEIGHT = math.radians(40), math.radians(48)
"""The key light: to the left of the camera, and above the horizon."""
MAP, FAR, ROOM = 192, 30.0, 0.3
"""Shadow maps: pixels a side, distance of their cameras in radii of the scene, room around bodies, metres."""
TAPS = 4
"""Looks into a shadow map along each side of the square that a point of a body looks at."""
BIAS = 0.02
"""How far a point is lifted off its surface to look for the light, and what it overlooks then, metres."""
BLURS = ((0.10, 0.012), (0.45, 0.035), (math.inf, 0.10))
"""Shadows on the floor: for casters up to this distance, the deviation of the blur, metres."""


def lights(direction: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors to the key light and to the middle of the sky [3].

    Args:
        direction: From what is looked at to the camera [3].
    """
    angle = math.atan2(float(direction[1]), float(direction[0])) - KEY_ANGLE
    level = math.cos(KEY_HEIGHT)
    key = torch.tensor([level * math.cos(angle), level * math.sin(angle), math.sin(KEY_HEIGHT)])
    return key.to(direction.device), torch.tensor([0.0, 0.0, 1.0], device=direction.device)


@dataclass(frozen=True)
class Shadow:
    """What one light sees: its camera and the depth of its map [MAP, MAP], infinite where nothing is.

    Or what the floor sees, from below: the parts of a body that come closest to the floor, not to the light.
    """

    camera: Camera
    depth: Tensor
    light: Tensor
    texel: float
    reach: tuple[float, float, float, float]  # least and greatest x, then y, of its fall on the floor

    @staticmethod
    def cast(
        vertices: Tensor, faces: Tensor, light: Tensor, backend: str, *, is_below: bool = False
    ) -> Shadow:
        """The shadow of a mesh.

        Args:
            vertices: Metres [V, 3].
            light: Unit vector towards the light [3].
            is_below: Look from the floor towards the light.
        """
        middle = (vertices.amin(0) + vertices.amax(0)) / 2
        radius = math.ceil(8 * (1.15 * float((vertices - middle).norm(dim=-1).max()) + ROOM)) / 8
        up = torch.tensor([0.0, 1.0, 0.0], device=light.device)
        focal, side = MAP / 2 * FAR, -FAR * radius if is_below else FAR * radius
        intrinsics = light.new_tensor([[focal, 0, MAP / 2], [0, focal, MAP / 2], [0, 0, 1]])
        camera = Camera(intrinsics, *look_at(middle + side * light, middle, up))
        fallen = vertices[:, :2] - vertices[:, 2:] * light[:2] / light[2]
        (left, front), (right, back) = (fallen.amin(0) - ROOM).tolist(), (fallen.amax(0) + ROOM).tolist()
        depth = rasterize(vertices, faces, camera, (MAP, MAP), backend, is_closed=True).depth
        return Shadow(camera, depth, light, 2 * radius / MAP, (left, right, front, back))

    def open(self, vertices: Tensor, normals: Tensor, reach: int) -> Tensor:
        """The share of the light that reaches points of the mesh [V], as the mean over a square of the map.

        Args:
            reach: Half the side of the square, texels.
        """
        bias = max(BIAS, 1.5 * self.texel)
        pixels, depth = self.camera.project(vertices + bias * normals)
        corner = pixels.long()
        start, depth = corner[:, 1] * MAP + corner[:, 0], depth - bias
        steps = torch.linspace(-reach, reach, TAPS).round().long().tolist()
        flat, total = self.depth.flatten(), torch.zeros_like(depth)
        for step in (row * MAP + column for row in steps for column in steps):
            total += flat.index_select(0, start + step) > depth
        return total / TAPS**2

    def floor(self) -> Tensor:
        """How much of the light is kept from the floor [MAP, MAP]; what is near the floor casts sharply."""
        rays = self.camera.rays((MAP, MAP))
        eye = self.camera.centre[2]
        above = (eye / -rays[..., 2] - self.depth) * eye.sign()  # from the floor to the caster, metres
        above = torch.where(self.depth.isfinite(), above, -torch.inf)
        total, lower = torch.zeros_like(self.depth), 0.0
        for upper, deviation in BLURS:
            band = ((above > (lower or -BIAS)) & (above <= upper)).to(self.depth.dtype)
            blur = _blur(deviation / self.texel).to(band.device)
            total += blur @ band @ blur
            lower = upper
        return total.clamp(max=1)

    def on(self, points: Tensor) -> Tensor:
        """Shadow at points of the floor [P]."""
        pixels, _ = self.camera.project(points)
        grid = (pixels / (MAP / 2) - 1)[None, None]
        return functional.grid_sample(self.floor()[None, None], grid, align_corners=False)[0, 0, 0]


@lru_cache(maxsize=256)
def _blur(deviation: float) -> Tensor:
    """The symmetric matrix [MAP, MAP] that blurs along one axis.

    Args:
        deviation: Pixels.
    """
    place = torch.arange(MAP, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / max(deviation, 0.5)) ** 2)
    weights = torch.where(weights > 1e-4, weights, 0.0)
    return weights / weights[MAP // 2].sum()


def lit(
    vertices: Tensor, normals: Tensor, colours: Tensor, camera: Camera, key: Shadow, sky: Shadow
) -> Tensor:
    """Colours of a body's vertices in the light [V, 3].

    Args:
        colours: Of the surface [V, 3].
    """
    to_eye = functional.normalize(camera.centre - vertices, dim=-1)
    facing = (normals * to_eye).sum(-1)
    height = (normals[:, 2] + 1) / 2
    near_floor = 0.6 + 0.4 * (vertices[:, 2] / 0.3).clamp(0, 1)
    above = 0.35 + 0.65 * sky.open(vertices, normals, 6)
    ambient = GROUND * near_floor * (1 - height) + SKY * above * height
    toward = (normals @ key.light).clamp(min=0)
    reached = key.open(vertices, normals, 2)
    half = functional.normalize(to_eye + key.light, dim=-1)
    gloss = GLOSS * reached * (normals * half).sum(-1).clamp(min=0) ** 24
    rim = RIM * (1 - facing.clamp(0, 1)) ** 3 * height
    warm = toward.new_tensor([1.0, 0.96, 0.90])
    cool = toward.new_tensor([0.96, 0.99, 1.04])
    light = (KEY * toward * reached)[:, None] * warm + ambient[:, None] * cool
    return (colours**2 * light + (gloss + 0.5 * rim)[:, None] * cool).clamp(0, 1).sqrt()
