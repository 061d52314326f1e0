"""What networks a file of weights holds, in words, and which commands take them (spec 1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.errors import CheckpointError
from avatarctl_sparse_tracking.official import MAPS, NESTED

WORDS = {
    "upper_vqvae": "VQ-VAE of the upper body", "lower_vqvae": "VQ-VAE of the lower body",
    "upper": "upper diffusion", "lower": "lower diffusion", "decoder": "decoder", "refiner": "refiner",
}  # fmt: skip
STAGES = {
    tuple(NESTED): "decoder stage: upper and lower diffusion, decoder",
    (*NESTED, "refiner"): "whole chain: upper and lower diffusion, decoder, refiner",
    tuple(MAPS): "all stages: both VQ-VAEs, both diffusion models, decoder, refiner",
}
"""What sets of networks are called."""
BUFFERS = ("positions", "codebook.usage")
"""Ends of the names of tensors that are no parameters."""
_VQVAE_SIZES = {"width": 256, "books": 8, "codes": 64, "latent": 384}
PUBLISHED = {
    "upper_vqvae": _VQVAE_SIZES, "lower_vqvae": _VQVAE_SIZES,
    "upper": {"depth": 12, "width": 512, "latent": 384}, "lower": {"depth": 12, "width": 512, "latent": 384},
    "decoder": {"layers": 4, "width": 256, "latent": 384}, "refiner": {"width": 512},
}  # fmt: skip
"""Sizes in every published configuration (spec 4.8)."""
_SIX = {"upper_vqvae": {"layers": 6}, "lower_vqvae": {"layers": 6}}
SETTINGS = {
    "S1": {"upper_vqvae": {"layers": 4}, "lower_vqvae": {"layers": 4}, "refiner": {"layers": 2}},
    "S2": {**_SIX, "refiner": {"layers": 2}},
    "S3": {**_SIX, "refiner": {"layers": 3}},
}
"""Numbers of blocks that tell the settings apart (spec 1.2)."""


def require_chain(weights: Weights) -> None:
    """Refuse weights that cannot estimate a motion.

    Raises:
        CheckpointError: One of the three networks of the decoder stage is missing.
    """
    hint = "name weights of the decoder stage (published: decoder/best.pth.tar), or a folder with them"
    require(weights, tuple(NESTED), hint)


def require(weights: Weights, parts: tuple[str, ...], hint: str) -> None:
    """Refuse weights that lack a network.

    Raises:
        CheckpointError: They do; it names all that are missing.
    """
    missing = [part for part in parts if not weights.holds(part)]
    if missing:
        held = ", ".join(WORDS.get(part, part) for part in weights.parts) or "nothing"
        lacking = ", ".join(WORDS[part] for part in missing)
        raise CheckpointError(f"{weights.path}: holds {held}; lacks {lacking}", hint=hint)


def describe(weights: Weights) -> tuple[str, dict[str, Any], list[str]] | None:
    """What networks these are, facts about them, and the commands that take them; None for no SAGE Net."""
    networks = weights.config.get("networks")
    if not weights.parts or not set(weights.parts) <= set(MAPS) or not isinstance(networks, dict):
        return None
    facts: dict[str, Any] = {
        WORDS[part]: _words(tensors, networks.get(part, {})) for part, tensors in weights.parts.items()
    }
    fitting = [
        name for name in SETTINGS if all(_fits(part, networks.get(part, {}), name) for part in weights.parts)
    ]
    facts["sizes"] = f"published, of {' or '.join(fitting)}" if fitting else "of no published setting"
    is_published = str(weights.config.get("frame", "world")) == "world"
    facts["axes"] = "of the room (published)" if is_published else "of the head"
    epochs = sorted(set(weights.config.get("epoch", {}).values()))
    facts |= {"epoch": ", ".join(map(str, epochs))} if epochs else {}
    if set(weights.parts) == {"refiner"}:
        facts["goes with"] = "a file of the decoder stage: --weights DECODER,REFINER"
    stage = next((name for parts, name in STAGES.items() if set(parts) == set(weights.parts)), "")
    what = stage or ", ".join(WORDS[part] for part in weights.parts)
    return f"SAGE Net, {what}", facts, _commands(weights.parts)


def _words(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> str:
    """Parameters, blocks and width of a network."""
    count = sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith(BUFFERS))
    blocks = sizes.get("layers", sizes.get("depth"))
    return f"{count:,} parameters, {blocks} blocks, width {sizes.get('width')}"


def _fits(part: str, sizes: Mapping[str, Any], setting: str) -> bool:
    """Whether a network has the sizes of a published setting."""
    layers = SETTINGS[setting].get(part, {})
    wanted = {**PUBLISHED[part], **layers}
    return all(sizes.get(name, value) == value for name, value in wanted.items())


def _commands(parts: Mapping[str, Any]) -> list[str]:
    if set(NESTED) <= set(parts):
        more = [] if "refiner" in parts else ["avatarctl train sparse --stage refiner --decoder"]
        return ["avatarctl infer sparse", "avatarctl eval sparse", *more]
    if set(parts) == {"refiner"}:
        return ["avatarctl infer sparse", "avatarctl eval sparse"]
    diffusion = [
        f"avatarctl train sparse --stage diffusion --part {half} --vqvae"
        for half in ("upper", "lower")
        if f"{half}_vqvae" in parts
    ]
    if "upper" in parts:
        diffusion.append("avatarctl train sparse --stage diffusion --part lower --upper")
    decoder = [
        f"avatarctl train sparse --stage decoder --{half}" for half in ("upper", "lower") if half in parts
    ]
    return [*diffusion, *decoder]
