"""Pictures of an avatar as they are compared and shown: published scalings, normals, crops (spec 6, 7.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatarctl_video_avatar.model.rendering import Picture
from avatarctl_video_avatar.sample import Sample

FULL = 255.0


def shown(picture: Picture) -> Tensor:
    """A rendered picture, 0 to 255 [H, W, 3]."""
    return (picture.image * 256).clamp(0, FULL)  # parity: 256, and 255 for the truth (spec 9, Q22)


def truth(sample: Sample) -> Tensor:
    """The true picture where rays are rendered, the background elsewhere, 0 to 255 [H, W, 3]."""
    rays, shot = sample.rays, sample.shot
    pixels = torch.where(rays.hits[:, None], rays.colours, sample.background)
    return (pixels * FULL).view(shot.height, shot.width, 3)


def published_normals(picture: Picture, sample: Sample, *, is_test: bool) -> Tensor:
    """The published picture of normals, 0 to 255 [H, W, 3].

    Gradients of the star pose are turned by the cameras of the posed body (spec 9, Q14).

    Args:
        is_test: As the test pass does it, not the validation.
    """
    shot, normals = sample.shot, picture.normals
    turn = shot.extrinsics[:3, :3]
    if is_test:
        turned = normals @ torch.linalg.inv(turn).T
    else:
        flipped = normals * normals.new_tensor([1.0, -1.0, -1.0])
        turned = flipped @ turn.T @ torch.linalg.inv(shot.world[:3, :3]).T
    return (turned * 128 + 128).clamp(0, FULL)


def camera_normals(picture: Picture, sample: Sample) -> Tensor:
    """Normals in the camera's axes (x right, y up, z to the viewer), 0 to 255, black behind [H, W, 3]."""
    turned = picture.body_normals @ sample.shot.extrinsics[:3, :3].T
    turned = turned * turned.new_tensor([1.0, -1.0, -1.0])
    lengths = turned.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    covered = picture.opacity[..., None].clamp(0, 1)
    return ((turned / lengths * 0.5 + 0.5) * covered * FULL).clamp(0, FULL)


def box_of(sample: Sample) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle around the pixels that meet the body's box."""
    assert sample.box is not None, "patches are not cropped"
    rows, columns = (sample.box.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def compared(picture: Picture, sample: Sample) -> tuple[Tensor, Tensor]:
    """What metrics compare: prediction and truth in the body's rectangle, 0 to 1 [3, h, w]."""
    box = box_of(sample)
    return tuple(  # type: ignore[return-value]
        (pixels[box] / FULL).permute(2, 0, 1) for pixels in (shown(picture), truth(sample))
    )


def to_bytes(pixels: Tensor) -> np.ndarray:
    """Pixels of 0 to 255 as a picture, uint8 [H, W, 3]."""
    return pixels.round().clamp(0, FULL).to(torch.uint8).cpu().numpy()
