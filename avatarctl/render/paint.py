"""The pictures of one panel: the floor, the shadows on it, and the bodies over it, their edges smoothed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.render.pixels import averaged, box
from avatarctl.render.rasterize import rasterize
from avatarctl.render.shade import Shadow, lights, lit

BRIGHT, TINT = (0.928, 0.932, 0.938), (0.70, 0.68, 0.63)
"""Colour of the background, and how much of each channel is left out per unit of darkness on the floor."""
TILES = (0.10, 0.19)
"""Darkness of the two kinds of tiles."""
TILE = 0.5
"""Side of a tile, metres."""
FADE = (1.0, 2.6)
"""The floor melts into the background between these distances from the target, in widths of the view."""
DARK = (0.40, 0.34)
"""Darkness of the shadow from the key light and of the one below the bodies."""


class Floor:
    """The floor as a camera sees it that looks one way, upright, wherever it goes.

    What depends on the way alone is kept for the rows below the horizon [R, W]: where they see the floor and
    how large their pixels are there, for a camera one metre above it.
    """

    def __init__(self, camera: Camera, size: tuple[int, int]) -> None:
        rays = camera.rays(size)
        self.size = size
        self.first = int((rays[:, 0, 2] > -1e-3).sum())
        x, y, z = rays[self.first :].unbind(-1)
        self.x, self.y = x / -z, y / -z
        self.pixel = rays[self.first :].norm(dim=-1) / (z * z * camera.intrinsics[1, 1])

    def picture(self, camera: Camera, target: Tensor, shadows: tuple[Shadow, Shadow]) -> Tensor:
        """The checkered floor with shadows, melting into the background [3, H, W].

        Args:
            target: What the camera looks at [3].
        """
        eye = camera.centre
        picture = eye.new_tensor(BRIGHT)[:, None, None].repeat(1, *self.size)
        if eye[2] < 0.1:  # seen from below there is no floor
            return picture
        x, y = self.x * eye[2] + eye[0], self.y * eye[2] + eye[1]
        darkness = _checker(x / TILE, y / TILE, self.pixel * (eye[2] / TILE))
        darkness = darkness.mul_(TILES[1] - TILES[0]).add_(TILES[0])
        for shadow, strength in zip(shadows, DARK, strict=True):
            left, right, front, back = shadow.reach
            near = ((x > left) & (x < right) & (y > front) & (y < back)).nonzero(as_tuple=True)
            amount = shadow.on(torch.stack([x[near], y[near], torch.zeros_like(x[near])], dim=-1))
            darkness[near] = 1 - (1 - darkness[near]) * (1 - strength * amount)
        span = float((eye - target).norm()) * self.size[1] / float(camera.intrinsics[0, 0])
        first, last = (share * span for share in FADE)
        away = torch.hypot(x - target[0], y - target[1])
        fade = ((last - away) / (last - first)).clamp_(0, 1)
        darkness *= fade * fade * (3 - 2 * fade)
        for channel, tint in zip(picture[:, self.first :], TINT, strict=True):
            channel.sub_(darkness, alpha=tint)
        return picture


@dataclass(frozen=True)
class Painter:
    """Pictures of bodies with the same faces [F, 3] and colours [V, 3], for cameras that look one way.

    `samples` is how many of the bodies are taken along each side of a pixel.
    """

    faces: Tensor
    colours: Tensor
    floor: Floor
    backend: str
    samples: int

    def paint(self, vertices: Tensor, camera: Camera, target: Tensor) -> Tensor:
        """A picture with values 0 to 1 [3, H, W].

        Args:
            vertices: Of all bodies, metres [V, 3].
            target: What the camera looks at [3].
        """
        towards = lights(camera.centre - target)
        key, sky = (Shadow.cast(vertices, self.faces, light, self.backend) for light in towards)
        contact = Shadow.cast(vertices, self.faces, towards[1], self.backend, is_below=True)
        picture = self.floor.picture(camera, target, (key, contact))
        left, top, right, bottom = box(camera.project(vertices)[0], self.floor.size)
        if right > left and bottom > top:
            shaded = lit(vertices, vertex_normals(vertices, self.faces), self.colours, camera, key, sky)
            window = camera.window(left, top, self.samples)
            patch = ((bottom - top) * self.samples, (right - left) * self.samples)
            fragments = rasterize(vertices, self.faces, window, patch, self.backend, is_closed=True)
            colours, cover = averaged(fragments, fragments.interpolate(shaded, self.faces), self.samples)
            behind = picture[:, top:bottom, left:right]
            behind *= 1 - cover
            behind += colours.permute(2, 0, 1)
        return picture


def _checker(x: Tensor, y: Tensor, width: Tensor) -> Tensor:
    """The share of the darker tiles around places of a checkerboard with unit tiles [P].

    Args:
        width: Side of the square that is averaged, tiles [P].
    """
    half = width.clamp(min=1e-3) / 2
    waves = (_wave(x + half) - _wave(x - half)) * (_wave(y + half) - _wave(y - half))
    return (waves / (half * half)).mul_(0.5).add_(0.5)


def _wave(x: Tensor) -> Tensor:
    """Half the integral of a square wave of period 2, up to a constant."""
    return (x / 2).frac_().abs_().sub_(0.5).abs_()
