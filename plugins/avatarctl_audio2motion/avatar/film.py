"""Films of a drawn avatar: its views side by side, with the speech (spec 7.6 step 9, 7.8)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.geometry.cameras import Camera
from avatarctl.render import Film, Render, rasterize
from avatarctl_audio2motion.avatar.assets import Views
from avatarctl_audio2motion.avatar.avatar import Avatar, Body
from avatarctl_audio2motion.avatar.depth import depth_edges, depth_normals
from avatarctl_audio2motion.avatar.drawing import displayed, drawn, side_by_side
from avatarctl_audio2motion.avatar.layers import resized

log = logging.getLogger(__name__)
Look = Literal["full", "draft", "shape"]
"""How a person is drawn: as published; without the view network and at half the texels; without texture."""
FPS = 30.0
CLAY = 200.0
"""Brightness of an untextured surface that faces the camera, 0 to 255."""


def film(
    avatar: Avatar,
    pose: Tensor,
    codes: Tensor,
    views: Views,
    *,
    sound: tuple[np.ndarray, int] | None = None,
    render: Render | None = None,
    fps: float = FPS,
    look: Look = "full",
) -> Film:
    """A person in motion, seen from all views; a person whose shadows need it has its mean occlusion.

    Args:
        pose: Raw body parameters [T, 104].
        codes: Raw face codes [T, 256].
        sound: Samples [N, channels] and their rate.
        render: Says which rasteriser draws, and shows progress.

    Raises:
        DataError: Pose and codes have other widths than the person, other lengths, or are not finite.
    """
    wanted = {"body poses": (pose, avatar.skeleton.num_pose), "face codes": (codes, avatar.num_codes)}
    for name, (values, width) in wanted.items():
        if values.dim() != 2 or values.shape != (len(pose), width) or not len(values):
            raise DataError(
                f"{name} of shape {list(values.shape)}; this person needs [{len(pose)}, {width}]",
                hint="generate face and body for this person",
            )
        if not torch.isfinite(values).all():
            raise DataError(f"{name} that are not finite", hint="generate them again")
    if avatar.needs_occlusion:
        log.info("no maps of ambient occlusion: the person's mean one shades all frames")
    stage = render or Render()

    def make() -> Iterator[np.ndarray]:
        for frame in range(len(pose)):
            one = slice(frame, frame + 1)
            yield frame_of(avatar, pose[one], codes[one], views, stage.backend, look)

    return Film(make, len(pose), fps, stage.progress, sound)


@torch.no_grad()
def frame_of(
    avatar: Avatar, pose: Tensor, codes: Tensor, views: Views, backend: str = "auto", look: Look = "full"
) -> np.ndarray:
    """One frame, its views side by side, uint8 [H, V * W, 3].

    Args:
        pose: [1, 104].
        codes: [1, 256].
    """
    device = avatar.mean_texture.device
    camera = _on(views.camera, device)
    occlusion = cast(Tensor, avatar.shadow.mean)[None] if avatar.needs_occlusion else None
    body = avatar.body(pose.float().to(device), codes.float().to(device), occlusion)
    vertices = body.vertices.expand(len(views.places), -1, -1)
    if look == "shape":
        return side_by_side(_shape(vertices, avatar.maps.faces, camera, views.size, backend))
    if look == "draft":
        texture = _draft(avatar, body).expand(len(vertices), -1, -1, -1)
    else:
        texture = avatar.texture(body, views.places.to(device))
    return side_by_side(displayed(drawn(vertices, texture, avatar.maps, camera, views.size, backend)))


def at_height(views: Views, rows: int) -> Views:
    """The same views in pictures of so many rows."""
    columns = max(1, round(views.size[1] * rows / views.size[0]))
    scale = views.camera.intrinsics.new_tensor([[columns / views.size[1]], [rows / views.size[0]], [1.0]])
    camera = replace(views.camera, intrinsics=views.camera.intrinsics * scale)
    return replace(views, camera=camera, size=(rows, columns))


def _draft(avatar: Avatar, body: Body) -> Tensor:
    """The texture without what depends on the view and without detail, about 0 to 255 [1, 3, S, S]."""
    image = avatar.seams.resample(avatar.seams.impaint(body.texture))
    size = avatar.maps.size
    image = image * avatar.texture_std + resized(avatar.mean_texture, size)
    return image.mul_(resized(body.light, size))


def _shape(vertices: Tensor, faces: Tensor, camera: Camera, size: tuple[int, int], backend: str) -> Tensor:
    """The surface in one colour, darker where it turns away [V, 3, H, W]."""
    depth = rasterize(vertices, faces, camera, size, backend, is_strict=True).depth
    pictures = vertices.new_zeros(len(depth), 3, *size)
    for picture, view, intrinsics in zip(pictures, depth, camera.intrinsics, strict=True):
        focal, centre = (
            float(intrinsics[0, 0]),
            (float(intrinsics[0, 2]) - 0.5, float(intrinsics[1, 2]) - 0.5),
        )
        filled = torch.where(view.isfinite(), view, 0.0)[None, None]
        # Across a break in depth there is no surface to have a normal: it is left black, as an outline.
        is_surface = view.isfinite() & ~depth_edges(filled)[0, 0]
        picture.copy_(CLAY * (-depth_normals(filled, focal, centre)[0, 2]).clamp(0, 1) * is_surface)
    return pictures


def _on(camera: Camera, device: torch.device) -> Camera:
    return Camera(camera.intrinsics.to(device), camera.rotation.to(device), camera.translation.to(device))
