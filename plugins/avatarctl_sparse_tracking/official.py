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
FILES = {
    "upper_vqvae": ("upper_vqvae",), "lower_vqvae": ("lower_vqvae",), "first": ("upper",),
    "second": ("lower",), "decoder": tuple(NESTED), "refiner": ("refiner",),
}  # fmt: skip
"""Published folders, and the networks that the file best.pth.tar in each holds."""
HEADS = {"upper_vqvae": 4, "lower_vqvae": 4, "upper": 8, "lower": 8, "decoder": 4}
"""Attention heads, which no tensor shows."""


def sniff(header: Shapes) -> tuple[str, ...]:
    """The networks in a file whose tensors are those of a published SAGE Net file; none in any other."""
    return tuple(_parts(header))


def _parts(names: Mapping[str, Any]) -> dict[str, str]:
    """The network parts in a file, and what stands before their names."""
    started = {name.partition(".")[0] for name in names}
    if NESTED["decoder"] in started and len(started & set(NESTED.values())) > 1:
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
    """The networks of a published file under our names; their sizes, axes and epoch."""
    from avatarctl.checkpoints.official import flatten

    content = load_torch(path)
    tensors = flatten(content)
    parts: dict[str, dict[str, Tensor]] = {}
    for part, prefix in _parts(tensors).items():
        own = {
            name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
        }
        parts[part] = {MAPS[part].ours(name): tensor for name, tensor in own.items()}
    networks = {part: sizes_of(path, part, own) for part, own in parts.items()}
    epoch = content.get("epoch")
    epochs = dict.fromkeys(parts, epoch) if type(epoch) is int else {}
    return parts, {"networks": networks, "frame": "world"} | ({"epoch": epochs} if epochs else {})


def sizes_of(path: Path, part: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Sizes of a network as its tensors show them; heads are always the published number.

    Args:
        path: The file, for the message.

    Raises:
        CheckpointError: A tensor that shows a size is missing, or has other dimensions.
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
            layers = _count(tensors, r"stack\.blocks\.(\d+)\.")
            return {"layers": layers, "width": width, "latent": latents // 3}
        layers = _count(tensors, r"recurrent\.weight_hh_l(\d+)")
        return {"layers": layers, "width": tensors["change.weight"].shape[1]}
    except (KeyError, IndexError, ValueError) as error:
        key = error.args[0] if isinstance(error, KeyError) else ""
        why = f"lack {MAPS[part].theirs(key)}" if key else "lack tensors, or have some of other dimensions"
        raise CheckpointError(
            f"{path}: the {part} weights {why}; expected a whole published checkpoint",
            hint="download the file again",
        ) from error


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    found = [int(match[1]) for name in tensors if (match := re.match(pattern, name))]
    return max(found) + 1 if found else 0


def write(weights: Weights, folder: Path) -> list[Path]:
    """Write the networks that are there in the published layout: FOLDER/decoder/best.pth.tar and so on.

    Raises:
        CheckpointError: The published code could not compute with these networks.
    """
    _check_publishable(weights)
    named = {
        part: {MAPS[part].theirs(name): tensor for name, tensor in own.items()}
        for part, own in weights.parts.items()
    }
    is_whole = set(NESTED) <= set(named)
    written = []
    for name, parts in FILES.items():
        if not set(parts) <= set(named) or (is_whole and name in ("first", "second")):
            continue
        content: dict[str, Any] = named[parts[0]]
        if name == "decoder":
            epoch = weights.config.get("epoch", {}).get("decoder", 0)
            content = {"epoch": epoch} | {key: named[part] for part, key in NESTED.items()}
        path = folder / name / "best.pth.tar"
        with atomic(path) as temporary:
            torch.save(content, temporary)
        written.append(path)
    return written


def _check_publishable(weights: Weights) -> None:
    """Refuse networks of which the published layout cannot say all, and which would be read as others."""
    unknown = [part for part in weights.parts if part not in MAPS]
    networks, why = weights.config.get("networks", {}), ""
    other = [
        f"{part} has {networks[part]['heads']} heads, expected {HEADS[part]}"
        for part in weights.parts
        if part in HEADS and networks.get(part, {}).get("heads", HEADS[part]) != HEADS[part]
    ]
    if unknown or not weights.parts:
        why = f"holds {', '.join(map(repr, unknown)) or 'nothing'}, expected networks of SAGE Net"
    elif (frame := weights.config.get("frame", "world")) != "world":
        why = f"its networks see windows in axes '{frame}', which the published code does not know"
    elif other:
        why = f"{other[0]}: the published code knows no other number"
    elif "decoder" in weights.parts and not set(NESTED) <= set(weights.parts):
        why = "holds a decoder without both diffusion models, which its published file has beside it"
    if why:
        raise CheckpointError(f"{weights.path}: {why}", hint="export it with --to safetensors")
