"""Loss terms of the stages (spec 5.1, 5.4, 5.5), on the last frame of each window unless said otherwise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from avatarctl.body.tables import BODY_PARENTS, HEAD, LEFT_WRIST, NUM_BODY, RIGHT_WRIST
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl_sparse_tracking.model.vqvae import HALVES
from avatarctl_sparse_tracking.settings_train import DecoderLosses, RefinerLosses, VqvaeLosses

HANDS = [LEFT_WRIST, RIGHT_WRIST]


def joints_of(sixd: Tensor, rest: Tensor) -> Tensor:
    """Joint places [..., 22, 3] of local rotations [..., 132], the root at its rest place, metres.

    Args:
        rest: Rest places of the 22 joints, metres [22, 3].
    """
    local = matrix_from_sixd(sixd.unflatten(-1, (NUM_BODY, 6)))
    return forward_kinematics(local, rest, BODY_PARENTS)[1]


def half_joints(sixd: Tensor, part: str, rest: Tensor) -> Tensor:
    """Joint places [..., 22, 3] of one half's rotations [..., 6 J], the other joints at rest."""
    local = torch.eye(3, dtype=sixd.dtype, device=sixd.device).repeat(*sixd.shape[:-1], NUM_BODY, 1, 1)
    joints = list(HALVES[part])
    local[..., joints, :, :] = matrix_from_sixd(sixd.unflatten(-1, (len(joints), 6)))
    return forward_kinematics(local, rest, BODY_PARENTS)[1]


def at_head(joints: Tensor) -> Tensor:
    """Joint places [..., 22, 3] relative to the head joint."""
    return joints - joints[..., HEAD : HEAD + 1, :]


def vqvae_losses(
    made: Tensor,
    truth: Tensor,
    quantised: Tensor,
    tracked: Tensor,
    part: str,
    rest: Tensor,
    weights: VqvaeLosses,
) -> dict[str, Tensor]:
    """The terms of a body half's autoencoder.

    Args:
        made, truth: Rotations of the last frames [B, 6 J].
        quantised: The quantiser's loss per token.
        tracked: Places of head, left and right hand in the last frames, metres [B, 3, 3].
    """
    joints = list(HALVES[part])
    posed, true = half_joints(made, part, rest), half_joints(truth, part, rest)
    terms = {
        "recons": weights.root * smooth_l1_loss(made[:, :6], truth[:, :6])
        + smooth_l1_loss(made[:, 6:], truth[:, 6:]),
        "vq": quantised.mean(),
        "fk": smooth_l1_loss(posed[:, joints], true[:, joints]),
    }
    total = terms["recons"] + weights.codebook * terms["vq"] + weights.fk * terms["fk"]
    if part == "upper":
        placed = at_head(posed)[:, HANDS] + tracked[:, :1]
        terms["hand"] = smooth_l1_loss(placed, tracked[:, 1:])
        total = total + weights.hand * terms["hand"]
    return {"total": total, **terms}


def decoder_losses(made: Tensor, truth: Tensor, rest: Tensor, weights: DecoderLosses) -> dict[str, Tensor]:
    """The terms of the full-body decoder for rotations of the last frames [B, 132]."""
    posed, true = joints_of(made, rest), joints_of(truth, rest)
    rows = (made - truth).unflatten(-1, (NUM_BODY, 6)).norm(dim=-1)
    terms = {
        "root": rows[:, 0].mean(),
        "other": rows[:, 1:].mean(),
        "align": (at_head(posed) - at_head(true)).norm(dim=-1).mean(),
        "fk": (posed - true).norm(dim=-1).mean(),
    }
    # fk is only logged.
    total = weights.root * terms["root"] + weights.other * terms["other"] + weights.align * terms["align"]
    return {"total": total, **terms}


def refiner_losses(
    made: Tensor, truth: Tensor, tracked: Tensor, rest: Tensor, weights: RefinerLosses
) -> dict[str, Tensor]:
    """The terms of the refiner over a sequence.

    Args:
        made, truth: Rotations of the frames [F, 132].
        tracked: Places of head, left and right hand, metres [F, 3, 3].
    """
    posed, true = joints_of(made, rest), joints_of(truth, rest)
    devices = [HEAD, *HANDS]
    placed, wanted = (at_head(joints)[:, devices] + tracked[:, :1] for joints in (posed, true))
    third = posed[3:] - 3 * posed[2:-1] + 3 * posed[1:-2] - posed[:-3]
    # parity: steps of three frames are taken at every third frame only (spec 5.5).
    terms = {
        "recons": smooth_l1_loss(made, truth),
        "vel_1": smooth_l1_loss(made[1:] - made[:-1], truth[1:] - truth[:-1]),
        "vel_2": smooth_l1_loss(made[3::3] - made[:-3:3], truth[3::3] - truth[:-3:3]),
        "fk": (posed - true).norm(dim=-1).mean(),
        "hand_align": smooth_l1_loss(placed, wanted),
        "jitter": third.norm(dim=-1).mean(),
    }
    total = sum((getattr(weights, name) * value for name, value in terms.items()), made.new_zeros(()))
    return {"total": total, **terms}
