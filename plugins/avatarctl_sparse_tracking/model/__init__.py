"""The networks, and how they are built again from what a weights file says of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from avatarctl.checkpoints import Weights, load_strict
from avatarctl.checkpoints.official import INSPECT
from avatarctl.checkpoints.sizes import stated
from avatarctl.errors import CheckpointError
from avatarctl_sparse_tracking.model.decoder import Decoder, Refiner
from avatarctl_sparse_tracking.model.denoiser import WINDOW, LatentDiffusion
from avatarctl_sparse_tracking.model.vqvae import Vqvae
from avatarctl_sparse_tracking.settings_train import misfit

KINDS: dict[str, Callable[..., nn.Module]] = {
    "upper_vqvae": Vqvae, "lower_vqvae": Vqvae, "upper": LatentDiffusion, "lower": LatentDiffusion,
    "decoder": Decoder, "refiner": Refiner,
}  # fmt: skip


def build(part: str, sizes: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        part: upper_vqvae, lower_vqvae, upper, lower, decoder or refiner: the part of a weights file.
        sizes: Its sizes by name; the published ones where left out.
    """
    half = [part.removesuffix("_vqvae")] if part.startswith(("upper", "lower")) else []
    return KINDS[part](*half, **sizes)


def sizes_in(weights: Weights, part: str) -> dict[str, Any]:
    """The sizes of a network as its file says them.

    Raises:
        CheckpointError: The file has no such network, or the sizes are none that its tensors can have.
    """
    found, most = stated(weights, part)
    known = {
        name: about.default
        for name, about in inspect.signature(KINDS[part]).parameters.items()
        if name != "part"
    }
    wrong = [
        f"{name}: found {str(value)[:40]}, " + (f"expected 1 to {most}" if name in known else "no such size")
        for name, value in found.items()
        if name not in known or not _is_size(name, value, most)
    ]
    wrong = wrong or [why for why in [misfit({**known, **found})] if why]
    if wrong:
        raise CheckpointError(f"{weights.path}: networks: {part}: {wrong[0]}", hint=INSPECT)
    return found


def _is_size(name: str, value: Any, most: int) -> bool:
    if name == "dropout":
        return isinstance(value, int | float) and 0 <= value <= 1
    return type(value) is int and 1 <= value <= most


def load(weights: Weights, part: str, device: torch.device) -> Any:
    """A network from a weights file, frozen."""
    network = build(part, sizes_in(weights, part))
    load_strict(network, weights.part(part), f"{weights.path}: {part}")
    return network.to(device).eval().requires_grad_(False)


def frame_of(*files: Weights) -> str:
    """The axes that networks were trained in, which must agree."""
    frames = {str(weights.config.get("frame", "world")) for weights in files}
    if len(frames) > 1:
        names = ", ".join(f"{weights.path} ({weights.config.get('frame', 'world')})" for weights in files)
        raise CheckpointError(
            f"these networks see windows in different axes: {names}", hint="choose matching weights"
        )
    return frames.pop()


__all__ = ["WINDOW", "Decoder", "LatentDiffusion", "Refiner", "Vqvae", "build", "frame_of", "load"]
