"""What networks are given of a person in a picture, and what training compares with.

Camera axes are those of the picture: x right, y down, z forward, metres. "Full" is the whole picture, as
opposed to the crop around the person.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

FOCAL_NORM = 1500.0
"""Focal lengths are given to networks in units of so many pixels."""
CROP = 224
"""Side of the crop, pixels."""
Rows = TypeVar("Rows", bound="_Rows")


@dataclass(frozen=True)
class _Rows:
    """Tensors with one row for each person."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def to(self: Rows, device: torch.device | str) -> Rows:
        """The same on a device."""
        return replace(self, **{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def __getitem__(self: Rows, rows: slice | Tensor) -> Rows:
        return replace(self, **{item.name: getattr(self, item.name)[rows] for item in fields(self)})


@dataclass(frozen=True)
class View(_Rows):
    """People as the networks see them, one to a row."""

    image: Tensor
    """The crop, normalised as for ImageNet [B, 3, 224, 224]."""
    focal: Tensor
    """Focal length in x, pixels [B]; it serves both axes."""
    centre: Tensor
    """Principal point, pixels [B, 2]."""
    box_centre: Tensor
    """Centre of the box that was cropped, pixels [B, 2]."""
    box_size: Tensor
    """Its side, pixels [B]."""
    points: Tensor
    """Scene points in camera axes, metres [B, N, 3]."""
    detected: Tensor
    """Which BODY_25 keypoints were detected, bool [B, 25]."""

    def lens(self, focal: bool = True, centre: bool = True, box: bool = True) -> Tensor:
        """The camera and the box as numbers for a network [B, 6]; fewer where one is switched off.

        In this order: centre / focal, box centre / focal, box size / focal, focal / 1500 (spec 4.4).
        """
        found = []
        if centre:
            found.append(self.centre / self.focal[:, None])
        if box:
            found += [self.box_centre / self.focal[:, None], (self.box_size / self.focal)[:, None]]
        if focal:
            found.append(self.focal[:, None] / FOCAL_NORM)
        return torch.cat(found, dim=1) if found else self.focal.new_zeros(len(self), 0)


@dataclass(frozen=True)
class Truth(_Rows):
    """What is known of the same people (spec 3.5)."""

    keypoints: Tensor
    """BODY_25 in the crop, x and y in -0.5 to 0.5, confidence [B, 25, 3]."""
    keypoints_full: Tensor
    """BODY_25 in the picture, x / width - 0.5, y / height - 0.5, confidence [B, 25, 3]."""
    joints: Tensor
    """SMPL joints where the crop's camera has them, metres [B, 24, 3]."""
    joints_full: Tensor
    """SMPL joints in camera axes, metres [B, 24, 3]."""
    poses: Tensor
    """Axis-angle, root first [B, 24, 3]."""
    betas: Tensor
    """Shape of the body of this gender [B, 10]."""
    transl: Tensor
    """Translation of the body in camera axes, metres [B, 3]."""
    gender: Tensor
    """0 male, 1 female, int64 [B]."""
