"""Pinhole cameras in one convention: x right, y down, z forward, pixel centres at .5."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, or a batch of them that broadcasts with its points.

    `intrinsics` holds focal lengths and principal point in pixels [..., 3, 3]. In camera axes a point p of
    the world stands at `rotation` p + `translation`, metres [..., 3, 3] and [..., 3].

    Raises:
        ValueError: The intrinsics have a skew, or are no pinhole camera's.
    """

    intrinsics: Tensor
    rotation: Tensor
    translation: Tensor

    def __post_init__(self) -> None:
        expect(self.intrinsics, "... 3 3", "intrinsics")
        expect(self.rotation, "... 3 3", "rotation")
        expect(self.translation, "... 3", "translation")
        values = self.intrinsics.detach()
        if (values[..., 0, 1] != 0).any() or (values[..., 1, 0] != 0).any():
            raise ValueError(
                f"intrinsics have a skew of {values[..., 0, 1].abs().max():g} pixels, cameras here none; "
                "set intrinsics[..., 0, 1] and [..., 1, 0] to 0 where that will do, or resample the image"
            )
        if (values[..., 2, :] != values.new_tensor([0.0, 0.0, 1.0])).any():
            raise ValueError(
                f"the last row of intrinsics is {values[..., 2, :].tolist()}, expected [0, 0, 1]"
            )
        if not (values.diagonal(dim1=-2, dim2=-1) > 0).all():
            raise ValueError(
                "focal lengths have to be positive; turn the axes with the camera's rotation instead"
            )

    @property
    def centre(self) -> Tensor:
        """Where the camera stands in the world, metres [..., 3]."""
        return -(self.rotation.mT @ self.translation.unsqueeze(-1)).squeeze(-1)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (x, y) [..., N, 2] and depth along the viewing axis, metres [..., N].

        Pixel coordinates mean nothing where the depth is not positive.

        Args:
            points: In world axes, metres [..., N, 3].
        """
        expect(points, "... N 3", "points")
        view = points @ self.rotation.mT + self.translation.unsqueeze(-2)
        depth = view[..., 2]
        focal = self.intrinsics.diagonal(dim1=-2, dim2=-1)[..., None, :2]
        pixels = view[..., :2] / depth.unsqueeze(-1) * focal + self.intrinsics[..., None, :2, 2]
        return pixels, depth

    def rays(self, size: tuple[int, int]) -> Tensor:
        """World directions through the pixel centres, one metre deep along the viewing axis [..., H, W, 3].

        Args:
            size: Rows and columns.
        """
        rows, columns = (torch.arange(count, device=self.intrinsics.device) + 0.5 for count in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        focal = self.intrinsics.diagonal(dim1=-2, dim2=-1)[..., None, None, :2]
        plane = (torch.stack([x, y], dim=-1).to(focal) - self.intrinsics[..., None, None, :2, 2]) / focal
        return plane @ self.rotation[..., None, :2, :] + self.rotation[..., None, None, 2, :]

    def window(self, left: int, top: int, scale: int = 1) -> Camera:
        """The camera of this one's picture from a corner on, with `scale` times as many pixels a side."""
        shift = self.intrinsics.new_tensor([[0.0, 0.0, left], [0.0, 0.0, top], [0.0, 0.0, 0.0]])
        grow = self.intrinsics.new_tensor([[scale], [scale], [1.0]])
        return Camera((self.intrinsics - shift) * grow, self.rotation, self.translation)


def intrinsics_from_view(angle: float, size: tuple[int, int]) -> Tensor:
    """Intrinsics of square pixels and a centred axis [3, 3].

    Args:
        angle: What the shorter side of the image sees, radians.
        size: Rows and columns.
    """
    focal = min(size) / 2 / math.tan(angle / 2)
    return torch.tensor([[focal, 0.0, size[1] / 2], [0.0, focal, size[0] / 2], [0.0, 0.0, 1.0]])


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [..., 3, 3] and translation [..., 3] of a camera at `eye` with `target` in its middle.

    Args:
        eye, target: Places, metres [..., 3].
        up: Direction that is up in the picture; not along the line of sight [..., 3].
    """
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up.expand_as(forward)), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-2)
    return rotation, -(rotation @ eye.unsqueeze(-1)).squeeze(-1)
