"""How a room and the bodies in it are drawn: light and shade, furniture in front, edges smoothed.

Everything here has z up and the bodies' lowest point at z = 0. The room keeps the colours of its scan, which
hold the light of the real room; bodies are lit by a key light and the sky, and cast soft shadows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.render.paint import BRIGHT
from avatarctl.render.pixels import averaged, box
from avatarctl.render.rasterize import rasterize
from avatarctl.render.shade import BIAS, MAP, Shadow, lights, lit

PLASTER = (0.84, 0.83, 0.81)
"""Colour of a room without colours."""
RELIEF_COLOURED, RELIEF_PLAIN = 0.12, 0.34
"""How much darker walls are than floors: a little where a scan's colours hold the light already."""
SIDE = 0.45
"""How far the one pair of walls is on the way from the other to the floor."""
DARK = (0.22, 0.34)
"""Darkness of a body's shadow from the key light and of the one below it."""
TAPS = (-4, -2, 0, 2, 4)
"""Texels around a point's own where its shadow is looked up, along each side."""
HEADROOM = 0.3
"""A room seen from above is cut open so far over the bodies, metres."""
MOST_POINTS, NEIGHBOURS = 200_000, 8
"""Points of a room that are drawn, and how many neighbours tell how the surface lies there."""
DOT, LARGEST_DOT = 0.5, 0.04
"""Half the side of a drawn point, in distances of its farthest such neighbour, and the most, metres."""
OTHERS = 0.55
"""Opacity of all samples but the first."""


