"""Published files of diffusion and audio networks: names, sizes, args.json (spec 1.3, 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from avatarctl.audio.resample import resample_kernel
from avatarctl.checkpoints.keymap import KeyMap
from avatarctl_audio2motion.model import BODY, FACE, UNUSED
from avatarctl_audio2motion.model.attention import rotary_rates
from avatarctl_audio2motion.model.lip import POSITIONS, sine_table

_UNUSED = UNUSED.rstrip(".")
_LIP = (
    ("encoder", "regression_model.transformer_encoder"), ("decoder", "regression_model.transformer_decoder"),
    ("vertices", "project_output"), ("front_end", "audio_encoder.wav2vec_model.feature_extractor"),
    ("aggregator", "audio_encoder.wav2vec_model.feature_aggregator"),
)  # fmt: skip
_LIP_LAYERS = (
    ("attn", "self_attn.self_attn"), ("cross", "cross_attn.cross_attn"), ("feedforward", "feedforward.ff"),
)  # fmt: skip
_DIFFUSION = (
    ("front_end", "audio_model.feature_extractor"), (_UNUSED, "audio_model"),
    ("null_tokens", "null_cond_embed"), ("null_pooled", "null_cond_hidden"), ("null_keys", "null_pose_embed"),
    ("condition_in", "cond_projection"), ("condition_layers", "cond_encoder"),
    ("condition_norm", "norm_cond"), ("pool", "non_attn_cond_projection"),
    ("keys_in", "frame_cond_projection"), ("keys_norm", "frame_norm_cond"), ("time", "time_mlp"),
    ("time_vector", "to_time_cond.0"), ("time_tokens", "to_time_tokens.0"),
    ("frames_in", "input_projection"), ("frames_out", "final_layer"), ("layers", "seqTransDecoder.stack"),
    ("smoothing.convolutions", "post_pose_layers"), ("smoothing.last", "final_conv"),
    ("cross_attn", "multihead_attn"), ("key_attn", "multihead_attn2"), ("key_norm", "norm2a"),
    ("key_film", "film2a"),
)  # fmt: skip
_AUDIO = KeyMap(
    (
        ("front_end", "feature_extractor"), (f"{_UNUSED}.vector_quantizer", "vector_quantizer"),
        (f"{_UNUSED}.feature_aggregator", "feature_aggregator"),
        (f"{_UNUSED}.wav2vec_predictions", "wav2vec_predictions"),
    )
)  # fmt: skip
MAPS = {
    "face": KeyMap(
        (
            *_DIFFUSION, *((f"lip.{ours}", f"lip_model.{theirs}") for ours, theirs in _LIP), *_LIP_LAYERS,
            (f"{_UNUSED}.lip", "lip_model.audio_encoder.wav2vec_model"),
        )
    ),
    "body": KeyMap(_DIFFUSION),
    "lip": KeyMap((*_LIP, *_LIP_LAYERS, (f"{_UNUSED}.lip", "audio_encoder.wav2vec_model"))),
    "audio": _AUDIO, "wav2vec": _AUDIO,
}  # fmt: skip
NESTED = {"face": "", "body": "", "lip": "model_state_dict", "audio": "model", "wav2vec": "model"}
"""The entry of a published file that holds the network; "": the file is the network."""
MARKS = {
    "face": "lip_model.project_output.weight", "body": "input_projection.weight",
    "lip": "regression_model.transformer_decoder.0.norm1.weight", "audio": "vector_quantizer.vars",
    "wav2vec": "feature_aggregator.conv_layers.0.1.weight",
}  # fmt: skip
"""A tensor by which each network is known, looked for in this order."""
FILES = {
    "face": "diffusion/{person}_face/model{step:09d}.pt",
    "body": "diffusion/{person}_pose/model{step:09d}.pt",
    "lip": "assets/iter-{step:07d}.pt",
}  # fmt: skip
"""Where the published folder has them."""
ARGS: dict[str, Any] = {
    "add_frame_cond": None, "batch_size": 4, "cond_mask_prob": 0.2, "cuda": True, "data_format": "pose",
    "data_root": None, "dataset": "social", "device": 0, "diffusion_steps": 10, "heads": 4, "lambda_vel": 0.0,
    "latent_dim": 512, "layers": 8, "log_interval": 1000, "lr": 1e-4, "lr_anneal_steps": 0,
    "max_seq_length": 600, "noise_schedule": "cosine", "not_rotary": False, "num_audio_layers": 3,
    "num_steps": 800000, "overwrite": False, "resume_checkpoint": "", "save_dir": None, "save_interval": 5000,
    "seed": 10, "sigma_small": True, "simplify_audio": False, "split": None, "timestep_respacing": "",
    "train_platform_type": "NoPlatform", "unconstrained": False, "weight_decay": 0.0,
}  # fmt: skip
"""The flags that the published trainer writes, as its parser and the published commands set them."""
IGNORED = ("latent_dim", "diffusion_steps", "cond_mask_prob", "num_audio_layers")
"""Flags that the published networks are built without (spec 9, quirk 3)."""
HEADS = 8
"""Of the published commands, where no args.json says it; no tensor shows it."""
_PREDICTIONS: dict[str, tuple[int, ...]] = {
    "wav2vec_predictions.project_to_steps.weight": (512, 512, 1, 12),
    "wav2vec_predictions.project_to_steps.bias": (512,),
}
_VQ_WAV2VEC: dict[str, tuple[int, ...]] = {
    "vector_quantizer.vars": (1, 320, 256),
    "vector_quantizer.weight_proj.0.0.weight": (1024, 512),
    "vector_quantizer.weight_proj.0.0.bias": (1024,),
    "vector_quantizer.weight_proj.1.weight": (640, 1024),
    "vector_quantizer.weight_proj.1.bias": (640,),
    **{f"feature_aggregator.conv_layers.{index}.1.weight": (512, 512, index + 2) for index in range(12)},
    **{
        f"feature_aggregator.conv_layers.{index}.{name}": (512,)
        for index in range(12)
        for name in ("1.bias", "3.weight", "3.bias")
    },
    **_PREDICTIONS,
}
"""Of the published audio model behind its front end: shapes of what is never computed with (spec 4.2)."""


def sizes_of(part: str, tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of a network as its tensors, under our names, and its args.json show them.

    Whether the front end ends in a logarithm stands in another file, and is left open (spec 4.2).

    Raises:
        KeyError: A tensor that shows a size is missing.
        ValueError: One has other dimensions.
    """
    if part not in ("face", "body"):
        return {}
    width, output = tensors["frames_in.weight"].shape
    feedforward, _ = tensors["layers.0.linear1.weight"].shape
    return {
        "output": output,
        "width": width,
        "feedforward": feedforward,
        "layers": count(tensors, "layers"),
        "heads": args.get("heads", ARGS["heads"] if args else HEADS),
        "tokens": tensors["null_tokens"].shape[1],
        "key_frames": tensors["null_keys"].shape[1] if "null_keys" in tensors else 0,
        "condition_layers": count(tensors, "condition_layers"),
        "smoothed": "smoothing.last.weight" in tensors,
        "rotary": not args.get("not_rotary", False),
    }


