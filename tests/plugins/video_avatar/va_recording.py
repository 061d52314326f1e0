"""A tiny prepared recording of an open body, and settings with which it is trained in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from avatarctl_video_avatar.body_fit import canonical, posed, star_vertices
from avatarctl_video_avatar.prepared import (
    About,
    Camera,
    Fit,
    FrameBody,
    Kind,
    Volume,
    write_bodies,
    write_picture,
    write_view,
)
from avatarctl_video_avatar.settings_model import Network, Rendering
from avatarctl_video_avatar.settings_train import Losses, Patches, Train
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from avatarctl.body import BodyModel, open_body
from avatarctl.config.groups import Loop

SIZE, FRAMES, VIEWS = (48, 40), 3, 2
"""Rows and columns, frames, cameras."""
SKIN = 0.04
"""How far the surface of the stand-in volume lies from the vertices, metres."""


def write(folder: Path, body: BodyModel | None = None) -> Path:
    """Write the recording, of the open body or of one that stands for SMPL."""
    kind: Kind = "open" if body is None else "smpl"
    body, draw = body or open_body("smpl"), np.random.default_rng(0)
    fits = {
        f"frame_{row:06d}": Fit(
            np.concatenate([np.zeros(3), 0.1 * draw.normal(size=69)]).astype(np.float32),
            np.array([0, 0.2 * row, 0], np.float32),
            np.array([0.05, 0.1, 0.0], np.float32),
            np.zeros(10, np.float32),
        )
        for row in range(FRAMES)
    }
    vertices, joints = posed(body, list(fits.values()))
    faces = body.faces.numpy()
    bodies = {
        name: FrameBody(
            **vars(fit),
            posed_vertices=vertices[row],
            joints=joints[row],
            dilated_vertices=vertices[row] * 1.02,
            dilated_triangles=faces,
        )
        for row, (name, fit) in enumerate(fits.items())
    }
    for view in range(VIEWS):
        camera = camera_at(np.pi * view / 3)
        write_view(folder / str(view), dict.fromkeys(fits, camera))
        for row, name in enumerate(fits):
            image, mask = picture(camera, vertices[row] + fits[name].Th, draw)
            write_picture(folder / str(view) / "images" / f"{name}.png", image)
            write_picture(folder / str(view) / "masks" / f"{name}.png", mask)
    rest = canonical(body, np.zeros(10))
    write_bodies(folder, bodies, rest, volume(star_vertices(body, *rest)), About(body=kind))
    return folder


def camera_at(angle: float) -> Camera:
    """A camera three metres away that looks at the body from the side of an angle about y."""
    cos, sin = np.cos(angle), np.sin(angle)
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    extrinsics[:3, 3] = [0.0, 0.0, 3.0]
    matrix = np.array([[60, 0, SIZE[1] / 2], [0, 60, SIZE[0] / 2], [0, 0, 1]], np.float32)
    return Camera(matrix, extrinsics, np.zeros(5, np.float32))


def picture(camera: Camera, points: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture and the mask of a cloud of points."""
    seen = points @ camera.extrinsics[:3, :3].T + camera.extrinsics[:3, 3]
    pixels = seen @ camera.intrinsics.T
    columns, rows = (pixels[:, :2] / pixels[:, 2:]).round().astype(int).T
    inside = (rows >= 0) & (rows < SIZE[0]) & (columns >= 0) & (columns < SIZE[1])
    mask = np.zeros(SIZE, bool)
    mask[rows[inside], columns[inside]] = True
    mask = binary_dilation(mask)
    image = draw.integers(0, 60, (*SIZE, 3)) + np.array([150, 60, 20]) * mask[..., None]
    return image.astype(np.uint8), (255 * mask).astype(np.uint8)


def volume(vertices: np.ndarray, size: int = 24) -> Volume:
    """Distances to the nearest vertex, less the thickness of a skin: no body, but a closed surface."""
    side = float(np.abs(vertices).max()) + 0.1
    axis = side * (-1 + 2 * np.arange(size) / size)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    distances = cKDTree(vertices).query(places)[0] - SKIN
    return Volume((distances / side).astype(np.float32), -side, side)


def settings(data: Path, **more: Any) -> Train:
    """A training of a few small steps."""
    given: dict[str, Any] = {
        "data": data,
        "views": ["0"],
        "frames": "0:2",
        "validate_views": ["1"],
        "validate_frames": "2:3",
        "res_level": 2,
        "batch_size": 2,
        "workers": 1,
        "patches": Patches(n_patches=1, patch_size=16),
        "rendering": Rendering(n_samples=8, n_iter_backward=2, kick_in_iter=2),
        "losses": Losses(),
        "network": Network(img_resolution=16, img_channels=8, hidden=16, features=8, skinning_hidden=16),
        "loop": Loop(steps=4, log_every=1, validate_every=2, save_every=2),
    }
    return Train(**(given | more))
