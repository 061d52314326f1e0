"""Who stands on the stage, and the camera that follows them. The floor is z = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.body import BodyModel, Shaped
from avatarctl.body.tables import HEAD, NUM_BODY
from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at
from avatarctl.motion import Motion, resample
from avatarctl.motion.motion import Skeleton

COLOURS = ((0.56, 0.66, 0.77), (0.86, 0.62, 0.47), (0.60, 0.72, 0.58), (0.78, 0.66, 0.82), (0.83, 0.77, 0.55))
"""Muted colours that stay apart in print and for colour-blind eyes: blue, terracotta, sage, mauve, straw."""
VIEW = math.radians(30)
"""What the shorter side of a picture sees."""
AZIMUTH, ELEVATION = math.radians(32), math.radians(13)
"""Where the camera stands as the first actor sees it: to the left of straight ahead, above the horizon."""
FLESH, CROWN = 0.13, 0.2
"""How far a body reaches beyond its joints, and its crown beyond the head joint, metres."""
MARGIN = 0.91
"""Share of the picture that bodies may fill."""
CALM, LOOK_AHEAD = 0.5, 1.5
"""How slowly the camera turns its attention (standard deviation), and how early it steps back, seconds."""
CHUNK = 512
"""Frames whose skeletons are posed at once for the camera's path."""


@dataclass(frozen=True)
class Actor:
    """One body moving: its motion, what it looks like, what it is called, where it is set down (metres).

    `expression` holds coefficients of a SMPL-X body's face for the motion's frames [T, E]; `colours` [V, 3],
    where given, are those of the vertices.
    """

    motion: Motion
    body: BodyModel
    colour: tuple[float, float, float] = COLOURS[0]
    label: str = ""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    expression: Tensor | None = None
    colours: Tensor | None = None

    def still(self, frame: int) -> Actor:
        """The same standing still as in a frame; the last one where there are not so many."""
        frame = max(0, min(frame, len(self.motion) - 1))
        face = None if self.expression is None else self.expression[frame : frame + 1]
        return replace(self, motion=self.motion[frame : frame + 1], expression=face)


