"""Stage 2, EgoHMR: poses from noise, told of the picture, the room and the body's place (spec 4.5).

What the picture and the room say depends on neither the pose nor the step. The first layer is linear, so what
it makes of that is computed once for an image (`PoseDiffusion.condition`) and added in each step; the pose's
embedding is linear too, so that layer is applied to the embedding's weights, then to 6 numbers of each joint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl_ego_hmr.model.backbone import Backbone, BackboneSizes
from avatarctl_ego_hmr.model.graph import JOINTS, GraphNet
from avatarctl_ego_hmr.model.points import PointEncoder
from avatarctl_ego_hmr.model.visibility import visible
from avatarctl_ego_hmr.views import View

BETAS = 10
NUMBERS = 6 * JOINTS
"""A pose: rows of the first two columns of each joint's rotation (interleaved), root first."""
PERIOD = 10000.0
"""Of the slowest sine that tells steps apart."""
TABLE = 5000
"""Steps in the published table of sines."""


@dataclass(frozen=True)
class DiffusionSizes:
    """Sizes of the network; the published ones by default."""

    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    point_hidden: int = 256
    point_features: int = 512
    place_hidden: int = 64
    place_features: int = 128
    latent: int = 512
    """Of the embeddings of a joint's pose and of the step."""
    hidden: int = 1024
    layers: int = 4
    non_local: bool = False
    head: int = 1024
    with_focal_length: bool = True
    with_cam_center: bool = True
    with_bbox_info: bool = True
    scene_cano: bool = True
    """Scene points are given as seen from the body's place; else from the camera."""
    only_mask_img_cond: bool = True
    """What is withheld is the image alone; else all of the condition."""

    @property
    def image(self) -> int:
        """Numbers of the condition that are of the image."""
        return self.backbone.features

    @property
    def condition(self) -> int:
        """Numbers of the condition of a joint."""
        lens = self.with_focal_length + 2 * self.with_cam_center + 3 * self.with_bbox_info
        return self.image + self.point_features + self.place_features + lens


@dataclass(frozen=True)
class Features:
    """What is told of each person: numbers of the `image` [B, I], and all `other` ones [B, C]."""

    image: Tensor
    other: Tensor


@dataclass(frozen=True)
class Condition:
    """What does not depend on pose and step, one row for each body; rows may be repeated."""

    told: Tensor
    """Share of the first layer [B, 24, H]."""
    untold: Tensor
    """The same where the image is withheld [B, 24, H]."""
    visible: Tensor
    """Which joints are seen in the image, bool [B, 24]."""
    betas: Tensor
    """Shape [B, 10]."""

    def __len__(self) -> int:
        return len(self.told)

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        return replace(self, **{name: tensor[rows] for name, tensor in vars(self).items()})


class PlaceEncoder(nn.Module):
    """Features of the body's place."""

    def __init__(self, hidden: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, features))

    def forward(self, transl: Tensor) -> Tensor:
        """Features [B, features] of translations in camera axes, metres [B, 3]."""
        made: Tensor = self.layers(transl)
        return made


class ShapeHead(nn.Module):
    """Shape, from the condition alone."""

    init_betas: Tensor

    def __init__(self, condition: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(condition, hidden), nn.ReLU(), nn.Linear(hidden, BETAS))
        self.register_buffer("init_betas", torch.zeros(1, BETAS))

    def forward(self, condition: Tensor) -> Tensor:
        """Betas [B, 10]."""
        made: Tensor = self.layers(condition) + self.init_betas
        return made


