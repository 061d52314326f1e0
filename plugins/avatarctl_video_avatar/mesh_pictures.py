"""Pictures of meshes by cameras of the prepared layout, with smooth edges and soft light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl.geometry import cameras as pinhole
from avatarctl.geometry.meshes import Mesh, vertex_normals
from avatarctl.render import rasterize
from avatarctl.render.pixels import as_bytes, averaged
from avatarctl_video_avatar.prepared import Camera

SAMPLES = 3
"""Samples along each side of a pixel."""
KEY_SHARE, SKY_SHARE = 0.34, 0.16
"""Shares of the key light and of the light from above; the rest comes from all sides."""
PLAIN = 0.80
"""Grey of a mesh without colours."""


def drawn(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    size: tuple[int, int],
    values: Tensor,
    paint: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The mean colour of what a pixel shows of a mesh [H, W, 3], and how much of it the mesh covers [H, W].

    Args:
        vertices: World axes, metres [V, 3].
        faces: [F, 3].
        size: Rows and columns.
        values: Of the vertices, which samples interpolate [V, C].
        paint: Colours in linear light [P, 3] of samples' values [P, C].
    """
    lens = lens_of(camera).window(0, 0, SAMPLES)
    vertices = vertices.float()
    found = rasterize(vertices, faces, lens, (size[0] * SAMPLES, size[1] * SAMPLES), is_closed=True)
    painted = paint(found.interpolate(values, faces)).clamp(0, 1)
    colours, cover = averaged(found, painted, SAMPLES)
    return (colours / cover.clamp(min=1e-6)[..., None]).sqrt(), cover


def soft_light(normals: Tensor, key: Tensor, up: Tensor) -> Tensor:
    """Brightness of a white surface in a soft key light and an even room [N].

    Args:
        normals: Unit [N, 3].
        key: Direction of the key light [3].
        up: Unit direction [3].
    """
    toward = (normals @ normalize(key, dim=0) + 0.4) / 1.4
    even = 1 - KEY_SHARE - SKY_SHARE
    return even + KEY_SHARE * toward.clamp(min=0) * 1.25 + SKY_SHARE * (normals @ up + 1) / 2


def mesh_picture(
    mesh: Mesh, colours: Tensor | None, camera: Camera, size: tuple[int, int], up: Tensor
) -> np.ndarray:
    """A mesh before white, uint8 [H, W, 3]; without colours it is grey, and light shows its shape.

    Args:
        mesh: Faces look outwards.
        colours: As pictures show them, 0 to 1 [V, 3].
        up: Unit direction of the world [3].
    """
    vertices, faces = torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces)
    if colours is None:
        pose = torch.from_numpy(camera.extrinsics).float()
        key = pose[:3, :3].T @ torch.tensor([-0.5, -0.6, -0.6])  # from the left, above the camera
        light = soft_light(vertex_normals(vertices, faces), key, up)
        linear = (PLAIN * (2.2 * light - 1.15).clamp(0.03, 1))[:, None].expand(-1, 3)
    else:
        linear = colours.cpu().float().square()
    picture, cover = drawn(vertices, faces, camera, size, linear, lambda values: values)
    return as_bytes(torch.lerp(torch.ones(3), picture, cover[..., None]))


def lens_of(camera: Camera) -> pinhole.Camera:
    """A camera of the prepared layout for `avatarctl.render`, whose pixel centres are at .5."""
    intrinsics = torch.from_numpy(camera.intrinsics).clone()
    intrinsics[:2, 2] += 0.5
    pose = torch.from_numpy(camera.extrinsics).float()
    return pinhole.Camera(intrinsics, pose[:3, :3], pose[:3, 3])
