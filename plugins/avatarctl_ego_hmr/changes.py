"""What is annotated of people after their pictures were cropped, turned and mirrored (spec 3.5).

Joints are also wanted as a camera of the crop has them: the person is moved so that the box is seen straight
ahead. Everything is float64 [B, ...] but the boxes, whose roundings decide over grey levels of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avatarctl.geometry.rotations import (
    axis_angle_from_quaternion,
    quaternion_from_axis_angle,
    quaternion_product,
)
from avatarctl_ego_hmr.augment import Augmentation
from avatarctl_ego_hmr.egobody.annotations import Annotations
from avatarctl_ego_hmr.views import CROP
from avatarctl_ego_hmr.warp import crop_from_picture, mirrored

MIRROR_JOINTS = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
"""Of each SMPL joint, the one that it is in a mirror."""
MIRROR_KEYPOINTS = [
    0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21,
]  # fmt: skip
"""Of each BODY_25 keypoint, the one that it is in a mirror."""
SCALE_UNIT = 200
"""Pixels in the unit of annotated scales."""


@dataclass(frozen=True)
class Changes:
    """How the pictures of some people are changed, one to a row."""

    draws: Sequence[Augmentation]
    centre: np.ndarray
    """Of the box, moved but not mirrored, pixels, float32 [B, 2]."""
    side: np.ndarray
    """Of the box before it was scaled, pixels, float32 [B]."""
    size: np.ndarray
    """Of the square that is cropped, pixels, float32 [B]."""
    transl: np.ndarray
    """Translation of the body, mirrored, camera axes [B, 3]."""
    transl_crop: np.ndarray
    """The same as the crop's camera has it [B, 3]."""

    @staticmethod
    def of(
        people: Annotations, rows: Sequence[int], draws: Sequence[Augmentation], box_scale: float
    ) -> Changes:
        """Changes of annotated people.

        Args:
            rows: Which of the annotated frames.
            draws: A change for each.
            box_scale: Boxes are enlarged by this.
        """
        index = np.asarray(rows)
        shift, scale = (
            np.array([getattr(one, name) for one in draws], np.float32) for name in ("shift", "scale")
        )
        side = (people.scale[index] * box_scale).astype(np.float32) * np.float32(SCALE_UNIT)
        centre = people.centre[index].astype(np.float32) + side[:, None] * shift
        size = side * scale
        depth, transl = people.transl[index, 2:], people.transl[index]
        principal = np.stack([people.cx, people.cy], axis=-1)[index]
        aside = (centre - principal) * depth / people.fx[index, None]
        crop = np.concatenate([transl[:, :2] - aside, size[:, None] / CROP * depth], axis=1)
        sign = np.array([[-1.0 if one.flip else 1.0, 1, 1] for one in draws])
        return Changes(draws, centre, side, size, transl * sign, crop * sign)

    @property
    def flip(self) -> np.ndarray:
        """Which pictures are mirrored [B]."""
        return np.array([one.flip for one in self.draws])

    @property
    def turns(self) -> np.ndarray:
        """Rotations of points in camera axes that the turned pictures show [B, 3, 3]."""
        angles = np.deg2rad([one.rotation_deg for one in self.draws])
        turns = np.tile(np.eye(3), (len(angles), 1, 1))
        turns[:, 0, 0] = turns[:, 1, 1] = np.cos(angles)
        turns[:, 0, 1], turns[:, 1, 0] = np.sin(angles), -np.sin(angles)
        return turns

    def box_centre(self, width: np.ndarray) -> np.ndarray:
        """Centres of the squares in pictures that are so wide [B], pixels, float32 [B, 2]."""
        return np.stack(
            [
                mirrored(centre, columns) if flip else centre
                for centre, columns, flip in zip(self.centre, width, self.flip, strict=True)
            ]
        )

    def keypoints(self, keypoints: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints in the crop and in the picture, as shares of them from -0.5 to 0.5 [B, 25, 3] each.

        Args:
            keypoints: BODY_25, pixels and confidence [B, 25, 3].
            sizes: Columns and rows of the pictures [B, 2].
        """
        turned_over = keypoints[:, MIRROR_KEYPOINTS]
        turned_over[..., 0] = sizes[:, :1] - turned_over[..., 0] - 1
        found = np.where(self.flip[:, None, None], turned_over, keypoints)
        places, centres = found[..., :2], self.box_centre(sizes[:, 0])
        maps = np.stack(
            [
                crop_from_picture(centre, size, one.rotation_deg)
                for centre, size, one in zip(centres, self.size, self.draws, strict=True)
            ]
        )
        crop = (places @ maps[..., :2].swapaxes(1, 2) + maps[:, None, :, 2]) / CROP - 0.5
        # parity: the whole picture is turned about the mirrored centre, by the same angle (spec 3.5, step 6).
        turns, middle = self.turns[:, :2, :2], centres[:, None].astype(np.float64)
        full = ((places - middle) @ turns.swapaxes(1, 2) + middle) / sizes[:, None] - 0.5
        crop, full = (np.concatenate([part, found[..., 2:]], axis=-1) for part in (crop, full))
        return crop, full

    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Affine maps of points in camera axes, to the crop's camera and to the picture's [B, 3, 4] each."""
        mirror = np.tile(np.eye(3), (len(self.draws), 1, 1))
        mirror[self.flip, 0, 0] = -1
        linear = self.turns @ mirror
        # parity: the crop's translation is not turned with the points (Q13).
        shift = (self.turns @ (self.transl_crop - self.transl)[..., None])[..., 0]
        back = self.transl - self.transl_crop
        crop, full = (np.concatenate([linear, one[..., None]], axis=-1) for one in (shift, shift + back))
        return crop, full

    def joints(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """SMPL joints in camera axes [B, 24, 3], as the crop's camera has them, and the picture's."""
        found = np.where(self.flip[:, None, None], joints[:, MIRROR_JOINTS], joints)
        crop, full = (found @ one[..., :3].swapaxes(1, 2) + one[:, None, :, 3] for one in self.maps())
        return crop, full

    def poses(self, poses: np.ndarray) -> np.ndarray:
        """Axis-angle, root first [B, 24, 3]; that of the root is at most half a turn."""
        found = np.where(self.flip[:, None, None], poses[:, MIRROR_JOINTS] * [1, -1, -1], poses)
        about_z = np.zeros((len(self.draws), 3))
        about_z[:, 2] = -np.deg2rad([one.rotation_deg for one in self.draws])
        turn, root = (quaternion_from_axis_angle(torch.from_numpy(one)) for one in (about_z, found[:, 0]))
        found[:, 0] = axis_angle_from_quaternion(quaternion_product(turn, root)).numpy()
        return found

    def principal(self, principal: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Principal points in pixels [B, 2], of pictures that are so wide [B]."""
        # parity: without the -1 of mirrored pixels (spec 3.5, step 8).
        across = np.where(self.flip, width - principal[:, 0], principal[:, 0])
        return np.stack([across, principal[:, 1]], axis=-1)
