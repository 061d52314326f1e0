"""Stage 1, "ProHMR-scene": a flow over poses given picture and room; shape and place beside it (spec 4.4).

Kolotouros et al., "Probabilistic Modeling for Human Mesh Recovery" (ICCV 2021), told of the scene as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl_ego_hmr.model.backbone import Backbone, BackboneSizes
from avatarctl_ego_hmr.model.camera import full_translation
from avatarctl_ego_hmr.model.discriminator import Discriminator
from avatarctl_ego_hmr.model.flow import Flow
from avatarctl_ego_hmr.model.points import PointEncoder
from avatarctl_ego_hmr.views import View

JOINTS, BETAS = 24, 10
NUMBERS = 6 * JOINTS
"""A pose: the first two columns of each joint's rotation, one after the other, root first."""
SCALE = 0.9
"""Of a body in its crop, before training."""


@dataclass(frozen=True)
class SceneSizes:
    """Sizes of the network; the published ones by default."""

    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    point_hidden: int = 256
    point_features: int = 512
    layers: int = 4
    hidden: int = 1024
    depth: int = 2
    head: int = 1024
    critic: int = 1024
    dropout: float = 0.5
    with_focal_length: bool = True
    with_cam_center: bool = True
    with_bbox_info: bool = True

    @property
    def condition(self) -> int:
        """Numbers of the condition."""
        lens = self.with_focal_length + 2 * self.with_cam_center + 3 * self.with_bbox_info
        return lens + self.backbone.features + self.point_features


@dataclass(frozen=True)
class Prediction:
    """Bodies of each person, the likeliest first; shape and place are one for all of them."""

    matrices: Tensor
    """Local rotations, root first [B, S, 24, 3, 3]."""
    sixd: Tensor
    """The numbers that they were made of, in columns [B, S, 144]."""
    betas: Tensor
    """Shape [B, 10]."""
    camera: Tensor
    """Scale and shift in the crop (s, tx, ty) [B, 3]."""
    transl: Tensor
    """Translation in camera axes, metres [B, 3]."""
    log_prob: Tensor
    """Log density of each pose [B, S]."""

    @property
    def columns(self) -> Tensor:
        """The 6D numbers as matrices of two columns [B, S, 24, 3, 2]."""
        return self.sixd.unflatten(-1, (JOINTS, 2, 3)).mT


class Head(nn.Module):
    """Shape and camera, from the condition alone."""

    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, condition: int, hidden: int) -> None:
        super().__init__()
        last = nn.Linear(hidden, BETAS + 3)
        nn.init.xavier_uniform_(last.weight, gain=0.02)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(condition, hidden), nn.ReLU(), last)
        self.register_buffer("init_betas", torch.zeros(1, 1, BETAS))
        self.register_buffer("init_cam", torch.tensor([[[SCALE, 0.0, 0.0]]]))

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Betas [B, 10] and camera [B, 3]."""
        made = self.layers(condition)
        return made[:, :BETAS] + self.init_betas[0], made[:, BETAS:] + self.init_cam[0]


class PoseFlow(nn.Module):
    """The flow over poses, and the head."""

    def __init__(self, sizes: SceneSizes) -> None:
        super().__init__()
        self.flow = Flow(
            NUMBERS,
            sizes.condition,
            layers=sizes.layers,
            hidden=sizes.hidden,
            depth=sizes.depth,
            dropout=sizes.dropout,
        )
        self.fc_head = Head(sizes.condition, sizes.head)


class SceneNet(nn.Module):
    """Bodies and their place, of people seen in a picture and the room around them."""

    initialized: Tensor

    def __init__(self, sizes: SceneSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes or SceneSizes()
        self.backbone = Backbone(self.sizes.backbone)
        self.scene_enc = PointEncoder(self.sizes.point_hidden, self.sizes.point_features)
        self.flow = PoseFlow(self.sizes)
        self.discriminator = Discriminator(self.sizes.critic)
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, view: View, latents: Tensor | None = None) -> Prediction:
        """What the network says of people; arguments as in `predict`."""
        return self.predict(self.condition(view), view, latents)

    def condition(self, view: View) -> Tensor:
        """What the flow and the head are told [B, C]: camera and box, picture, room."""
        sizes = self.sizes
        lens = view.lens(sizes.with_focal_length, sizes.with_cam_center, sizes.with_bbox_info)
        return torch.cat([lens, self.backbone(view.image), self.scene_enc(view.points)], dim=1)

    def predict(self, condition: Tensor, view: View, latents: Tensor | None = None) -> Prediction:
        """Bodies for each row of a condition: the likeliest pose, then one for each latent.

        Args:
            condition: From `condition` [B, C].
            latents: Standard normal draws [B, S - 1, 144]; left out: the likeliest pose alone.
        """
        # parity: drawn poses pass the flow before the likeliest, which norms notice in training (spec 4.4).
        found = [] if latents is None else [self._poses(latents, condition)]
        found.insert(0, self._poses(condition.new_zeros(len(condition), 1, NUMBERS), condition))
        sixd, log_prob = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        betas, camera = self.flow.fc_head(condition)
        return Prediction(
            matrices=matrix_from_sixd(sixd.unflatten(-1, (JOINTS, 6)), "columns"),
            sixd=sixd,
            betas=betas,
            camera=camera,
            transl=full_translation(camera, view.focal, view.centre, view.box_centre, view.box_size),
            log_prob=log_prob,
        )

    def _poses(self, latents: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """6D poses [B, S, 144] of latents [B, S, 144], and their log densities [B, S]."""
        count = latents.shape[1]
        rows = condition.repeat_interleave(count, dim=0)
        sixd, log_prob = self.flow.flow.sample(latents.flatten(0, 1), rows)
        return sixd.unflatten(0, (-1, count)), log_prob.unflatten(0, (-1, count))

    def log_prob(self, sixd: Tensor, condition: Tensor) -> Tensor:
        """Log density [B] of a 6D pose [B, 144] of each condition [B, C]."""
        return self.flow.flow.log_prob(sixd, condition)[0]

    @torch.no_grad()
    def initialise(self, sixd: Tensor, condition: Tensor) -> None:
        """Start the flow's norms from a first batch of true 6D poses [B, 144] and conditions [B, C]."""
        if not bool(self.initialized):
            self.flow.flow.initialise(sixd, condition)
            self.initialized.fill_(True)