@dataclass(frozen=True)
class Cast:
    """An actor at the frame rate of a film, z up; after its last frame it stands still.

    Raises:
        DataError: The motion has no frames, or numbers that cannot be.
    """

    actor: Actor
    fps: float

    def __post_init__(self) -> None:
        self.actor.motion.checked(self.actor.label or "motion", "check the file or the run it came from")

    @cached_property
    def shaped(self) -> Shaped:
        """The body with the motion's shape."""
        body = self.actor.body
        return body.shape(self.actor.motion.betas.to(body.template))

    @cached_property
    def motion(self) -> Motion:
        """The motion at the film's rate, by nearest frame, on the body's skeleton."""
        upright = self.actor.motion.to_up("z", self.shaped.joints[0].cpu())
        return upright.resampled(self.fps, "nearest").to_skeleton(cast(Skeleton, self.actor.body.family))

    @cached_property
    def expression(self) -> Tensor | None:
        """The face at the film's rate, by nearest frame [T, E]."""
        given = self.actor.expression
        if given is None or self.fps == self.actor.motion.fps or len(given) < 2:
            return given
        times = torch.arange(len(given), dtype=torch.float64) / self.actor.motion.fps
        wanted = resample.grid(float(times[-1]), self.fps)
        return given[resample.nearest(*resample.between(times, wanted))]

    @cached_property
    def has_hands(self) -> bool:
        """Whether the motion moves the fingers."""
        return bool((self.motion.poses[:, NUM_BODY:] != 0).any())

    def __len__(self) -> int:
        return len(self.motion)

    def poses(self, frames: Tensor) -> Tensor:
        """Axis-angle for all of the body's joints; hands that do not move at all are relaxed [T, J, 3]."""
        body = self.actor.body
        given = self.motion.poses[frames].to(body.template)
        poses = functional.pad(given, (0, 0, 0, body.num_joints - given.shape[1]))
        if body.hands_mean is not None and not self.has_hands:
            poses[:, -len(body.hands_mean) :] = body.hands_mean.to(poses)
        return poses

    def places(self, frames: Tensor) -> Tensor:
        """Root translation with the actor's offset, metres [T, 3]."""
        root = self.motion.root[frames].to(self.actor.body.template)
        return root + root.new_tensor(self.actor.offset)

    def frames(self, first: int, last: int) -> Tensor:
        """Frames of the motion for film frames `first` to `last`, the last one held, int64 [T]."""
        return torch.arange(first, last).clamp(max=len(self) - 1)

    def vertices(self, frames: Tensor) -> Tensor:
        """Skinned vertices, metres [T, V, 3]."""
        shaped = self.shaped
        if self.expression is not None:
            body = self.actor.body
            face = self.expression[frames].to(body.template)
            shaped = body.shape(self.actor.motion.betas.to(body.template), face)
        return shaped.pose(self.poses(frames), self.places(frames)).vertices()

    def outline(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Joints and crown, metres [T, J + 1, 3], and where the pelvis faces [T, 3]."""
        posed = self.shaped.pose(self.poses(frames), self.places(frames))
        crown = posed.joints[:, HEAD] + CROWN * posed.rotations[:, HEAD, :, 1]
        return torch.cat([posed.joints, crown.unsqueeze(1)], dim=1).cpu(), posed.rotations[:, 0, :, 2].cpu()


@dataclass(frozen=True)
class Path:
    """A camera that looks one way while it moves: what it looks at [T, 3] and from how far [T], metres."""

    target: Tensor
    distance: Tensor
    direction: Tensor  # from the target to the camera [3]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.target)

    def camera(self, frame: int) -> Camera:
        """The camera of one frame."""
        eye = self.target[frame] + self.distance[frame] * self.direction
        up = eye.new_tensor([0.0, 0.0, 1.0])
        return Camera(intrinsics_from_view(VIEW, self.size).to(eye), *look_at(eye, self.target[frame], up))


def follow(casts: list[Cast], size: tuple[int, int], fps: float, joints: Sequence[int] = ()) -> Path:
    """A calm path that keeps all the actors in the picture from head to foot, in front of the first one.

    Args:
        size: Rows and columns of the picture.
        joints: Keep these in the picture, and the crown; all when left out.
    """
    length = max(map(len, casts))
    outlines, facings = [], []
    for first in range(0, length, CHUNK):
        last = min(first + CHUNK, length)
        found = [one.outline(one.frames(first, last)) for one in casts]
        shown = [*joints, -1] if joints else slice(None)
        outlines.append(torch.cat([points[:, shown] for points, _ in found], dim=1))
        facings.append(found[0][1])
    points, facing = torch.cat(outlines), torch.cat(facings)
    middle = (points.amin(1) + points.amax(1)) / 2
    target = _smooth(middle, CALM * fps)
    direction = _direction(facing)
    distance = _distance(points - target.unsqueeze(1), direction, size)
    reach = round(LOOK_AHEAD * fps)
    padded = functional.pad(distance[None, None], (reach, reach), mode="replicate")
    distance = functional.max_pool1d(padded, 2 * reach + 1, 1)[0, 0] if reach else distance
    distance = _smooth(distance.unsqueeze(-1), reach / 3).squeeze(-1)
    device = casts[0].actor.body.template.device
    return Path(target.to(device), distance.to(device), direction.to(device), size)


def _direction(facing: Tensor) -> Tensor:
    """From the target to the camera: aside of where the first actor faces on the whole [3]."""
    mean = facing[:, :2].mean(0)
    if mean.norm() < 0.3:  # it turns all around: as it faces at the start
        mean = facing[0, :2]
    angle = math.atan2(float(mean[1]), float(mean[0])) + AZIMUTH
    level = math.cos(ELEVATION)
    return torch.tensor([level * math.cos(angle), level * math.sin(angle), math.sin(ELEVATION)])


def _distance(points: Tensor, direction: Tensor, size: tuple[int, int]) -> Tensor:
    """The least distance from which all points are in the picture, metres [T].

    Args:
        points: Seen from the target, metres [T, N, 3].
    """
    rotation, _ = look_at(direction, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    view = points @ rotation.T
    half = MARGIN * math.tan(VIEW / 2) * torch.tensor([size[1], size[0]]) / min(size)
    need = (view[..., :2].abs() + FLESH) / half - view[..., 2:]
    return need.flatten(1).amax(1)


def _smooth(values: Tensor, deviation: float) -> Tensor:
    """Values in time [T, C] under a Gaussian that is cut off at three deviations; the ends are held."""
    reach = math.floor(3 * deviation + 1e-6)
    if not reach:
        return values
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    padded = functional.pad(values.T.unsqueeze(1), (reach, reach), mode="replicate")
    return functional.conv1d(padded, (weights / weights.sum())[None, None]).squeeze(1).T
