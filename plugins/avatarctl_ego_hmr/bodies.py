"""The three SMPL bodies that ego-hmr needs, and their joints in the conventions that losses compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from avatarctl.body import Bodies, BodyModel, open_body
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

Kind = Literal["smpl", "open"]
MALE, FEMALE = 0, 1
GENDERS = ("neutral", "male", "female")
EXTRA = (
    332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787,
    2746, 2319, 2445, 2556, 2673, 6191, 5782, 5905, 6016, 6133,
)  # fmt: skip
"""Vertices that follow the 24 joints: nose, eyes, ears, toes and heels, finger tips (spec 2.3)."""
BODY_25 = (
    24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34,
)  # fmt: skip
"""Of each OpenPose keypoint, its place among those 45 (spec 5.1)."""


@dataclass(frozen=True)
class Body:
    """Posed bodies: `vertices` [B, 6890, 3] and `joints` [B, 45, 3], metres."""

    vertices: Tensor
    joints: Tensor

    @property
    def keypoints(self) -> Tensor:
        """The places of BODY_25 [B, 25, 3]."""
        return self.joints[:, list(BODY_25)]

    def moved(self, transl: Tensor) -> Body:
        """The same at a translation, metres [B, 3]."""
        return Body(self.vertices + transl[:, None], self.joints + transl[:, None])


@dataclass(frozen=True)
class People:
    """The neutral body, which networks predict, and those of annotations."""

    neutral: BodyModel
    male: BodyModel
    female: BodyModel

    @staticmethod
    def load(bodies: Bodies, kind: Kind = "smpl", folder: Path | None = None) -> People:
        """Licensed SMPL bodies, or the open body three times.

        Args:
            folder: Where licensed models lie; left out: the added assets.

        Raises:
            AssetError: One of the three licensed files was not found.
        """
        if kind == "open":
            return People(*[open_body("smpl")] * 3)
        return People(*(bodies.load("smpl", gender, folder, is_licensed=True) for gender in GENDERS))

    def to(self, device: torch.device | str) -> People:
        """The same on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in GENDERS})

    def posed(self, matrices: Tensor, betas: Tensor) -> Body:
        """Neutral bodies without translation.

        Args:
            matrices: Local rotations, root first [B, 24, 3, 3].
            betas: Shape [B, 10].
        """
        return pose(self.neutral, matrices, betas)

    def annotated(self, poses: Tensor, betas: Tensor, gender: Tensor) -> Body:
        """Bodies of each person's gender without translation.

        Args:
            poses: Axis-angle, root first [B, 24, 3].
            betas: Shape [B, 10].
            gender: 0 male, 1 female [B].
        """
        matrices = matrix_from_axis_angle_smpl(poses)
        men, women = (pose(body, matrices, betas) for body in (self.male, self.female))
        is_woman = (gender == FEMALE)[:, None, None]
        return Body(
            torch.where(is_woman, women.vertices, men.vertices),
            torch.where(is_woman, women.joints, men.joints),
        )


def pose(body: BodyModel, matrices: Tensor, betas: Tensor) -> Body:
    """Bodies of one kind without translation; arguments as in `People.posed`."""
    posed = body.shape(betas).pose_matrices(matrices)
    vertices = posed.vertices()
    return Body(vertices, torch.cat([posed.joints, vertices[:, list(EXTRA)]], dim=1))
