"""Pictures of made-up people in the office, and the keypoints that a detector would find in them.

What is behind a person is the scan as a camera sees it, holes filled with floor and wall, or the real photo.
Either has depths, so furniture in front hides what is behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.motion.motion import Z_FROM_Y
from avatarctl.render import rasterize
from avatarctl.render.pixels import as_bytes, averaged, box
from avatarctl.render.shade import Shadow, lights, lit
from avatarctl_ego_hmr.synthetic.office import Office
from avatarctl_ego_hmr.synthetic.people import Placed, between

SAMPLES = 2
"""Samples of a body along each side of a pixel."""
DARK = (0.35, 0.35)
"""Darkness of the shadow from the key light and of the one below the body."""
NEAR_FLOOR = 0.08
"""What is nearer to the floor than this takes shadows, metres; measured depths are no better."""
WALL_Z, WALL_X = -7.0, 4.5
"""Where the walls behind the scan are, metres."""
SCENE_SLACK = 0.03
"""A keypoint is hidden by what is nearer than it by more than this, metres."""
DEEP = 0.30
"""The same for the body's own surface: joints lie inside, and detectors look through a crossing arm."""
FACE, FACE_SLACK = (0, 15, 16, 17, 18), 0.04
"""Nose, eyes and ears lie on the surface: a head that is turned away hides them."""


@dataclass(frozen=True)
class Backdrop:
    """What a camera sees without people: `colour` of 0..1 [H, W, 3] and `depth`, metres [H, W].

    The depth is infinite where nothing is known.
    """

    camera: Camera
    colour: Tensor
    depth: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.depth.shape[0], self.depth.shape[1]


@dataclass(frozen=True)
class Shot:
    """A picture, uint8 [H, W, 3], and keypoints of BODY_25: pixels (centres at whole numbers) and
    confidence, 0 with all zeros where they are hidden [25, 3]."""

    picture: np.ndarray
    keypoints: np.ndarray


def scan_backdrop(office: Office, camera: Camera, size: tuple[int, int], noise: Noise) -> Backdrop:
    """The scan, with an endless floor and walls behind it.

    Args:
        size: Rows and columns.
        noise: For the colours of what is filled in, and the exposure.
    """
    fragments = rasterize(office.vertices, office.faces, camera, size)
    is_bare = fragments.face < 0
    colour = torch.empty(*size, 3)
    colour[~is_bare] = fragments.interpolate(office.colours, office.faces)
    depth = fragments.depth.clone()
    rays = camera.rays(size)[is_bare]
    eye = camera.centre
    below = torch.where(rays[:, 1] < 0, -eye[1] / rays[:, 1], torch.inf)
    back = torch.where(rays[:, 2] < 0, (WALL_Z - eye[2]) / rays[:, 2], torch.inf)
    side = (WALL_X * rays[:, 0].sign() - eye[0]) / rays[:, 0]
    wall = torch.minimum(back, side)
    grey = between(noise, 0.35, 0.85) + 0.02 * noise.normal((3,))
    shade = torch.where(back < side, 1.0, 0.9) * (1 - 0.04 * (wall - 5).clamp(0, 5))
    walls = grey * shade[:, None]
    floor = office.floor_colour * (
        1 + 0.05 * torch.sin(3 * (eye + rays * below[:, None])[:, [0]]).nan_to_num()
    )
    colour[is_bare] = torch.where((below < wall)[:, None], floor, walls)
    depth[is_bare] = torch.minimum(below, wall)
    gain = between(noise, 0.8, 1.15) * (1 + 0.025 * noise.normal((3,)))
    return Backdrop(camera, (colour * gain).clamp(0, 1), depth)


def photo_backdrop(office: Office, size: tuple[int, int], top: int) -> Backdrop:
    """The real photo, as wide as asked for, from row `top` of the enlarged photo on.

    Args:
        size: Rows and columns.
    """
    height, width = size
    scale = width / office.photo.shape[1]
    whole = (width, round(scale * office.photo.shape[0]))
    photo = Image.fromarray(office.photo).resize(whole, Image.Resampling.BICUBIC)
    depth = Image.fromarray(office.depth).resize(whole, Image.Resampling.NEAREST)
    rows = slice(top, top + height)
    return Backdrop(
        photo_camera(office, width, top),
        torch.from_numpy(np.asarray(photo)[rows].astype(np.float32) / 255),
        torch.from_numpy(np.asarray(depth)[rows].copy()),
    )


