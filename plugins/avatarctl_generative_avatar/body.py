"""Bodies of labels: SMPL with a scale, where faces are, and crops around them (spec 4.7, 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from avatarctl.body import Bodies, BodyModel, open_body
from avatarctl.errors import AssetError, DataError
from avatarctl.geometry.shapes import expect
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.settings_model import Kind

FACE = (332, 6260, 2800, 4071, 583)
"""Vertices of the nose, the right and left eye, the right and left ear: joints 24 to 28."""
FACE_SHARE = 8
"""The side of a picture over that of its face crop."""
VERTICES = 6890
"""Vertices of SMPL, of which `FACE` are some."""


@dataclass(frozen=True)
class Scaled:
    """Bodies in the labels' world, metres.

    `vertices` [N, 6890, 3], `joints` [N, 29, 3], the last five on the face, and the joints' motions from rest
    `transforms` [N, 24, 4, 4].
    """

    vertices: Tensor
    joints: Tensor
    transforms: Tensor
    weights: Tensor

    @cached_property
    def vertex_transforms(self) -> Tensor:
        """The vertices' motions from rest, shape and pose corrections included in rest [N, 6890, 4, 4]."""
        return (self.weights @ self.transforms.flatten(-2)).unflatten(-1, (4, 4))


@torch.no_grad()
def scaled_body(body: BodyModel, labels: Tensor) -> Scaled:
    """The bodies of labels [N, 111]; no gradient flows to these."""
    labels = label.check(labels)
    scale = label.scale(labels)
    posed = body.shape(label.betas(labels)).pose(label.poses(labels), label.transl(labels))
    shift = posed.joints - (posed.rotations @ posed.shaped.joints.unsqueeze(-1)).squeeze(-1)
    vertices = posed.vertices()
    joints = torch.cat([posed.joints, vertices[:, list(FACE)]], dim=1)
    transforms = torch.eye(4, device=labels.device, dtype=labels.dtype).repeat(*shift.shape[:2], 1, 1)
    # parity: rotations take the scale, translations do not; it matters where the scale is not 1 (spec 4.7).
    transforms[..., :3, :3] = posed.rotations * scale[..., None, None]
    transforms[..., :3, 3] = shift
    return Scaled(vertices * scale[:, None], joints * scale[:, None], transforms, body.weights)


def face_centres(body: BodyModel, labels: Tensor) -> Tensor:
    """Where faces are, x and y in [0, 1] over the picture [N, 2]."""
    plain = labels.clone()
    plain[:, label.SCALE] = 1  # parity: the scale is not applied here (spec 5.2)
    return scaled_body(body, plain).joints[:, label.JOINTS :, :2].mean(dim=1) * 0.5 + 0.5


def crops(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """Parts of pictures, resampled bilinearly, 0 outside [N, C, 2 h, 2 h] with h = size // 2.

    Differentiable in the images as often as wanted.

    Args:
        images: [N, C, H, W].
        centres: x and y in [0, 1] over the picture [N, 2].
        size: Pixels from edge to edge.
    """
    expect(images, f"{len(centres)} C H W", "images")
    half, (height, width) = size // 2, images.shape[-2:]
    steps = torch.arange(2 * half, device=images.device, dtype=images.dtype)
    # parity: outermost samples lie on the edges, which are 2 h apart and not 2 h - 1 (spec 5.2).
    places = steps * (2 * half / (2 * half - 1)) - half
    x, y = (centres.to(images).detach() * images.new_tensor([width, height])).unbind(-1)
    return (
        _hats(y[:, None] + places, height)[:, None] @ images @ _hats(x[:, None] + places, width)[:, None].mT
    )


def _hats(places: Tensor, count: int) -> Tensor:
    """Bilinear weights of pixels at places in pixels [N, M] along one axis [N, M, count]."""
    pixels = torch.arange(count, device=places.device, dtype=places.dtype)
    return (1 - (places.unsqueeze(-1) - pixels).abs()).clamp_min(0)


def load_body(bodies: Bodies, kind: Kind, folder: str | Path | None = None) -> BodyModel:
    """The body that labels are of: the embedded open one, or the user's licensed one.

    Args:
        folder: Where licensed models lie; left out: the added assets.

    Raises:
        AssetError: The licensed model is not there.
        DataError: It is no SMPL body.
    """
    body = open_body("smpl") if kind == "open" else _licensed(bodies, folder)
    if len(body.template) != VERTICES or body.num_betas < label.BETAS:
        raise DataError(
            f"{body.source}: {len(body.template)} vertices, {body.num_betas} shape coefficients; labels are "
            f"of SMPL bodies, which have {VERTICES} and {label.BETAS}",
            hint="avatarctl assets says where the body comes from",
        )
    return body


def _licensed(bodies: Bodies, folder: str | Path | None) -> BodyModel:
    try:
        return bodies.load("smpl", "neutral", folder, is_licensed=True)
    except AssetError as error:
        raise AssetError(
            f"{error.message}\nthe published networks were trained with basicModel_f_lbs_10_207_0_v1.0.0.pkl "
            "under the name SMPL_NEUTRAL.pkl",
            hint=f"{error.hint}; or take the open body: --body open",
        ) from error
