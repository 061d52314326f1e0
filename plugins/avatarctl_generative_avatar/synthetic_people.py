"""Made-up photos: who stands where in which light, and what the label's camera sees of them.

Everything of a photo follows from its seed and number. The world is that of labels: y points down, and the
camera looks along z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl.body import BodyModel, open_body
from avatarctl.body.dressed import NUM_BETAS, SHAPE, Fabric, Outfit, Person
from avatarctl.device import Noise
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle_smpl
from avatarctl.motion.clips import clips
from avatarctl.render import rasterize
from avatarctl.render.pixels import as_bytes, averaged
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.label import camera_of

SAMPLES = 2
"""Samples along each side of a pixel."""
EVERY = 5
"""Of so many frames of the clips, one is a pose that people may take."""
DEPTH = 0.29
"""How far a person may reach to the camera and away from it, metres: rays are sampled a little farther."""
ROOM = 0.96
"""How much of the picture a person may fill, from the middle."""
UPRIGHT, TALL = math.cos(math.radians(20)), 1.38
"""Least height of a unit vector along the trunk, and least height of head above feet, metres."""
KEY_SHARE, SKY_SHARE = 0.40, 0.20
"""Shares of the key light and of the light from above; the rest comes from all sides."""


@dataclass(frozen=True)
class Shot:
    """What one photo shows: the label [111] and the dressed surface [W, 3] in its world, metres."""

    person: Person
    label: Tensor
    surface: Tensor
    key: Tensor
    """Direction of the light [3]."""


class Studio:
    """Where photos are made up: the open body, its finer surface, and poses of the embedded clips."""

    def __init__(self) -> None:
        self.body: BodyModel = open_body("smpl")
        self.fabric = Fabric.of(self.body)

    @cached_property
    def poses(self) -> tuple[Tensor, Tensor]:
        """Upright poses [P, 24, 3] in a world whose y points up, all ahead along z, and their joints."""
        motions = [clip.motion().to_skeleton("smpl").to_up("y") for clip in clips().values()]
        poses = torch.cat([motion.body_poses(label.JOINTS)[::EVERY] for motion in motions])
        turns = matrix_from_axis_angle_smpl(poses[:, 0])
        poses[:, 0] = axis_angle_from_matrix(_about_y(-torch.atan2(turns[:, 0, 2], turns[:, 2, 2])) @ turns)
        joints = self.body.shape().pose(poses).joints
        trunk, height = normalize(joints[:, 12] - joints[:, 0], dim=-1), joints[..., 1]
        kept = (trunk[:, 1] > UPRIGHT) & (height[:, 15] - height.amin(1) > TALL)
        return poses[kept], joints[kept]

    def shot(self, seed: int, number: int) -> Shot:
        """The photo of a number."""
        noise = Noise.seeded(seed, "made-up photo", number)
        betas = (SHAPE * noise.normal((NUM_BETAS,))).clamp(-2, 2)
        person = Person.of(self.body, betas, Outfit.drawn(noise), self.fabric)
        aside, up = (noise.uniform((2,)) * 2 - 1).tolist()
        key = normalize(torch.tensor([0.7 * aside, -0.6 + 0.2 * up, -0.7]), dim=0)
        turn = _about_y((noise.uniform(()) * 2 - 1) * math.pi)
        poses, joints = self.poses
        deep = (joints @ turn[2]).aminmax(dim=1)
        fitting = (deep.max - deep.min < 2 * DEPTH).nonzero().squeeze(-1)
        to_label = label.world_from_y_up().to(turn) @ turn
        for chosen in noise.permutation(len(fitting)).tolist():
            pose = poses[fitting[chosen]].clone()
            pose[0] = axis_angle_from_matrix(to_label @ matrix_from_axis_angle_smpl(pose[0]))
            surface = person.dressed(self.body.shape(betas).pose(pose).vertices().double()).float()
            low, high = surface.aminmax(dim=0)
            if bool(((high - low) / 2 < torch.tensor([ROOM, ROOM, DEPTH])).all()):
                middle = (low + high) / 2
                made = label.made(pose, betas, transl=-middle)
                return Shot(person, made, surface - middle, key)
        raise RuntimeError(f"no pose fits photo {number} of seed {seed}")


def photo(shot: Shot, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture before white and the normals, both uint8 [H, W, 3].

    Normals are those that the generator renders (spec 4.9): x to the right, y up, z to the camera; pixels
    that the person covers less than half are white.
    """
    side, faces = resolution * SAMPLES, shot.person.faces
    normals = vertex_normals(shot.surface, faces)
    found = rasterize(shot.surface, faces, camera_of(shot.label, side), (side, side), is_closed=True)
    seen = found.interpolate(torch.cat([shot.person.places, normals], dim=1), faces)
    outward = normalize(seen[:, 3:], dim=1)
    lit = shot.person.colours(seen[:, :3]) * light(outward, shot.key).sqrt()[:, None]
    picture, cover = averaged(found, lit.clamp(0, 1), SAMPLES, empty=1.0)
    mirrored, _ = averaged(found, outward * outward.new_tensor([1.0, -1.0, -1.0]), SAMPLES)
    facing = (normalize(mirrored, dim=-1) + 1) / 2
    return as_bytes(picture), as_bytes(torch.where(cover[..., None] >= 0.5, facing, 1.0))


def light(normals: Tensor, key: Tensor) -> Tensor:
    """Brightness of a white surface with unit normals [N, 3] in a soft key light and an even room [N]."""
    toward = ((normals @ key + 0.4) / 1.4).clamp(min=0)
    return 1 - KEY_SHARE - SKY_SHARE + 1.25 * KEY_SHARE * toward + SKY_SHARE * (1 - normals[:, 1]) / 2


def _about_y(angles: Tensor) -> Tensor:
    """Turns about y, which take z to x [..., 3, 3]."""
    zero = torch.zeros_like(angles)
    return matrix_from_axis_angle_smpl(torch.stack([zero, angles, zero], dim=-1))
