"""Linear blend skinning."""

from __future__ import annotations

import torch
from torch import Tensor


def blend(vertices: Tensor, weights: Tensor, world: Tensor, places: Tensor, rest: Tensor) -> Tensor:
    """Vertices moved by the weighted mean of their joints' rigid motions [..., V, 3].

    Args:
        vertices: At rest, metres [..., V, 3].
        weights: Share of each joint, rows sum to 1 [V, J].
        world: World rotations of the joints [..., J, 3, 3].
        places: Posed joint places, metres [..., J, 3].
        rest: Joint places at rest, metres [..., J, 3].
    """
    shift = places - (world @ rest.unsqueeze(-1)).squeeze(-1)
    motion = torch.cat([world, shift.unsqueeze(-1)], dim=-1).flatten(-2)  # [..., J, 12]
    blended = (weights @ motion).unflatten(-1, (3, 4))  # [..., V, 3, 4]
    return (blended[..., :3] @ vertices.unsqueeze(-1)).squeeze(-1) + blended[..., 3]
