"""The networks, and how they are built again from what a weights file says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from avatarctl.checkpoints import Weights, load_strict
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
INSPECT = "avatarctl inspect FILE says what a file is"


def build(part: str, sizes: Mapping[str, Any]) -> Any:
    """A network with fresh weights.

    Args:
        part: face, body, guide or codec: the part of a weights file.
        sizes: Its sizes by name, as `asdict` of its sizes gives them; the published ones where left out.
    """
    kind, published = KINDS[part]
    return kind(with_sizes(published, sizes))


def with_sizes(published: Any, given: Mapping[str, Any], most: int = 1 << 20) -> Any:
    """Sizes of the kind of `published` with those given by name.

    Args:
        most: The largest that one may be.

    Raises:
        ValueError: A name is unknown, or a value is none that this size can have.
    """
    known = {item.name: getattr(published, item.name) for item in fields(published)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{unknown[0]}: no such size; expected {', '.join(known)}")
    found = {}
    for name, value in given.items():
        try:
            found[name] = _value(LipSizes() if name == "lip" else known[name], value, most)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return replace(published, **found)


def _value(like: Any, value: Any, most: int) -> Any:
    """A size as JSON says it, in the form of one of its kind."""
    if is_dataclass(like):
        if value is None or isinstance(value, Mapping):
            return None if value is None else with_sizes(like, value, most)
    elif isinstance(like, tuple):
        if isinstance(value, list | tuple) and value:
            return tuple(_value(like[0], item, most) for item in value)
    elif isinstance(like, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(like, float):
        if isinstance(value, int | float) and 0 <= value < 1:
            return float(value)
    elif type(value) is int and 0 <= value <= most:
        return value
    raise ValueError(f"found {str(value)[:40]}, expected a value such as {like}")


def sizes_in(weights: Weights, part: str) -> Any:
    """The sizes of a network as its file says them.

    Raises:
        CheckpointError: The file has no such network, or the sizes are none that its tensors can have.
    """
    networks = weights.config.get("networks")
    found = networks.get(part) if isinstance(networks, dict) else None
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{weights.path}: has no '{part}' network; it holds {', '.join(weights.parts) or 'nothing'}",
            hint=INSPECT,
        )
    tensors = weights.part(part)
    most = max([len(tensors), *(size for tensor in tensors.values() for size in tensor.shape)])
    try:
        return with_sizes(KINDS[part][1], found, most)
    except ValueError as error:
        raise CheckpointError(f"{weights.path}: networks: {part}: {error}", hint=INSPECT) from error


def load(weights: Weights, part: str, device: torch.device, *, log_compression: bool | None = None) -> Any:
    """A network from a weights file, frozen.

    Args:
        log_compression: Whether the audio front end ends in a logarithm, where neither the network's file nor
            an audio model beside it says so; left out: it does not (spec 4.2).

    Raises:
        CheckpointError: The file has no such network, or its tensors are not those of its sizes.
    """
    sizes = sizes_in(weights, part)
    networks = weights.config["networks"]
    if hasattr(sizes, "log_compression") and "log_compression" not in networks[part]:
        stated = networks.get("audio", {}).get("log_compression", log_compression)
        sizes = replace(sizes, log_compression=bool(stated))
    try:
        network = KINDS[part][0](sizes)
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{weights.path}: networks: {part}: no network has these sizes: {error}", hint=INSPECT
        ) from error
    load_strict(network, used(weights.part(part)), f"{weights.path}: {part}", is_shared=True)
    return network.to(device).eval().requires_grad_(False)


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
