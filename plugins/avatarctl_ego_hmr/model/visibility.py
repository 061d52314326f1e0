"""Which joints are seen: by their keypoints, as the network is told, or by their place in the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl_ego_hmr.model.camera import project

MID_HIP = 8
"""The keypoint that always counts as detected."""
STRICT = (8, 12, 9, 8, 13, 10, 8, 14, 11, 8, 14, 11, 0, 5, 2, 0, 5, 2, 6, 3, 7, 4, 7, 4)
"""Of each SMPL joint, the BODY_25 keypoint that decides whether it is seen (spec 4.5)."""
LOOSENED = (8, 13, 10, *STRICT[3:12], 1, *STRICT[13:])
"""The same where hips follow the knees, and the neck its own keypoint."""


def visible(detected: Tensor, loosen: bool) -> Tensor:
    """Which SMPL joints count as seen, bool [..., 24].

    Args:
        detected: Which BODY_25 keypoints were detected, bool [..., 25].
        loosen: Hips count as seen where the knees are.
    """
    known = detected.clone()
    known[..., MID_HIP] = True
    return known[..., list(LOOSENED if loosen else STRICT)]


def in_picture(points: Tensor, focal: Tensor, centre: Tensor, size: tuple[int, int]) -> Tensor:
    """Which points fall into the picture, hidden or not, bool [..., N] (spec 7.2).

    Args:
        points: In camera axes, metres [..., N, 3].
        focal: Pixels [...].
        centre: Principal point, pixels [..., 2].
        size: Width and height of the picture, pixels.
    """
    pixels = project(points, torch.zeros_like(centre[..., :1]), focal[..., None], centre)
    return ((pixels >= 0) & (pixels < pixels.new_tensor(size))).all(dim=-1)
