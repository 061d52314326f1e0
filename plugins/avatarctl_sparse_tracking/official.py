"""The published checkpoint files: what they are, their names, and their sizes (spec 1.2, 4.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.keymap import KeyMap
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError
from avatarctl.files import atomic

Shapes = Mapping[str, tuple[int, ...]]
_STACK = (
    ("positions", "pos.0.pe"), ("norm", "ln_f"), ("down", "down_conv.conv"), ("up", "up_conv.conv"),
)  # fmt: skip
_VQVAE = KeyMap(
    (
        *_STACK, ("joints_in", "emb"), ("trackers_in", "up_sparse"), ("encoder", "encoder_stacks.0"),
        ("decoder", "decoder_stacks.0"), ("to_latent", "quant_emb"), ("from_latent", "post_quant_emb"),
        ("rotations", "reg_body"), ("codebook.usage", "quantizer.embed_prob"),
        ("codebook.books", "quantizer.embeddings"),
    )
)  # fmt: skip
_CONDITION = (("condition.trackers", "cond_encoder"), ("condition.project", "cond_encoder2"))
_DIFFUSION = (
    *_CONDITION, ("denoiser", "denoiser_upper"), ("time", "embed_timestep.mlp"),
    ("frames_in", "sparse_up_conv"), ("enter", "down_dim"), ("modulation", "adaLN_modulation"),
    ("leave", "last"),
)  # fmt: skip
MAPS = {
    "upper_vqvae": _VQVAE,
    "lower_vqvae": _VQVAE,
    "upper": KeyMap((*_DIFFUSION, ("align", "align_net"))),
    "lower": KeyMap((*_DIFFUSION, ("align", "upper_align_net"), ("join", "down_dim_init"))),
    "decoder": KeyMap(
        (
            *_STACK, *_CONDITION, ("frames_in", "sparse_up_conv"), ("from_latents", "post_quant_emb"),
            ("stack", "decoder_stacks.0"), ("body", "reg_body"), ("root", "reg_root"),
        )
    ),
    "refiner": KeyMap((("recurrent", "refine_net"), ("change", "linear"))),
}  # fmt: skip
NESTED = {"upper": "upper_state_dict", "lower": "lower_state_dict", "decoder": "decoder_state_dict"}
"""Parts of the decoder stage's file."""
ALONE = "state_dict"
"""Where a training checkpoint, and a refiner file of the published trainer, keep their one network."""


def sniff(header: Shapes) -> bool:
    """Whether a file's tensors are those of a published SAGE Net file."""
    return bool(_parts(header))


def _parts(names: Mapping[str, Any]) -> dict[str, str]:
    """The network parts in a file, and what stands before their names."""
    if any(name.startswith(f"{NESTED['decoder']}.") for name in names):
        return {part: f"{key}." for part, key in NESTED.items()}
    for prefix in ("", f"{ALONE}."):
        if f"{prefix}quantizer.embed_prob" in names and f"{prefix}up_sparse.weight" in names:
            joints = names[f"{prefix}up_sparse.weight"]
            rows = (joints.shape if isinstance(joints, Tensor) else joints)[0]
            return {"upper_vqvae" if rows == 14 else "lower_vqvae": prefix}
        if f"{prefix}denoiser_upper.align_net.weight" in names:
            return {"upper": prefix}
        if f"{prefix}denoiser_upper.upper_align_net.weight" in names:
            return {"lower": prefix}
        if f"{prefix}refine_net.weight_ih_l0" in names:
            return {"refiner": prefix}
    return {}


def read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The networks of a published file under our names, and their sizes."""
    from avatarctl.checkpoints.official import flatten

    tensors = flatten(load_torch(path))
    parts: dict[str, dict[str, Tensor]] = {}
    for part, prefix in _parts(tensors).items():
        own = {
            name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
        }
        if not prefix:  # a bare file has nothing beside its one network
            own = tensors
        parts[part] = {MAPS[part].ours(name): tensor for name, tensor in own.items()}
    return parts, {"networks": {part: sizes_of(path, part, own) for part, own in parts.items()}}


def sizes_of(path: Path, part: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Sizes of a network as its tensors show them; heads are always the published number.

    Args:
        path: The file, for the message.
    """
    try:
        if part.endswith("_vqvae"):
            books = [name for name in tensors if name.startswith("codebook.books.")]
            codes, _ = tensors[books[0]].shape
            latent, width = tensors["to_latent.weight"].shape
            layers = _count(tensors, r"encoder\.blocks\.(\d+)\.")
            return {"layers": layers, "width": width, "books": len(books), "codes": codes, "latent": latent}
        if part in ("upper", "lower"):
            latent, width = tensors["denoiser.leave.weight"].shape
            return {"depth": _count(tensors, r"denoiser\.blocks\.(\d+)\."), "width": width, "latent": latent}
        if part == "decoder":
            width, latents = tensors["from_latents.weight"].shape
            return {
                "layers": _count(tensors, r"stack\.blocks\.(\d+)\."),
                "width": width,
                "latent": latents // 3,
            }
        layers = _count(tensors, r"recurrent\.weight_hh_l(\d+)")
        return {"layers": layers, "width": tensors["change.weight"].shape[1]}
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the {part} weights lack {error}; expected a whole published checkpoint",
            hint="download the file again",
        ) from error


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    found = [int(match[1]) for name in tensors if (match := re.match(pattern, name))]
    return max(found) + 1 if found else 0


def write(weights: Weights, path: str | Path) -> Path:
    """Write networks in the published layout: the decoder stage's three together, or one alone.

    Raises:
        CheckpointError: The parts are none that a published file holds together.
    """
    named = {
        part: {MAPS[part].theirs(name): tensor for name, tensor in weights.part(part).items()}
        for part in weights.parts
    }
    if set(named) == set(NESTED):
        content: dict[str, Any] = {"epoch": 0} | {NESTED[part]: own for part, own in named.items()}
    elif len(named) == 1:
        content = next(iter(named.values()))
    else:
        raise CheckpointError(
            f"{weights.path}: holds {', '.join(named)}; expected upper, lower and decoder, or one network",
            hint="write the parts to files of their own",
        )
    with atomic(path) as temporary:
        torch.save(content, temporary)
    return Path(path)
