"""Published files of guide and codec: their names, nesting and sizes (spec 1.3, 4.4, 4.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avatarctl.checkpoints.keymap import KeyMap
from avatarctl_audio2motion.model.guide import GuideSizes

MAPS = {
    "codec": KeyMap(
        (
            ("encoder", "encoder.enc"), ("decoder", "decoder.dec"),
            ("mean_shape", "decoder.project_mean_shape"), ("codebook.books", "quantizer.layers"),
            ("codes", "_codebook.embed"), ("sums", "_codebook.embed_avg"),
            ("sizes", "_codebook.cluster_size"), ("started", "_codebook.inited"),
        )
    ),
    "guide": KeyMap(
        (
            ("front_end", "audio_model.feature_extractor"), ("unused", "audio_model"),
            ("audio_stack", "pre_audio"),
            ("codes_in", "token_embedding"), ("codes_out", "final_layer"),
            ("null_tokens", "null_cond_embed"), ("null_pooled", "null_cond_hidden"),
            ("condition_in", "cond_projection"), ("condition_norm", "norm_cond"),
            ("pool", "non_attn_cond_projection"), ("layers", "seqTransDecoder.stack"),
            ("cross_attn", "multihead_attn"),
        )
    ),
}  # fmt: skip
NESTED = {"codec": "net", "guide": "model_state_dict"}
"""The entry of a published file that holds the network."""
MARKS = {"codec": "quantizer.layers.0._codebook.embed", "guide": "token_embedding.weight"}
"""A tensor by which each network is known."""
FILES = {
    "codec": "vq/{person}_pose/net_iter{step}.pth",
    "guide": "guide/{person}_pose/checkpoints/iter-{step:07d}.pt",
}
"""Where the published folder has them."""
CONVOLUTIONS = 6
"""In one audio layer of the guide."""


def sizes_of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of guide or codec as their tensors, under our names, show them.

    Heads and codes per key pose cannot be seen in a guide and are the published ones.

    Raises:
        KeyError: A tensor that shows a size is missing.
        ValueError: One has other dimensions.
    """
    if part == "codec":
        width, channels, _ = tensors["encoder.0.weight"].shape
        codes, _ = tensors["codebook.books.0.codes"].shape
        return {
            "channels": channels,
            "width": width,
            "codes": codes,
            "depth": _count(tensors, "codebook.books"),
        }
    starts, width = tensors["codes_in.weight"].shape
    feedforward, _ = tensors["layers.0.linear1.weight"].shape
    convolutions = sum(bool(re.fullmatch(r"audio_stack\.\d+\.weight", name)) for name in tensors)
    return {
        "width": width,
        "feedforward": feedforward,
        "layers": _count(tensors, "layers"),
        "codes": starts - 1,
        "audio_layers": (convolutions - 1) // CONVOLUTIONS,
        "tokens": tensors["null_tokens"].shape[1],
    }


def args_of(part: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What the published reader looks up in args.json beside the file."""
    if part == "codec":
        names = {"channels": "nb_joints", "width": "output_emb_width", "codes": "code_dim", "depth": "depth"}
    else:
        names = {"layers": "layers", "width": "dim", "audio_layers": "num_audio_layers"}
    return {theirs: sizes[ours] for ours, theirs in names.items()}


def refusal(part: str, sizes: Mapping[str, Any]) -> str:
    """Why the published code could not build a network of these sizes; "" where it could."""
    if part == "guide":
        for name in ("feedforward", "heads", "codes", "depth", "audio"):
            found, wanted = sizes[name], getattr(GuideSizes(), name)
            if found != wanted:
                return f"{part}: {name} is {found}, the published code knows only {wanted}"
    return ""


def _count(tensors: Mapping[str, Tensor], before: str) -> int:
    """How many modules of a list there are."""
    pattern = re.compile(re.escape(before) + r"\.(\d+)\.")
    return max((int(match[1]) + 1 for name in tensors if (match := pattern.match(name))), default=0)