def photo_camera(office: Office, width: int, top: int) -> Camera:
    """The camera of `photo_backdrop`."""
    scale = width / office.photo.shape[1]
    focal, (x, y) = scale * office.focal, (scale * value for value in office.centre)
    view = torch.from_numpy(np.linalg.inv(office.world_from_camera)).float()
    intrinsics = torch.tensor([[focal, 0.0, x], [0.0, focal, y - top], [0.0, 0.0, 1.0]])
    return Camera(intrinsics, view[:3, :3], view[:3, 3])


def shoot(backdrop: Backdrop, placed: Placed) -> Shot:
    """A person before a backdrop."""
    axes = torch.tensor(Z_FROM_Y)
    vertices = placed.body.vertices[0] @ axes.T
    faces = open_body("smpl").faces
    camera = backdrop.camera
    upright = Camera(camera.intrinsics, camera.rotation @ axes.T, camera.translation)
    towards = lights(upright.centre - vertices.mean(dim=0))
    key, sky = (Shadow.cast(vertices, faces, light, "auto") for light in towards)
    contact = Shadow.cast(vertices, faces, towards[1], "auto", is_below=True)
    picture = _shadowed(backdrop, upright, (key, contact))
    shaded = lit(vertices, vertex_normals(vertices, faces), placed.person.colours, upright, key, sky)
    depth = _draw(picture, backdrop.depth, upright, vertices, faces, shaded)
    keypoints = seen_keypoints(backdrop, depth, placed.body.keypoints[0])
    return Shot(as_bytes(picture), keypoints)


def _shadowed(backdrop: Backdrop, camera: Camera, shadows: tuple[Shadow, Shadow]) -> Tensor:
    """The backdrop's colours with shadows on the floor [H, W, 3]; `camera` has z up."""
    points = camera.centre + camera.rays(backdrop.size) * backdrop.depth.nan_to_num(posinf=1e3)[..., None]
    is_floor = points[..., 2].abs() < NEAR_FLOOR
    picture = backdrop.colour.clone()
    for shadow, dark in zip(shadows, DARK, strict=True):
        left, right, front, back = shadow.reach
        x, y = points[..., 0], points[..., 1]
        near = is_floor & (x > left) & (x < right) & (y > front) & (y < back)
        if near.any():
            amount = shadow.on(points[near])
            picture[near] *= 1 - dark * amount[:, None]
    return picture


def _draw(
    picture: Tensor, behind: Tensor, camera: Camera, vertices: Tensor, faces: Tensor, shaded: Tensor
) -> Tensor:
    """Draw a body into a picture, in place; its depth where it may be seen, else infinite [H, W].

    Args:
        behind: Depth of the scene, metres [H, W].
        shaded: Colours of the vertices [V, 3].
    """
    height, width = behind.shape
    depth = torch.full_like(behind, torch.inf)
    left, top, right, bottom = box(camera.project(vertices)[0], (height, width))
    rows, columns = bottom - top, right - left
    if rows <= 0 or columns <= 0:
        return depth
    window = camera.window(left, top, SAMPLES)
    found = rasterize(vertices, faces, window, (rows * SAMPLES, columns * SAMPLES), is_closed=True)
    scene = behind[top:bottom, left:right]
    scene = scene.repeat_interleave(SAMPLES, 0).repeat_interleave(SAMPLES, 1)
    seen = replace(found, face=found.face.masked_fill(found.depth >= scene, -1))
    colours, cover = averaged(seen, seen.interpolate(shaded, faces), SAMPLES)
    part = picture[top:bottom, left:right]
    part *= 1 - cover[..., None]
    part += colours
    nearest = found.depth.unflatten(0, (rows, SAMPLES)).unflatten(2, (columns, SAMPLES))
    depth[top:bottom, left:right] = nearest.amin(dim=(1, 3))
    return depth


def seen_keypoints(backdrop: Backdrop, body_depth: Tensor, places: Tensor) -> np.ndarray:
    """Keypoints as a detector gives them [25, 3]; those out of the picture or hidden are zeros.

    Args:
        body_depth: Of the person, metres [H, W].
        places: BODY_25 in the scene, metres [25, 3].
    """
    height, width = backdrop.size
    pixels, depth = backdrop.camera.project(places)
    column, row = pixels.floor().long().unbind(-1)
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
    at = (row.clamp(0, height - 1), column.clamp(0, width - 1))
    slack = torch.full((len(places),), DEEP)
    slack[list(FACE)] = FACE_SLACK
    is_seen = is_inside & (backdrop.depth[at] > depth - SCENE_SLACK) & (body_depth[at] > depth - slack)
    # OpenPose, like OpenCV, has the centre of the first pixel at 0.
    found = torch.cat([pixels - 0.5, torch.ones(len(places), 1)], dim=-1) * is_seen[:, None]
    return found.double().numpy()