class StepEmbedding(nn.Module):
    """Features of steps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time_embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, steps: Tensor) -> Tensor:
        """Features [B, width] of original steps, int64 [B]."""
        made: Tensor = self.time_embed(sinusoids(steps, self.width))
        return made


class PoseDiffusion(nn.Module):
    """From a noisy pose to the clean one, given what is seen of a person and the room around it."""

    pose_mean: Tensor
    pose_std: Tensor
    _embedded: tuple[Tensor, Tensor] | None = None
    """That of `_embedding` while `packed` lasts."""

    def __init__(self, sizes: DiffusionSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or DiffusionSizes()
        self.backbone = Backbone(sizes.backbone)
        self.scene_enc = PointEncoder(sizes.point_hidden, sizes.point_features)
        self.transl_enc = PlaceEncoder(sizes.place_hidden, sizes.place_features)
        self.beta_layer = ShapeHead(sizes.condition, sizes.head)
        self.input_process = nn.ModuleDict({"poseEmbedding": nn.Linear(6, sizes.latent)})
        self.embed_timestep = StepEmbedding(sizes.latent)
        given = sizes.condition + 2 * sizes.latent
        self.diffusion_model = GraphNet(given, sizes.hidden, sizes.layers, sizes.non_local)
        self.register_buffer("pose_mean", torch.zeros(NUMBERS))
        self.register_buffer("pose_std", torch.ones(NUMBERS))

    def features(self, view: View, transl: Tensor) -> Features:
        """What is told of people whose bodies are at translations in camera axes, metres [B, 3]."""
        sizes = self.sizes
        points = view.points - transl[:, None] if sizes.scene_cano else view.points
        lens = view.lens(sizes.with_focal_length, sizes.with_cam_center, sizes.with_bbox_info)
        other = torch.cat([self.scene_enc(points), self.transl_enc(transl), lens], dim=1)
        return Features(self.backbone(view.image), other)

    def condition(self, view: View, transl: Tensor, *, loosen: bool, mask: Tensor | None = None) -> Condition:
        """All that does not depend on pose and step.

        Args:
            transl: Where the bodies are, camera axes, metres [B, 3].
            loosen: Hips count as seen where the knees are.
            mask: People of whom the image is told, bool [B]; left out: all.
        """
        return self.conditioned(self.features(view, transl), visible(view.detected, loosen), mask)

    def conditioned(self, features: Features, seen: Tensor, mask: Tensor | None = None) -> Condition:
        """The same from features, and which joints are seen, bool [B, 24]."""
        first = self.diffusion_model.first
        other = first.mapped(features.other[:, None], self.sizes.image)
        untold = first.mixed(*other)
        # Joints that are not seen are told nothing of the image.
        own, others = (
            shared + seen[..., None] * mapped
            for shared, mapped in zip(other, first.mapped(features.image[:, None]), strict=True)
        )
        told = first.mixed(own, others)
        if not self.sizes.only_mask_img_cond:
            untold = torch.zeros_like(untold)
        if mask is not None:
            told = torch.where(mask[:, None, None], told, untold)
        betas = self.beta_layer(torch.cat([features.image, features.other], dim=1))
        return Condition(told + first.bias, untold + first.bias, seen, betas)

    def forward(self, x: Tensor, steps: Tensor, condition: Condition, *, fuse: bool = False) -> Tensor:
        """Clean poses [B, 144] of noisy ones, both normalised.

        Args:
            x: Noisy poses [B, 144].
            steps: Their steps among the original ones, int64 [B].
            fuse: Take joints that are not seen from a second pass without the image; for evaluation.
        """
        own = self._own(x.unflatten(1, (JOINTS, 6)), steps)
        if not fuse:
            return self.diffusion_model.after_first(condition.told + own).flatten(1)
        hidden = ~condition.visible
        some = hidden.any(dim=1)  # bodies that are seen whole need no second pass
        # Both passes as one batch: the statistics of its norms are fixed in evaluation.
        both = torch.cat([condition.told + own, (condition.untold + own)[some]])
        made = self.diffusion_model.after_first(both)
        told, untold = made[: len(x)], made[len(x) :]
        return told.masked_scatter(hidden[..., None], untold[hidden[some]]).flatten(1)

    def _own(self, pose: Tensor, steps: Tensor) -> Tensor:
        """Share of the first layer that pose [B, 24, 6] and step [B] have [B, 24, H]."""
        first, place = self.diffusion_model.first, self.sizes.condition + self.sizes.latent
        moment = first.mapped(self.embed_timestep(steps)[:, None], place)  # [B, 1, H] each
        own, others = (
            pose @ numbers[:6] + (numbers[6] + offset)
            for numbers, offset in zip(self._embedded or self._embedding(), moment, strict=True)
        )
        return first.mixed(own, others)

    def _embedding(self) -> tuple[Tensor, Tensor]:
        """What the first layer makes of the six numbers of a joint's pose, and of their bias [7, H] each."""
        embedding = self.input_process["poseEmbedding"]
        assert isinstance(embedding, nn.Linear)
        numbers = torch.cat([embedding.weight.mT, embedding.bias[None]])
        return self.diffusion_model.first.mapped(numbers, self.sizes.condition)

    @contextmanager
    def packed(self, bodies: int) -> Iterator[None]:
        """For many steps of so many poses, those of a second pass counted; see `GraphNet.packed`."""
        self._embedded = self._embedding()
        try:
            with self.diffusion_model.packed(bodies):
                yield
        finally:
            self._embedded = None

    def betas(self, condition: Condition) -> Tensor:
        """Shapes [B, 10]."""
        return condition.betas

    def poses_from(self, x: Tensor) -> Tensor:
        """Poses as 6D rotations [B, 144] of normalised ones [B, 144]."""
        return x * self.pose_std + self.pose_mean

    def normalised(self, matrices: Tensor) -> Tensor:
        """Normalised poses [B, 144] of local rotations [B, 24, 3, 3]."""
        return (matrices[..., :2].flatten(1) - self.pose_mean) / self.pose_std

    def matrices(self, x: Tensor) -> Tensor:
        """Local rotations, root first [B, 24, 3, 3], of normalised poses [B, 144]."""
        return matrix_from_sixd(self.poses_from(x).unflatten(1, (JOINTS, 6)), "interleaved")


def time_table(width: int) -> Tensor:
    """The table that published checkpoints hold [5000, width]."""
    return sinusoids(torch.arange(TABLE), width)


def sinusoids(steps: Tensor, width: int) -> Tensor:
    """Sines and cosines in turn [B, width] of steps [B]."""
    rates = torch.exp(torch.arange(0, width, 2, device=steps.device) * (-math.log(PERIOD) / width))
    angles = steps[:, None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
