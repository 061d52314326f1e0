"""From the crop's camera to that of the whole picture, and from points to pixels (spec 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl_ego_hmr.views import CROP

SMALL = 1e-9


def full_translation(
    camera: Tensor, focal: Tensor, centre: Tensor, box_centre: Tensor, box_size: Tensor
) -> Tensor:
    """Translation of the body in camera axes, metres [..., 3].

    Args:
        camera: Scale and shift in the crop (s, tx, ty) [..., 3].
        focal: Pixels [...].
        centre: Principal point, pixels [..., 2].
        box_centre: Centre of the box that was cropped, pixels [..., 2].
        box_size: Its side, pixels [...].
    """
    scale, shift = camera[..., 0], camera[..., 1:]
    plane = shift + 2 * (box_centre - centre) / (scale * box_size)[..., None]
    depth = 2 * focal / (box_size * scale)
    return torch.cat([plane, depth[..., None]], dim=-1)


def crop_translation(camera: Tensor, focal: Tensor) -> Tensor:
    """Translation of the body before a camera that looks at the crop, metres [..., 3].

    Args:
        camera: Scale and shift in the crop (s, tx, ty) [..., 3].
        focal: Pixels [...].
    """
    depth = 2 * focal / (CROP * camera[..., 0] + SMALL)
    return torch.cat([camera[..., 1:], depth[..., None]], dim=-1)


def project(points: Tensor, transl: Tensor, focal: Tensor, centre: Tensor | float = 0.0) -> Tensor:
    """Pixels (x, y) [..., N, 2] of points that stand before a camera.

    Args:
        points: Metres [..., N, 3].
        transl: Where they are taken to first, metres [..., 3].
        focal: Pixels in x and y [..., 2], or one for both [..., 1].
        centre: Principal point, pixels [..., 2], or 0.
    """
    placed = points + transl[..., None, :]
    plane = placed[..., :2] / placed[..., 2:] * focal[..., None, :]
    return plane + (centre[..., None, :] if isinstance(centre, Tensor) else centre)
