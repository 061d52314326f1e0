"""A camera before a body: rays of its pixels, where they cross the body's box, their depths (spec 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl_video_avatar.depths import inner_depths, uniform_depths
from avatarctl_video_avatar.intersect import all_hits
from avatarctl_video_avatar.prepared import Camera, Fit
from avatarctl_video_avatar.rays import (
    Crossings,
    box_in_picture,
    box_of,
    camera_from_body,
    directions_of,
    is_inside,
    origin_of,
    rotation_of,
    without_zeros,
)
from avatarctl_video_avatar.sample import Pose, Rays
from avatarctl_video_avatar.settings_model import Rendering

ORTHONORMAL = 1e-3
"""How far a camera's rotation may be from one."""

Mesh = tuple[np.ndarray, np.ndarray]
"""Vertices [V, 3] in the body's frame, metres, and triangles [F, 3]."""


@dataclass(frozen=True)
class Sight:
    """A camera before a body: what the rays of a picture depend on, float64."""

    intrinsics: np.ndarray
    extrinsics: np.ndarray
    """From the body's frame to the camera [4, 4]."""
    box: np.ndarray
    """Around the body [2, 3]."""
    mesh: Mesh | None
    samples: int

    @property
    def origin(self) -> np.ndarray:
        """Where the camera stands [3]."""
        return origin_of(self.extrinsics)

    def crossings(self, size: tuple[int, int], name: str, *, is_needed: bool = True) -> Crossings:
        """Where the rays of a whole picture cross the box.

        Args:
            size: Rows and columns.
            name: Of the picture, for messages.
            is_needed: Refuse a picture that sees nothing of it.
        """
        if is_inside(self.origin, self.box):
            raise DataError(
                f"{name}: the camera stands in the body's box, at {np.round(self.origin, 3).tolist()} m",
                hint="move the camera away; extrinsics and Th must be in metres",
            )
        crossings = box_in_picture(self.intrinsics, self.extrinsics, self.box, size)
        if is_needed and not crossings.meets.any():
            raise DataError(
                f"{name}: no pixel sees the body's box, {np.round(self.box, 2).tolist()} m in its frame",
                hint="check its camera and the body's Rh and Th: metres, OpenCV axes, from world to camera",
            )
        return crossings

    def rays(
        self,
        pixels: tuple[np.ndarray, np.ndarray],
        ends: tuple[np.ndarray, np.ndarray],
        colours: np.ndarray,
        alpha: np.ndarray,
    ) -> Rays:
        """Rays of pixels (rows and columns [n]) between near and far [n], with their depths."""
        directions = self._directions(*pixels)
        depths, crossing = self._depths(directions, *ends)
        origins = np.broadcast_to(self.origin.astype(np.float32), directions.shape).copy()
        near, far = ends
        return Rays(
            float32(origins),
            float32(directions),
            float32(colours),
            float32(alpha),
            float32(near),
            float32(far),
            float32(depths),
            hits=torch.from_numpy(crossing | (alpha > 0)),
        )

    def _directions(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Unit directions [n, 3] of pixels [n] each."""
        return without_zeros(directions_of(self.intrinsics, self.extrinsics, rows, columns))

    def _depths(
        self, directions: np.ndarray, near: np.ndarray, far: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depths float32 [n, S], and which rays go through the mesh [n]; without a mesh, none."""
        if self.mesh is None:
            return uniform_depths(near, far, self.samples), np.zeros(len(near), bool)
        return inner_depths(all_hits(self.origin, directions, *self.mesh), near, far, self.samples)


def sight_of(
    pose: Pose,
    camera: Camera,
    fit: Fit,
    rendering: Rendering,
    mesh: Mesh | None,
    *,
    boxed: np.ndarray | None = None,
) -> Sight:
    """A camera before a body, as `sample_of` has its arguments."""
    points = pose.vertices.cpu().numpy() if boxed is None else boxed
    return Sight(
        np.asarray(camera.intrinsics, np.float64),
        camera_from_body(camera.extrinsics, rotation_of(fit.Rh), fit.Th),
        box_of(points, rendering.box_margin),
        mesh if rendering.inner_sampling else None,
        rendering.n_samples,
    )


def check_camera(camera: Camera, name: str) -> None:
    """Refuse a camera without rays."""
    matrix, rotation = camera.intrinsics, np.asarray(camera.extrinsics)[:3, :3]
    if not (
        matrix[0, 0] > 0 and matrix[1, 1] > 0 and (matrix[1:, 0] == 0).all() and tuple(matrix[2]) == (0, 0, 1)
    ):
        raise DataError(
            f"{name}: intrinsics {matrix.tolist()}, expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]]",
            hint="prepare the recording again",
        )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > ORTHONORMAL or np.linalg.det(rotation) < 0:
        raise DataError(
            f"{name}: extrinsics do not begin with a rotation: {rotation.tolist()}",
            hint="prepare the recording again",
        )


def float32(array: np.ndarray) -> Tensor:
    """An array as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
