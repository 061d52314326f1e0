"""What is published of an extracted mesh: its record and the picture of its normals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.meshes import Mesh
from avatarctl.render import rasterize
from avatarctl_video_avatar.geometry_scores import in_world
from avatarctl_video_avatar.sample import Sample, Shot


def record(mesh: Mesh, sample: Sample) -> np.ndarray:
    """The published .npy of a frame: its mesh in the body's frame, camera and masks, as a 0-d object array.

    Args:
        mesh: Faces look outwards; the record has them the other way round, as published.
        sample: The whole picture of the frame.
    """
    shot, size = sample.shot, (sample.shot.height, sample.shot.width)
    content: dict[str, Any] = {
        "vertices": mesh.vertices.astype(np.float32),
        "triangles": mesh.turned().faces.astype(np.int32),
        "E": shot.extrinsics,
        "K": shot.intrinsics,
        "camera_e": shot.world,
        "rh": shot.turn,
        "th": shot.place,
        "hit_mask": sample.rays.hits.view(size),
        "alpha_mask": sample.rays.alpha.view(size),
        "H": shot.height,
        "W": shot.width,
    }
    plain = {
        name: value.cpu().numpy() if isinstance(value, Tensor) else value for name, value in content.items()
    }
    return np.array(plain, dtype=object)


def normal_picture(mesh: Mesh, shot: Shot) -> np.ndarray:
    """The published picture of face normals in the camera's axes, each turned round, RGBA uint8 [H, W, 4].

    Red is to the left, green up, blue towards the camera; nothing is behind.

    Args:
        mesh: In the body's frame, faces look outwards.
    """
    placed = in_world(mesh, shot.turn.cpu().numpy(), shot.place.cpu().numpy())
    vertices, faces = torch.from_numpy(placed.vertices), torch.from_numpy(placed.faces)
    intrinsics = shot.intrinsics.cpu().double().clone()
    intrinsics[:2, 2] += 0.5  # here integer coordinates are pixel centres (spec 4.2), not their corners
    rotation, translation = shot.world[:3, :3].cpu().double(), shot.world[:3, 3].cpu().double()
    camera = Camera(intrinsics, rotation, translation)
    face = rasterize(vertices, faces, camera, (shot.height, shot.width), is_closed=False).face
    corners = vertices[faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(across, dim=-1) @ rotation.T
    seen = torch.where((face >= 0)[..., None], -normals[face.clamp(min=0)], -1.0)
    colours = ((seen + 1) / 2 * 255).to(torch.uint8)
    opaque = torch.where(colours[..., 2:] == 0, 0, 255).to(torch.uint8)
    return torch.cat([colours, opaque], dim=-1).numpy()
