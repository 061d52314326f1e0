"""A ball as a body, and small networks around it."""

from __future__ import annotations

import torch
from avatarctl_video_avatar.model.avatar import Avatar, AvatarSizes, build
from avatarctl_video_avatar.model.rendering import Scene
from avatarctl_video_avatar.sample import Pose, Rays, Sample, Shot, Subject
from avatarctl_video_avatar.settings_model import Rendering

from avatarctl.device import Noise

RADIUS = 0.3
N = 32


def avatar(**sizes) -> Avatar:
    """Small networks with fresh values."""
    small = {"img_resolution": 16, "img_channels": 8, "hidden": 24, "features": 8}
    made = build(
        AvatarSizes(**{**small, "skinning_hidden": 16, "pose_hidden": 16, **sizes}), Noise.seeded(1, "a")
    )
    with torch.no_grad():
        made.sdf_network.requires_grad_(True)
    return made


def subject() -> Subject:
    """Distances to the ball; its vertices belong to bones by chance."""
    axis = torch.arange(N) / (N - 1) * 2 - 1
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    skinning = Noise.seeded(2, "a").uniform((len(vertices()), 24)) ** 8
    return Subject(
        skinning / skinning.sum(-1, keepdim=True),
        places.norm(dim=-1) - RADIUS,
        torch.tensor(-1.0),
        torch.tensor(1.0),
    )


def vertices() -> torch.Tensor:
    """On the ball [500, 3]."""
    return RADIUS * torch.nn.functional.normalize(Noise.seeded(3, "a").normal((500, 3)), dim=-1)


def pose(turn: torch.Tensor | None = None) -> Pose:
    """All joints in the middle; the root may be turned [3, 3]."""
    turn = torch.eye(3) if turn is None else turn
    rotations = torch.eye(3).repeat(24, 1, 1)
    rotations[0] = turn
    zero = torch.zeros(24, 3)
    return Pose(
        zero, torch.eye(4).repeat(24, 1, 1), rotations, zero, torch.full((69,), 0.01), vertices() @ turn.T
    )


def rays(n: int, samples: int = 16) -> Rays:
    """Side by side along z, the ball in the middle; the outer ones miss it."""
    x = torch.linspace(-0.6, 0.6, n)
    origins = torch.stack([x, 0.02 + 0 * x, torch.full_like(x, -1.0)], -1)
    directions = torch.tensor([0.0, 0.0, 1.0]).repeat(n, 1)
    depths = torch.linspace(0.5, 1.5, samples).repeat(n, 1)
    ones = torch.ones(n)
    return Rays(
        origins, directions, torch.zeros(n, 3), ones, 0.5 * ones, 1.5 * ones, depths, x.abs() < RADIUS
    )


def sample(height: int, width: int) -> Sample:
    """A whole picture of such rays before grey."""
    square = torch.eye(4)
    shot = Shot(
        torch.eye(3), square, square, torch.eye(3), torch.zeros(3), width, height, "0", "frame_000000", 0
    )
    return Sample(
        shot, pose(), rays(height * width), torch.full((3,), 0.25), box=torch.ones(height, width).bool()
    )


def scene(network: Avatar | None = None, step: int = 60000, of: Pose | None = None, **rendering) -> Scene:
    """The ball."""
    return Scene(network or avatar(), subject(), of or pose(), Rendering(n_samples=16, **rendering), step)
