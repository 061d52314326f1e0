"""Small networks with random weights in real checkpoint files, for bodies of the open kind."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from avatarctl_ego_hmr.collision.coap import Coap, CoapSizes
from avatarctl_ego_hmr.collision.volumetric import Volumetric, VolumetricSizes
from avatarctl_ego_hmr.model.backbone import BackboneSizes
from avatarctl_ego_hmr.model.diffusion import DiffusionSizes, PoseDiffusion
from avatarctl_ego_hmr.model.scene import SceneNet, SceneSizes
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.checkpoints import Weights

BACKBONE = BackboneSizes(width=4, blocks=(1, 1))
SIZES: dict[str, Any] = {
    "scene": SceneSizes(
        backbone=BACKBONE, point_hidden=4, point_features=8, layers=1, hidden=8, head=8, critic=8
    ),
    "diffusion": DiffusionSizes(
        backbone=BACKBONE, point_hidden=4, point_features=8, place_hidden=4, place_features=8, latent=8,
        hidden=8, layers=1, head=8,
    ),
    "coap": CoapSizes(hidden=4, features=4, query=48, mixed=8, width=32),
    "volumetric": VolumetricSizes(hidden=4, features=4),
}  # fmt: skip


def network(part: str) -> torch.nn.Module:
    """One of the small networks, always the same."""
    made = {
        "scene": SceneNet,
        "diffusion": PoseDiffusion,
        "coap": lambda sizes: Coap(sizes, open_body("smpl")),
        "volumetric": lambda sizes: Volumetric(sizes, open_body("smpl")),
    }[part]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        found = made(SIZES[part])
    if part == "diffusion":
        found.pose_mean.copy_(torch.eye(3)[:, :2].flatten().repeat(24))
        found.pose_std.fill_(1.0)
    return found


def write_weights(path: Path, parts: str = "scene diffusion coap", body: str = "open") -> Path:
    """A native checkpoint; collision networks are called by their kind."""
    tensors: dict[str, dict[str, Tensor]] = {}
    networks = {}
    for part in parts.split():
        name = part if part in ("scene", "diffusion") else "collision"
        tensors[name], networks[name] = network(part).state_dict(), asdict(SIZES[part])
    return Weights(tensors, {"networks": networks, "body": body}, "small", path).write(path)