def count(tensors: Mapping[str, Any], before: str) -> int:
    """How many modules of a list there are."""
    pattern = re.compile(re.escape(before) + r"\.(\d+)\.")
    return max((int(match[1]) + 1 for name in tensors if (match := pattern.match(name))), default=0)


def args_of(part: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What the published reader looks up in args.json beside the file."""
    if part == "lip":
        return {}
    return ARGS | {
        "data_format": "face" if part == "face" else "pose",
        "layers": sizes["layers"],
        "heads": sizes["heads"],
        "add_frame_cond": 1 if sizes["key_frames"] else None,
        "lambda_vel": 0.0 if part == "face" else 2.0,
        "max_seq_length": (sizes["tokens"] + 2) * 3 // 10,  # 100 tokens a second less the front end's edges
    }


def refusal(part: str, sizes: Mapping[str, Any]) -> str:
    """Why the published code could not build a network of these sizes; "" where it could."""
    if part not in ("face", "body"):
        return ""
    fixed = asdict(FACE if part == "face" else BODY)
    for name in ("output", "width", "feedforward", "condition_layers", "smoothed", "rotary", "audio", "lip"):
        if sizes[name] != fixed[name]:
            return f"{part}: {name} is {sizes[name]}, the published code knows only {fixed[name]}"
    return ""


def buffers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tables that a published file holds beside its parameters, which are worked out here.

    Args:
        tensors: Parameters of one network under the published names.
    """
    found: dict[str, Tensor] = {}
    kernel = resample_kernel(48000, 16000)
    if "audio_model.feature_extractor.conv_layers.0.0.weight" in tensors:
        found["audio_resampler.kernel"] = kernel
    stacks = [
        f"{name}.{index}."
        for name in ("seqTransDecoder.stack", "cond_encoder")
        for index in range(count(tensors, name))
    ]
    if stacks:
        rates = rotary_rates(tensors[f"{stacks[0]}norm1.weight"].shape[0])
        found |= {f"{place}rotary.freqs": rates.clone() for place in ("", *stacks)}
    lip = next((name for name in tensors if name.endswith("project_output.weight")), None)
    if lip is not None:
        before = lip.removesuffix("project_output.weight")
        sines = sine_table(POSITIONS, tensors[lip].shape[1])
        found[f"{before}audio_encoder.resampler.kernel"] = kernel
        for name in ("cond", "target"):
            found[f"{before}regression_model.{name}_positional_encoding.pe"] = sines.clone()
    return found


def unused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for the tensors that the published loader insists on and no computation uses, where they lack.

    Args:
        tensors: Parameters of one network under the published names.
    """
    wanted: dict[str, tuple[int, ...]] = {}
    if "audio_model.feature_extractor.conv_layers.0.0.weight" in tensors:
        wanted |= {f"audio_model.{name}": shape for name, shape in _VQ_WAV2VEC.items()}
    lip = next((name for name in tensors if name.endswith("project_output.weight")), None)
    if lip is not None:
        before = lip.removesuffix("project_output.weight") + "audio_encoder.wav2vec_model."
        wanted |= {f"{before}{name}": shape for name, shape in _PREDICTIONS.items()}
    return {name: torch.zeros(shape) for name, shape in wanted.items() if name not in tensors}
