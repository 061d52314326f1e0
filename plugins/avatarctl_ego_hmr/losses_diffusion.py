"""Losses of stage 2: predicted bodies against the truth, and how far they are in the room (spec 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl_ego_hmr import losses
from avatarctl_ego_hmr.bodies import EXTRA, Body, People
from avatarctl_ego_hmr.collision.partition import Figure
from avatarctl_ego_hmr.model.graph import JOINTS
from avatarctl_ego_hmr.model.visibility import in_picture
from avatarctl_ego_hmr.views import Truth, View

if TYPE_CHECKING:
    from avatarctl_ego_hmr.settings_train import DiffusionLosses

MOST_POINTS = 4000
"""Scene points in a body's box that collision looks at."""
Collide = Callable[[Figure, Tensor, Tensor], Tensor]
"""From posed bodies, scene points in their axes [B, N, 3], and which count [B, N], to collisions [B]."""


@dataclass(frozen=True)
class Predicted:
    """Predicted bodies."""

    matrices: Tensor
    """Local rotations, root first [B, 24, 3, 3]."""
    betas: Tensor
    """Shapes [B, 10]."""
    sixd: Tensor | None = None
    """The numbers that rotations were made of, in rows (interleaved) [B, 144]; None: they are not judged."""


@dataclass(frozen=True)
class Criterion:
    """What predicted bodies are compared by."""

    people: People
    weights: DiffusionLosses
    size: tuple[int, int] = losses.PICTURE
    """Width and height of the pictures, pixels."""

    def terms(
        self, made: Predicted, view: View, truth: Truth, collide: Collide | None = None
    ) -> dict[str, Tensor]:
        """Mean terms over people.

        Args:
            collide: Says how deep bodies are in the room; left out: there is no such term.
        """
        figure = Figure.of(self.people.neutral.shape(made.betas).pose_matrices(made.matrices))
        found = self.each(figure, made, view, truth)
        if made.sixd is not None:
            found["orthogonal"] = losses.orthogonal(made.sixd.unflatten(1, (JOINTS, 3, 2)))
        if collide is not None:
            points = view.points - truth.transl[:, None]
            found["collision"] = collide(figure, points, considered(figure, points))
        return {name: term.mean() for name, term in found.items()}

    def each(self, figure: Figure, made: Predicted, view: View, truth: Truth) -> dict[str, Tensor]:
        """The terms that compare posed bodies with the truth, of each [B]."""
        target = self.people.annotated(truth.poses, truth.betas, truth.gender)
        matrices = matrix_from_axis_angle_smpl(truth.poses)
        vertices, joints = figure.vertices, figure.joints
        keypoints = Body(vertices, torch.cat([joints, vertices[:, list(EXTRA)]], dim=1)).keypoints
        # parity: places are judged at the true translation, which stage 2 does not predict (spec 5.2).
        picture = losses.in_picture(keypoints, truth.transl, view.focal, view.centre, self.size)
        return {
            "v2v": losses.vertices(
                losses.centred(vertices, joints), losses.centred(target.vertices, target.joints)
            ),
            "keypoints_3d": losses.points_3d(
                losses.centred(joints, joints), losses.centred(truth.joints, truth.joints)
            ),
            "keypoints_3d_full": losses.points_3d(joints + truth.transl[:, None], truth.joints_full),
            "keypoints_2d_full": losses.keypoints_2d(picture, truth.keypoints_full),
            # parity: betas of the neutral body are compared with those of the gendered one (spec 5.1).
            "betas": losses.shapes(made.betas, truth.betas),
            "body_pose": losses.rotations(made.matrices[:, 1:], matrices[:, 1:]),
            "global_orient": losses.rotations(made.matrices[:, :1], matrices[:, :1]),
        }

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss that is minimised, from mean terms."""
        return torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()

    def visible_errors(self, made: Predicted, view: View, truth: Truth) -> tuple[Tensor, Tensor]:
        """Summed errors of joints, seen from the pelvis, whose true place is in the picture; their number."""
        joints = self.people.neutral.shape(made.betas).pose_matrices(made.matrices).joints
        # parity: distances are those to annotated joints, seen are those of the annotated body (spec 5.2).
        distances = (losses.centred(joints, joints) - losses.centred(truth.joints, truth.joints)).norm(dim=-1)
        target = self.people.annotated(truth.poses, truth.betas, truth.gender).moved(truth.transl)
        seen = in_picture(target.joints[:, :JOINTS], view.focal, view.centre, self.size)
        return (distances * seen).sum(), seen.sum()


@torch.no_grad()
def considered(figure: Figure, points: Tensor) -> Tensor:
    """Which scene points count in the collision, bool [B, N]: those in the body's box, if not too many.

    Args:
        points: In the bodies' axes, metres [B, N, 3].
    """
    inside = figure.around(points)
    # parity: of too many, those that come late in the cloud are left out (spec 9, Q9).
    inside[:, MOST_POINTS:] &= (inside.sum(dim=1) <= MOST_POINTS)[:, None]
    return inside
