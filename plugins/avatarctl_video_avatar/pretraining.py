"""A start for the skinning network: it learns weights of the nearest vertices in star pose (spec 5).

The published script minimises the L1 distance at points of a large cube. Sigmoids saturate there, and whole
limbs are never learned. Cross-entropy has a slope wherever weights are wrong, and half of the points lie near
the body, where the avatar is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatarctl.body import BodyModel
from avatarctl.device import Noise
from avatarctl_video_avatar.body_fit import star_vertices
from avatarctl_video_avatar.losses import skinning
from avatarctl_video_avatar.model.avatar import Avatar
from avatarctl_video_avatar.model.nearest import Nearest, skinning_of

if TYPE_CHECKING:
    from avatarctl.runs import Run

POINTS, NEIGHBOURS = 100_000, 5
"""Points that are learned, half of them in a cube of two metres, and vertices that say the weights of one."""
NEAR = 0.05
"""Deviation of the other half from vertices, metres."""
BATCH = 4096
"""Of these, so many in a step."""
LR, END = 2e-3, 0.05
"""Learning rate of Adam, and the share of it that is left at the end."""


def pretrain(
    avatar: Avatar,
    body: BodyModel,
    canonical: tuple[np.ndarray, np.ndarray],
    steps: int,
    noise: Noise,
    run: Run,
    *,
    points: int = POINTS,
) -> float:
    """Let an avatar's skinning network learn a body's weights; the L1 error at the body's vertices.

    Args:
        body: Whose skinning weights are learned.
        canonical: Its joints [24, 3] and vertices [V, 3] in T-pose, metres.
        points: How many are drawn.
    """
    assert avatar.skinning_model is not None
    vertices = torch.from_numpy(star_vertices(body, *canonical)).float()
    weights = body.weights.float().to(run.device)
    cube = 2 * noise.uniform((points // 2, 3)) - 1
    near = vertices[noise.integers(0, len(vertices), (points - len(cube),))]
    near = near + NEAR * noise.normal(near.shape)
    places, vertices = torch.cat([cube, near]).to(run.device), vertices.to(run.device)
    wanted = skinning_of(*Nearest(vertices)(places, NEIGHBOURS), weights)
    optimizer = torch.optim.Adam(avatar.skinning_model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, END * LR)
    for _ in run.progress(range(steps), "skinning"):
        rows = noise.integers(0, points, (min(BATCH, points),), device=run.device)
        predicted = avatar.skinning()(places[rows])
        loss = -(wanted[rows] * (predicted + 1e-6).log()).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        return float(skinning(avatar.skinning()(vertices), weights))
