"""Losses of stage 1: its terms for the likeliest body and for the others, and their sum (spec 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl_ego_hmr import losses
from avatarctl_ego_hmr.bodies import BODY_25, Body, People
from avatarctl_ego_hmr.model.discriminator import Discriminator
from avatarctl_ego_hmr.model.scene import JOINTS, Prediction
from avatarctl_ego_hmr.views import Truth, View

if TYPE_CHECKING:
    from avatarctl_ego_hmr.settings_train import SceneLosses


@dataclass(frozen=True)
class Criterion:
    """What predicted bodies are compared by."""

    people: People
    weights: SceneLosses
    full_2d: bool = True
    """Keypoints count in the whole picture; else in the crop."""
    global_3d: bool = True
    """Joints in camera axes count."""
    size: tuple[int, int] = losses.PICTURE
    """Width and height of the pictures, pixels."""

    def terms(self, made: Prediction, view: View, truth: Truth) -> dict[str, Tensor]:
        """Mean terms over people, of the likeliest bodies ("_mode") and of the others ("_exp")."""
        found: dict[str, Tensor] = {}
        for name, term in self.each(made, view, truth).items():
            found |= {f"{name}_mode": term[:, 0].mean(), f"{name}_exp": term[:, 1:].mean()}
        return found

    def each(self, made: Prediction, view: View, truth: Truth) -> dict[str, Tensor]:
        """The terms of each body [B, S]."""
        samples = made.matrices.shape[1]
        body = bodies_of(made, self.people)
        vertices, joints = (one.unflatten(0, (-1, samples)) for one in (body.vertices, body.joints))
        own, keypoints = joints[:, :, :JOINTS], joints[:, :, list(BODY_25)]
        target = self.people.annotated(truth.poses, truth.betas, truth.gender)
        matrices = matrix_from_axis_angle_smpl(truth.poses)[:, None]
        focal, transl = view.focal[:, None], made.transl[:, None]
        crop = losses.in_crop(keypoints, made.camera[:, None], focal)
        picture = losses.in_picture(keypoints, transl, focal, view.centre[:, None], self.size)
        return {
            "v2v": losses.vertices(
                losses.centred(vertices, joints), losses.centred(target.vertices, target.joints)[:, None]
            ),
            "keypoints_3d": losses.points_3d(
                losses.centred(own, own), losses.centred(truth.joints, truth.joints)[:, None]
            ),
            "keypoints_3d_full": losses.points_3d(own + transl[:, :, None], truth.joints_full[:, None]),
            "keypoints_2d": losses.keypoints_2d(crop, truth.keypoints[:, None]),
            "keypoints_2d_full": losses.keypoints_2d(picture, truth.keypoints_full[:, None]),
            "global_orient": losses.rotations(made.matrices[:, :, :1], matrices[:, :, :1]),
            "body_pose": losses.rotations(made.matrices[:, :, 1:], matrices[:, :, 1:]),
            # parity: betas of the neutral body are compared with those of the gendered one (spec 5.1).
            "betas": losses.shapes(made.betas, truth.betas)[:, None].expand(-1, samples),
            "pose_6d": losses.orthogonal(made.columns),
        }

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighed sum of terms by kind, `nll`, and `adversarial` where there is one."""
        off = {"keypoints_2d" if self.full_2d else "keypoints_2d_full"}
        off |= set() if self.global_3d else {"keypoints_3d_full"}
        total = torch.zeros_like(terms["nll"])
        for name, term in terms.items():
            base = name.removesuffix("_mode").removesuffix("_exp")
            weight = self.weights.orthogonal if base == "pose_6d" else getattr(self.weights, name)
            if weight and base not in off:
                total = total + weight * term
        return total


def bodies_of(made: Prediction, people: People) -> Body:
    """The predicted bodies without translation, the samples of a person in turn [B S]."""
    samples = made.matrices.shape[1]
    return people.posed(made.matrices.flatten(0, 1), made.betas.repeat_interleave(samples, dim=0))


def adversarial(discriminator: Discriminator, made: Prediction) -> Tensor:
    """How far predicted bodies are from being judged recorded ones; its gradient reaches the bodies only."""
    scores = discriminator.judged(*_judged_of(made))
    return (scores - 1).square().sum() / len(made.matrices)


def discriminator_loss(
    discriminator: Discriminator, made: Prediction, poses: Tensor, betas: Tensor
) -> Tensor:
    """How badly predicted bodies are told from recorded ones; its gradient reaches the discriminator only.

    Args:
        poses: Recorded ones, axis-angle without root [B, 23, 3].
        betas: Their shapes [B, 10].
    """
    matrices, shapes = _judged_of(made)
    fake = discriminator(matrices.detach(), shapes.detach())
    real = discriminator(matrix_from_axis_angle_smpl(poses), betas)
    return fake.square().sum() / len(matrices) + (real - 1).square().sum() / len(poses)


def _judged_of(made: Prediction) -> tuple[Tensor, Tensor]:
    """Rotations but the root's [B S, 23, 3, 3], and betas [B S, 10]."""
    samples = made.matrices.shape[1]
    return made.matrices[:, :, 1:].flatten(0, 1), made.betas.repeat_interleave(samples, dim=0)
