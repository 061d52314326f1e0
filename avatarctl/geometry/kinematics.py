"""Kinematic chains: parents stand before their children, joint 0 is the root."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


def global_rotations(local: Tensor, parents: Sequence[int]) -> Tensor:
    """World rotations [..., J, 3, 3] of local ones: global[j] = global[parent] local[j]."""
    expect(local, f"... {len(parents)} 3 3", "local")
    chain = [local[..., 0, :, :]]
    for joint in range(1, len(parents)):
        chain.append(chain[parents[joint]] @ local[..., joint, :, :])
    return torch.stack(chain, dim=-3)


def local_rotations(world: Tensor, parents: Sequence[int]) -> Tensor:
    """Local rotations [..., J, 3, 3] of world ones: local[j] = global[parent]^T global[j]."""
    expect(world, f"... {len(parents)} 3 3", "world")
    rest = world[..., list(parents[1:]), :, :].mT @ world[..., 1:, :, :]
    return torch.cat([world[..., :1, :, :], rest], dim=-3)


def joint_positions(world: Tensor, rest: Tensor, parents: Sequence[int]) -> Tensor:
    """Joint places [..., J, 3] of a posed skeleton whose root joint stays at its rest place.

    Args:
        world: World rotations [..., J, 3, 3].
        rest: Joint places at rest, metres, broadcast over the leading shape [..., J, 3].
    """
    expect(world, f"... {len(parents)} 3 3", "world")
    offsets = rest[..., 1:, :] - rest[..., list(parents[1:]), :]
    steps = (world[..., list(parents[1:]), :, :] @ offsets.unsqueeze(-1)).squeeze(-1)
    chain = [rest[..., 0, :].expand((*world.shape[:-3], 3))]
    for joint in range(1, len(parents)):
        chain.append(chain[parents[joint]] + steps[..., joint - 1, :])
    return torch.stack(chain, dim=-2)


def forward_kinematics(
    local: Tensor, rest: Tensor, parents: Sequence[int], transl: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """World rotations [..., J, 3, 3] and joint places [..., J, 3].

    Args:
        local: Local rotations [..., J, 3, 3].
        rest: Joint places at rest, metres [..., J, 3].
        transl: Added to every place, metres [..., 3].
    """
    world = global_rotations(local, parents)
    places = joint_positions(world, rest, parents)
    return world, places if transl is None else places + transl.unsqueeze(-2)
