"""Films of a made-up person: bodies of a clip, cameras on a ring, and what each camera sees in soft light.

The world has z up and its floor at z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.dressed import Person
from avatarctl.geometry import cameras as pinhole
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.motion.clips import clips
from avatarctl.render.pixels import as_bytes
from avatarctl_video_avatar.mesh_pictures import drawn, soft_light
from avatarctl_video_avatar.prepared import Camera, Fit

RADIUS, HEIGHTS, MIDDLE = 3.2, (1.3, 0.8), 0.92
"""Of the ring, metres; cameras stand at these heights in turn and look at the middle of the stage."""
ROOM = 0.96
"""Share of the picture that the person may fill, from the middle."""
BACKDROP = ((0.50, 0.52, 0.55), (0.34, 0.35, 0.37))
"""Colours of the studio at the top and at the bottom of a picture."""
KEY, UP = (0.35, -0.55, 0.76), (0.0, 0.0, 1.0)
"""Directions of the key light and of the ceiling."""


def fits_of(body: BodyModel, betas: Tensor, clip: str, frames: int) -> list[Fit]:
    """The body in frames of an embedded clip, evenly over it, as the prepared layout tells it.

    Args:
        betas: [10].
    """
    motion = clips()[clip].motion().to_skeleton("smpl").to_up("z")
    rows = np.linspace(0, len(motion) - 1, frames).round().astype(int)
    poses, root = motion.body_poses(24)[rows].double(), motion.root[rows].double()
    model_root = body.shape(betas).joints[0].double()
    turned = matrix_from_axis_angle_smpl(poses[:, 0]) @ model_root
    # SMPL turns about the pelvis, the prepared layout about the origin (spec 2.2).
    place = model_root + root - turned
    rest = poses.flatten(1).clone()
    rest[:, :3] = 0
    return [
        Fit(_floats(pose), _floats(turn), _floats(where), _floats(betas))
        for pose, turn, where in zip(rest, poses[:, 0], place, strict=True)
    ]


def on_floor(fits: Sequence[Fit], lowest: float) -> list[Fit]:
    """Fits moved so that the lowest point of all frames, now at a height of `lowest`, is on the floor."""
    lift = np.array([0, 0, -lowest], np.float32)
    return [Fit(fit.poses, fit.Rh, fit.Th + lift, fit.betas) for fit in fits]


def world(fit: Fit, points: Tensor) -> Tensor:
    """Points of the body's frame in the world, float64 [N, 3]."""
    turn = matrix_from_axis_angle_smpl(torch.from_numpy(fit.Rh).double())
    return points @ turn.T + torch.from_numpy(fit.Th).double()


@dataclass(frozen=True)
class Stage:
    """A dressed person in all frames: world vertices of the surface, float64 [F, W, 3]."""

    person: Person
    surfaces: Tensor

    @staticmethod
    def of(person: Person, fits: Sequence[Fit], vertices: Sequence[Tensor]) -> Stage:
        """The stage of fits.

        Args:
            vertices: The bodies' in their own frames, float64 [V, 3] each.
        """
        dressed = [world(fit, person.dressed(one)) for fit, one in zip(fits, vertices, strict=True)]
        return Stage(person, torch.stack(dressed))

    @property
    def lowest(self) -> float:
        """Height of the lowest point, metres."""
        return float(self.surfaces[..., 2].min())

    def ring(self, count: int, size: tuple[int, int]) -> list[Camera]:
        """Cameras all around, which see the person in every frame.

        Args:
            size: Rows and columns.
        """
        low, high = self.surfaces.amin((0, 1)), self.surfaces.amax((0, 1))
        middle = torch.tensor([*((low + high) / 2)[:2].tolist(), MIDDLE], dtype=torch.float64)
        up, placed = torch.tensor(UP, dtype=torch.float64), []
        for number in range(count):
            # The first camera stands before somebody who looks along -y, as clips do.
            angle = 2 * math.pi * number / count - math.pi / 2
            height = HEIGHTS[number % len(HEIGHTS)]
            eye = torch.tensor([RADIUS * math.cos(angle), RADIUS * math.sin(angle), height - MIDDLE])
            placed.append(pinhole.look_at(middle + eye.double(), middle, up))
        points = self.surfaces.flatten(0, 1)
        wide = max(_widest(points, *pose, size) for pose in placed)
        return [_camera(ROOM / wide * min(size) / 2, pose, size) for pose in placed]


def shoot(stage: Stage, frame: int, camera: Camera, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture [H, W, 3] and the share of each pixel that the person covers [H, W], both uint8.

    Pixels that the person covers in part hold the person's colour alone: over any background the mask mixes
    them rightly.

    Args:
        size: Rows and columns.
    """
    person, surface = stage.person, stage.surfaces[frame].float()
    normals = vertex_normals(surface, person.faces)
    light = soft_light(normals, normals.new_tensor(KEY), normals.new_tensor(UP))
    values = torch.cat([person.places, light[:, None]], dim=1)

    def paint(seen: Tensor) -> Tensor:
        return person.colours(seen[:, :3]).square() * seen[:, 3:]

    colours, cover = drawn(surface, person.faces, camera, size, values, paint)
    return as_bytes(torch.where(cover[..., None] > 0, colours, backdrop(size))), as_bytes(cover)


def backdrop(size: tuple[int, int]) -> Tensor:
    """The studio without anybody [H, W, 3]."""
    top, bottom = (torch.tensor(colour) for colour in BACKDROP)
    share = torch.linspace(0, 1, size[0])[:, None, None]
    return torch.lerp(top, bottom, share).expand(*size, 3)


def _widest(points: Tensor, rotation: Tensor, translation: Tensor, size: tuple[int, int]) -> float:
    """The largest tangent to points from the axis, sides of the picture taken for the shorter one."""
    view = points @ rotation.T + translation
    reach = (view[:, :2] / view[:, 2:]).abs().amax(0)
    shorter = min(size)
    return float(max(reach[0] * shorter / size[1], reach[1] * shorter / size[0]))


def _camera(focal: float, pose: tuple[Tensor, Tensor], size: tuple[int, int]) -> Camera:
    rows, columns = size
    intrinsics = np.array([[focal, 0, columns / 2 - 0.5], [0, focal, rows / 2 - 0.5], [0, 0, 1]], np.float32)
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = pose[0].numpy(), pose[1].numpy()
    return Camera(intrinsics, extrinsics, np.zeros(5, np.float32))


def _floats(values: Tensor) -> np.ndarray:
    return values.float().numpy()
