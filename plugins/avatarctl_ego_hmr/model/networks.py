"""The networks of both stages, built from sizes and loaded from weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from avatarctl.checkpoints import Weights, sizes
from avatarctl_ego_hmr.model.diffusion import DiffusionSizes, PoseDiffusion
from avatarctl_ego_hmr.model.scene import SceneNet, SceneSizes

KINDS: dict[str, tuple[Callable[[Any], nn.Module], Any]] = {
    "scene": (SceneNet, SceneSizes()),
    "diffusion": (PoseDiffusion, DiffusionSizes()),
}
"""Of each part of a weights file: its class, and the published sizes."""


def build(part: str, given: Mapping[str, Any]) -> Any:
    """A network with fresh weights.

    Args:
        part: scene or diffusion: the part of a weights file.
        given: Its sizes by name, as `asdict` of its sizes gives them; the published ones where left out.
    """
    kind, published = KINDS[part]
    return kind(sizes.with_sizes(published, given))


def load(weights: Weights, part: str, device: torch.device) -> Any:
    """A network from a weights file, frozen.

    Raises:
        CheckpointError: The file has no such network, or its tensors are not those of its sizes.
    """
    kind, published = KINDS[part]
    found = sizes.sizes_in(weights, part, published)
    return sizes.network(weights, part, kind, found).to(device)
