"""Windows seen from the head: the head of the last frame stands above the origin and looks along -y.

The published networks see where in the room one stands and which way one faces. Trained on little data,
networks generalise only when every window is brought to common axes first. Not part of the paper; the setting
`frame` chooses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.geometry.rotations import matrix_about, matrix_from_sixd


def turn_of(head: Tensor) -> Tensor:
    """Rotations about z [..., 3, 3] after which heads with world rotations [..., 3, 3] look along -y."""
    look, crown = head[..., 2], head[..., 1]
    # Looking down, the crown points ahead; looking up, it points back. The sum never vanishes on the floor.
    ahead = look[..., :2] - look[..., 2:] * crown[..., :2]
    return matrix_about("Z", -torch.atan2(ahead[..., 0], -ahead[..., 1]))


def heading(trackers: Tensor) -> tuple[Tensor, Tensor]:
    """How windows come to the head's axes: turns about z [B, 3, 3] and origins on the floor, metres [B, 3].

    Args:
        trackers: Windows [B, T, 3, 18] in world axes, z up.
    """
    last = trackers[:, -1, 0]
    origin = torch.cat([last[:, 12:14], torch.zeros_like(last[:, :1])], dim=-1)
    return turn_of(matrix_from_sixd(last[:, :6])), origin


def to_heading(trackers: Tensor, turn: Tensor, origin: Tensor) -> Tensor:
    """The windows [B, T, 3, 18] in the axes given by `heading`; steps of rotations stay as they are."""
    rotations, steps, places, moves = trackers.split((6, 6, 3, 3), dim=-1)
    places = places - origin[:, None, None]
    vectors = torch.cat([rotations.unflatten(-1, (2, 3)), places.unsqueeze(-2), moves.unsqueeze(-2)], dim=-2)
    turned = vectors @ turn[:, None, None].mT
    return torch.cat([turned[..., :2, :].flatten(-2), steps, turned[..., 2, :], turned[..., 3, :]], dim=-1)


def turn_root(sixd: Tensor, turn: Tensor) -> Tensor:
    """Local rotations [..., 6 J] whose root is turned by matrices [..., 3, 3]."""
    root = sixd[..., :6].unflatten(-1, (2, 3)) @ turn.mT
    return torch.cat([root.flatten(-2), sixd[..., 6:]], dim=-1)