@dataclass(frozen=True)
class Room:
    """A scanned room for drawing: vertices, metres [V, 3]; faces [F, 3]; colours 0 to 1 [V, 3]."""

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    is_plain: bool = False
    """It has no colours of its own."""
    is_points: bool = False
    """Its faces are points, which may be seen from both sides."""

    @staticmethod
    def of(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> Room:
        """A room from arrays.

        Args:
            faces: None of them makes every point a small square that lies in the surface.
            colours: Left out, the room is of plaster.
        """
        if not len(faces):
            return _squares(vertices, colours)
        places = torch.from_numpy(np.ascontiguousarray(vertices, np.float32))
        corners = torch.from_numpy(np.ascontiguousarray(faces, np.int64))
        if colours is not None:
            return Room(places, corners, torch.from_numpy(np.ascontiguousarray(colours, np.float32)))
        # Vertices of their own let every face have one shade: edges stay sharp.
        places = places[corners].flatten(0, 1)
        plaster = torch.tensor(PLASTER).expand(len(places), 3)
        return Room(places, torch.arange(len(places)).view(-1, 3), plaster, is_plain=True)

    def moved(self, turn: Tensor, shift: Tensor) -> Room:
        """The same in other axes: `turn` [3, 3] and then `shift` [3]."""
        return replace(self, vertices=self.vertices @ turn.T + shift)

    def facing(self, eye: Tensor) -> Room:
        """The same with its faces wound so that most are seen from outside at a place in the room [3]."""
        normals, centres = self._normals_and_centres
        is_seen = (normals * (eye - centres)).sum(-1) > 0
        if self.is_points:
            return replace(self, faces=torch.where(is_seen[:, None], self.faces, self.faces.flip(-1)))
        return self if is_seen.float().mean() >= 0.5 else replace(self, faces=self.faces.flip(-1))

    @cached_property
    def _normals_and_centres(self) -> tuple[Tensor, Tensor]:
        """Of the faces; normals have twice the area [F, 3]."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return torch.linalg.cross(b - a, c - a), (a + b + c) / 3

    @cached_property
    def shaded(self) -> Tensor:
        """Colours of the vertices with what little light the scan does not hold; z is up [V, 3]."""
        x, _, z = vertex_normals(self.vertices, self.faces).abs().unbind(-1)
        relief = RELIEF_PLAIN if self.is_plain else RELIEF_COLOURED
        return self.colours * (1 - relief * (1 - z.maximum(SIDE * x)))[:, None]

    def seen(self, camera: Camera, opened: Tensor | None) -> Tensor:
        """The faces that are drawn for a camera [K, 3].

        Args:
            opened: Bodies [..., 3] that the room may not hide: what is over them is left out for a camera
                above it, and what stands between them and the camera and turns its back on it.
        """
        if opened is None:
            return self.faces
        normals, centres = self._normals_and_centres
        body = opened.reshape(-1, 3)
        top = body[:, 2].max() + HEADROOM
        is_near = camera.project(centres)[1] < camera.project(body.mean(0, keepdim=True))[1]
        is_kept = ~is_near | ((normals * (camera.centre - centres)).sum(-1) > 0)
        if camera.centre[2] > top:
            is_kept &= centres[:, 2] < top
        return self.faces[is_kept]


def _squares(points: np.ndarray, colours: np.ndarray | None) -> Room:
    """A room of points as small squares that lie as the points around each do."""
    step = -(-len(points) // MOST_POINTS)
    points = np.float64(points[::step])
    paint = np.tile(PLASTER, (len(points), 1)) if colours is None else colours[::step]
    apart, near = cKDTree(points).query(points, k=min(NEIGHBOURS, len(points)))
    around = points[near.reshape(len(points), -1)]
    around = around - around.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(around.transpose(0, 2, 1) @ around)  # the normal is first
    half = np.minimum(DOT * apart.reshape(len(points), -1)[:, -1:], LARGEST_DOT)
    right, up = half * axes[:, :, 1], half * axes[:, :, 2]
    corners = points[:, None] + np.stack([-right - up, right - up, right + up, up - right], axis=1)
    faces = 4 * np.arange(len(points))[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])
    return Room(
        torch.from_numpy(np.float32(corners.reshape(-1, 3))),
        torch.from_numpy(faces.reshape(-1, 3)),
        torch.from_numpy(np.repeat(np.float32(paint), 4, axis=0)),
        is_plain=colours is None,
        is_points=True,
    )


@dataclass(frozen=True)
class Figures:
    """Bodies with the same faces [F, 3]: vertices, metres [S, V, 3], and a colour of each [S, 3]."""

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    opacity: Tensor  # [S]
    backend: str = "auto"

    @cached_property
    def middle(self) -> Tensor:
        """The middle of all [3]."""
        every = self.vertices.flatten(0, 1)
        return (every.amin(0) + every.amax(0)) / 2

    @cached_property
    def normals(self) -> Tensor:
        """Of the vertices [S, V, 3]."""
        return vertex_normals(self.vertices, self.faces)

    def light(self, eye: Tensor) -> Light:
        """Light for a viewer at a place [3]: it comes from beside the viewer."""
        towards = lights(eye - self.middle)
        key, sky = [], []
        for body in self.vertices:
            key.append(Shadow.cast(body, self.faces, towards[0], self.backend))
            sky.append(Shadow.cast(body, self.faces, towards[1], self.backend))
        return Light(key, sky)

    def layer(self, index: int, light: Light, camera: Camera, canvas: Canvas, behind: Tensor | None) -> Layer:
        """One of the bodies as a camera sees it.

        Args:
            behind: Depth of the room, metres [H * samples, W * samples]; what is farther is not drawn.
        """
        body = self.vertices[index]
        left, top, right, bottom = _box(camera, body, canvas)
        if right <= left or bottom <= top:
            return Layer(slice(0, 0), slice(0, 0), torch.zeros(3, 0, 0), torch.zeros(0, 0))
        count, patch = canvas.samples, (bottom - top, right - left)
        grown = (patch[0] * count, patch[1] * count)
        window = camera.window(left, top, count)
        fragments = rasterize(body, self.faces, window, grown, self.backend, is_closed=True)
        if behind is not None:
            part = behind[top * count : bottom * count, left * count : right * count]
            fragments = replace(fragments, face=fragments.face.masked_fill(fragments.depth >= part, -1))
        colours = self.colours[index].expand(len(body), 3)
        shaded = lit(body, self.normals[index], colours, camera, light.key[index], light.sky[index])
        drawn, cover = averaged(fragments, fragments.interpolate(shaded, self.faces), count)
        rows, columns, opacity = slice(top, bottom), slice(left, right), self.opacity[index]
        return Layer(rows, columns, drawn.permute(2, 0, 1) * opacity, cover * opacity)


@dataclass(frozen=True)
class Light:
    """What the key light and the sky see of each body."""

    key: list[Shadow]
    sky: list[Shadow]


@dataclass(frozen=True)
class Canvas:
    """Rows and columns of a picture, and samples along each side of a pixel."""

    size: tuple[int, int]
    samples: int


@dataclass(frozen=True)
class Layer:
    """Rows and columns of a picture, and premultiplied colours [3, h, w] and coverage [h, w] there."""

    rows: slice
    columns: slice
    colours: Tensor
    cover: Tensor

    def over(self, picture: Tensor) -> None:
        """Draw on a picture [3, H, W], in place."""
        part = picture[:, self.rows, self.columns]
        part *= 1 - self.cover
        part += self.colours


def draw(
    figures: Figures,
    camera: Camera,
    canvas: Canvas,
    background: Tensor | Room | None,
    *,
    is_open: bool = False,
) -> Tensor:
    """A picture with values 0 to 1 [3, H, W].

    Args:
        background: A photo [3, H, W], or the room around the bodies; left out: a bright nothing.
        is_open: The room is cut open where it hides the bodies.
    """
    light, behind = figures.light(camera.centre), None
    if isinstance(background, Room):
        picture, behind = _room(background, figures, light, camera, canvas, is_open)
    elif background is None:
        picture = torch.tensor(BRIGHT)[:, None, None].repeat(1, *canvas.size)
    else:
        picture = background.clone()
    for index in reversed(range(len(figures.vertices))):  # the first sample comes last, over the others
        figures.layer(index, light, camera, canvas, behind).over(picture)
    return picture


def _room(
    room: Room, figures: Figures, light: Light, camera: Camera, canvas: Canvas, is_open: bool
) -> tuple[Tensor, Tensor]:
    """The room with the shadows of the bodies [3, H, W], and its depth for every sample."""
    faces = room.seen(camera, figures.vertices if is_open else None)
    count = canvas.samples
    grown = (canvas.size[0] * count, canvas.size[1] * count)
    fragments = rasterize(room.vertices, faces, camera.window(0, 0, count), grown, figures.backend)
    drawn, cover = averaged(fragments, fragments.interpolate(room.shaded, faces), count)
    depth = fragments.depth[count // 2 :: count, count // 2 :: count]
    lit_room = drawn.permute(2, 0, 1) * _shadows(light, camera, depth)
    return lit_room + torch.tensor(BRIGHT)[:, None, None] * (1 - cover), fragments.depth


def _shadows(light: Light, camera: Camera, depth: Tensor) -> Tensor:
    """The share of the light that the bodies leave to what a camera sees [H, W].

    Args:
        depth: Of every pixel, metres [H, W].
    """
    left = torch.ones_like(depth).flatten()
    hit = depth.flatten().isfinite().nonzero().squeeze(-1)
    rays = camera.rays((depth.shape[0], depth.shape[1])).flatten(0, 1)
    points = camera.centre + rays[hit] * depth.flatten()[hit, None]
    for shadows, strength in zip((light.key, light.sky), DARK, strict=True):
        most = points.new_zeros(len(points))
        for shadow in shadows:
            most = most.maximum(_shadow(shadow, points))
        left[hit] *= 1 - strength * most
    return left.view_as(depth)


def _shadow(shadow: Shadow, points: Tensor) -> Tensor:
    """How much of one light a body keeps from points [N]."""
    pixels, depth = shadow.camera.project(points + BIAS * shadow.light)
    reach = max(TAPS)
    near = ((pixels >= reach) & (pixels < MAP - reach)).all(-1).nonzero().squeeze(-1)
    column, row = pixels[near].long().unbind(-1)
    flat, limit = shadow.depth.flatten(), depth[near] - BIAS
    total = torch.zeros_like(limit)
    for down in TAPS:
        for right in TAPS:
            total += flat[(row + down) * MAP + column + right] < limit
    return torch.zeros_like(depth).index_copy_(0, near, total / len(TAPS) ** 2)


def _box(camera: Camera, vertices: Tensor, canvas: Canvas) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that a body may touch; all where it is beside the camera."""
    pixels, depth = camera.project(vertices)
    if bool((depth <= 0).all()):
        return 0, 0, 0, 0
    if bool((depth <= 0).any()):
        return 0, 0, canvas.size[1], canvas.size[0]
    return box(pixels, canvas.size)
