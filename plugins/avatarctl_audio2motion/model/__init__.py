"""The networks, and how they are built again from what a weights file says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from avatarctl.checkpoints import Weights, load_strict, sizes
from avatarctl.errors import CheckpointError
from avatarctl_audio2motion.model.codec import Codec, CodecSizes
from avatarctl_audio2motion.model.denoiser import BODY, FACE, Condition, Denoiser, DenoiserSizes
from avatarctl_audio2motion.model.guide import Guide, GuideSizes
from avatarctl_audio2motion.model.lip import LipSizes

KINDS: dict[str, tuple[Callable[[Any], nn.Module], Any]] = {
    "face": (Denoiser, FACE),
    "body": (Denoiser, BODY),
    "guide": (Guide, GuideSizes()),
    "codec": (Codec, CodecSizes()),
}
"""Of each network part of a weights file: its class, and the published sizes."""
UNUSED = "unused."
"""Before the names of tensors that published files hold and nothing uses; kept, so that they go back."""
OPTIONAL = {"lip": LipSizes()}
"""Sizes that may be None, and one of their kind."""


def build(part: str, given: Mapping[str, Any]) -> Any:
    """A network with fresh weights.

    Args:
        part: face, body, guide or codec: the part of a weights file.
        given: Its sizes by name, as `asdict` of its sizes gives them; the published ones where left out.
    """
    kind, published = KINDS[part]
    return kind(sizes.with_sizes(published, given, optional=OPTIONAL))


def sizes_in(weights: Weights, part: str) -> Any:
    """The sizes of a network as its file says them.

    Raises:
        CheckpointError: The file has no such network, or the sizes are none that its tensors can have.
    """
    return sizes.sizes_in(weights, part, KINDS[part][1], OPTIONAL)


def load(weights: Weights, part: str, device: torch.device, *, log_compression: bool | None = None) -> Any:
    """A network from a weights file, frozen.

    Args:
        log_compression: Whether the audio front end ends in a logarithm, where neither the network's file nor
            an audio model beside it says so; left out: it does not (spec 4.2).

    Raises:
        CheckpointError: The file has no such network, or its tensors are not those of its sizes.
    """
    found = sizes_in(weights, part)
    networks = weights.config["networks"]
    if hasattr(found, "log_compression") and "log_compression" not in networks[part]:
        stated = networks.get("audio", {}).get("log_compression", log_compression)
        found = replace(found, log_compression=bool(stated))
    return sizes.network(weights, part, KINDS[part][0], found, used(weights.part(part))).to(device)


def used(tensors: Mapping[str, Tensor], before: str = "") -> dict[str, Tensor]:
    """The tensors that are computed with; those of one module, with `before` its name and a dot."""
    return {
        name.removeprefix(before): tensor
        for name, tensor in tensors.items()
        if name.startswith(before) and not name.startswith(UNUSED)
    }


def give_audio(network: nn.Module, weights: Weights) -> None:
    """Copy the audio networks, which are never trained, from any weights that hold them into a network.

    Raises:
        CheckpointError: The weights hold none, or others than the network has.
    """
    wanted: dict[str, tuple[str, ...]] = {"front_end": ("audio", "face", "body", "guide")}
    if getattr(network, "lip", None) is not None:
        wanted["lip"] = ("lip", "face")
    for name, parts in wanted.items():
        holder = next((part for part in parts if part in weights.parts), None)
        if holder is None:
            raise CheckpointError(
                f"{weights.path}: holds {', '.join(weights.parts) or 'nothing'}; expected one of "
                f"{', '.join(parts)}, which have the {name.replace('_', ' ')}",
                hint="published: assets/vq-wav2vec.pt,assets/iter-0200000.pt, or a face checkpoint",
            )
        before = "" if holder == name else f"{name}."
        load_strict(
            network.get_submodule(name), used(weights.part(holder), before), f"{weights.path}: {holder}"
        )


__all__ = [
    "BODY",
    "FACE",
    "Condition",
    "Denoiser",
    "DenoiserSizes",
    "build",
    "give_audio",
    "load",
    "sizes_in",
]
