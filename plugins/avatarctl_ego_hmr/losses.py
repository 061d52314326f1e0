"""Terms that the losses of both stages are made of, one number for each body (spec 5.1, 5.2).

Functions on tensors with any leading shape; those of a prediction and of its truth broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl_ego_hmr.model.camera import crop_translation, project
from avatarctl_ego_hmr.views import CROP

ELSEWHERE = (1, 9, 12)
"""OpenPose's neck and hips, which SMPL has at other places: they do not count in pictures."""
PICTURE = (1920, 1080)
"""Width and height of EgoBody's pictures, pixels."""


def keypoints_2d(made: Tensor, true: Tensor) -> Tensor:
    """Sum of absolute errors in a picture, each weighed by its confidence [...].

    Args:
        made: BODY_25 [..., 25, 2].
        true: The same with confidence [..., 25, 3].
    """
    confidence = true[..., 2].clone()
    confidence[..., list(ELSEWHERE)] = 0.0
    return (confidence * (made - true[..., :2]).abs().sum(dim=-1)).sum(dim=-1)


def points_3d(made: Tensor, true: Tensor) -> Tensor:
    """Sum of absolute errors of joints [..., J, 3], metres [...]."""
    return (made - true).abs().sum(dim=(-2, -1))


def vertices(made: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error of vertices [..., V, 3], metres [...]."""
    return (made - true).abs().mean(dim=(-2, -1))


def rotations(made: Tensor, true: Tensor) -> Tensor:
    """Sum of squared errors of rotation matrices [..., J, 3, 3]; [...]."""
    return (made - true).square().sum(dim=(-3, -2, -1))


def shapes(made: Tensor, true: Tensor) -> Tensor:
    """Sum of squared errors of betas [..., 10]; [...]."""
    return (made - true).square().sum(dim=-1)


def orthogonal(columns: Tensor) -> Tensor:
    """How far two columns are from orthogonal unit vectors: mean of (A^T A - I)^2 over a body's joints [...].

    Args:
        columns: The 6D numbers of each joint, as matrices A [..., J, 3, 2].
    """
    eye = torch.eye(2, dtype=columns.dtype, device=columns.device)
    return (columns.mT @ columns - eye).square().mean(dim=(-3, -2, -1))


def centred(points: Tensor, joints: Tensor) -> Tensor:
    """Points [..., N, 3] as seen from the pelvis, the first of the joints [..., J, 3]."""
    return points - joints[..., :1, :]


def in_picture(
    keypoints: Tensor, transl: Tensor, focal: Tensor, centre: Tensor, size: tuple[int, int] = PICTURE
) -> Tensor:
    """Keypoints in the whole picture, x / width - 0.5 and y / height - 0.5 [..., N, 2].

    Args:
        keypoints: Of bodies without translation, metres [..., N, 3].
        transl: Translation in camera axes, metres [..., 3].
        focal: Pixels [...].
        centre: Principal point, pixels [..., 2].
        size: Width and height of the picture, pixels.
    """
    # parity: the focal length in x serves both axes (spec 9, Q24).
    pixels = project(keypoints, transl, focal[..., None], centre)
    return pixels / pixels.new_tensor(size) - 0.5


def in_crop(keypoints: Tensor, camera: Tensor, focal: Tensor) -> Tensor:
    """Keypoints in the crop, from -0.5 to 0.5 inside it [..., N, 2].

    Args:
        keypoints: Of bodies without translation, metres [..., N, 3].
        camera: Scale and shift in the crop (s, tx, ty) [..., 3].
        focal: Pixels [...].
    """
    return project(keypoints, crop_translation(camera, focal), focal[..., None]) / CROP
