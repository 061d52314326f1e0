"""The published snapshots, read without running the source text that they carry (spec 4.15)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.official import flatten, module_state
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.checkpoints.records import Inert
from avatarctl.checkpoints.sizes import settings_in, sizes_in
from avatarctl.errors import CheckpointError, DataError
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.model.sizes import (
    DISCRIMINATOR,
    GENERATOR,
    LIMITS,
    RAW,
    DiscriminatorSizes,
    GeneratorSizes,
)
from avatarctl_generative_avatar.settings_model import Rendering

log = logging.getLogger(__name__)
NETWORKS = {"G_ema": GENERATOR, "D": DISCRIMINATOR, "G": RAW}
"""A snapshot's networks, and our names of them."""
MARKS = ("renderer.sigmoid_beta", "backbone.synthesis.b4.const", "superresolution.block0.conv0.weight")
"""Tensors by which a generator is known."""
KNOWN = (
    "torch", "numpy", "dill", "builtins", "__builtin__", "collections", "dnnlib", "torch_utils", "training",
)  # fmt: skip
"""Packages whose classes a published snapshot holds."""
AGAIN = "download the file again, or name another snapshot"


def sniff(header: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The networks in a snapshot; none in a file of anything else."""
    if not all(f"G_ema.{mark}" in header for mark in MARKS):
        return ()
    return tuple(part for name, part in NETWORKS.items() if any(key.startswith(f"{name}.") for key in header))


def read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The networks of a snapshot, with their sizes and how they render.

    Raises:
        CheckpointError: They are of another kind, or tensors are missing.
    """
    content = load_torch(path)
    parts: dict[str, dict[str, Tensor]] = {}
    networks: dict[str, Any] = {}
    for name, part in NETWORKS.items():
        state = module_state(content.get(name))
        if state is None:
            continue
        parts[part] = flatten(content[name])
        try:
            sizes = _discriminator(state, parts[part]) if name == "D" else _generator(state, parts[part])
        except (KeyError, IndexError, TypeError) as error:
            raise CheckpointError(f"{path}: {name}: lacks {error}", hint=AGAIN) from error
        except ValueError as error:
            raise CheckpointError(f"{path}: {name}: {error}", hint=AGAIN) from error
        networks[part] = asdict(sizes)
    config: dict[str, Any] = {"networks": networks, "body": "smpl", **_progress(content.get("progress"))}
    averaged = module_state(content["G_ema"]) or {}
    config["rendering"] = _rendering(path, averaged)
    if "neural_rendering_resolution" in averaged:
        config["rays"] = averaged["neural_rendering_resolution"]
    if unknown := sorted(set(_unknown(content))):
        log.info("%s: not known, kept as records, nothing of them is run: %s", path, ", ".join(unknown[:6]))
        config["unknown"] = unknown
    return parts, config


def _plain(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Named arguments that a network was built with."""
    found = state.get(name)
    found = dict(found.items) if isinstance(found, Inert) else found
    if not isinstance(found, dict):
        return {}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in found.items()}


def _number(words: Mapping[str, Any], name: str, default: Any) -> Any:
    """A number among arguments, in the kind of the published default."""
    value = words.get(name, default)
    kinds = (int,) if isinstance(default, int) else (int, float)
    if type(value) not in kinds:
        raise ValueError(f"{name}: found {str(value)[:40]}, expected a number such as {default}")
    return type(default)(value)


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(f"{prefix}.fc") and name.endswith(".weight") for name in tensors)


def _generator(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> GeneratorSizes:
    """Sizes of a generator, as its tensors and the arguments it was built with say."""
    published, words = GeneratorSizes(), _plain(state, "_init_kwargs")
    rendering = _plain(state, "rendering_kwargs")
    if rendering.get("is_sdf") is False:
        raise ValueError("is_sdf: found False, expected a network of signed distances")
    embed = tensors["backbone.mapping.embed.weight"]
    blocks = [name.split(".")[2] for name in tensors if name.startswith("backbone.synthesis.b")]
    sizes = GeneratorSizes(
        img_resolution=tensors["superresolution.block1.conv1.noise_const"].shape[0],
        plane_resolution=max(int(name[1:]) for name in blocks),
        z_dim=tensors["backbone.mapping.fc0.weight"].shape[1] - embed.shape[0],
        w_dim=embed.shape[0],
        c_dim=embed.shape[1],
        mapping_layers=_layers(tensors, "backbone.mapping"),
        channel_base=_number(words, "channel_base", published.channel_base),
        channel_max=_number(words, "channel_max", published.channel_max),
        sr_channels=tensors["superresolution.block0.conv0.weight"].shape[0],
        decoder_lr_mul=_number(rendering, "decoder_lr_mul", published.decoder_lr_mul),
    )
    if sizes.c_dim != label.SIZE:
        raise ValueError(f"labels of {sizes.c_dim} numbers, expected {label.SIZE}: another system's?")
    stated = state.get("img_resolution", sizes.img_resolution)
    if stated != sizes.img_resolution:
        raise ValueError(f"img_resolution: found {stated}, but its tensors are for {sizes.img_resolution}")
    return sizes


def _discriminator(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DiscriminatorSizes:
    published, words = DiscriminatorSizes(), _plain(state, "_init_kwargs")
    blocks = [name.split(".")[1] for name in tensors if name.startswith("D_image.b")]
    epilogue = _plain(words, "epilogue_kwargs")
    return DiscriminatorSizes(
        img_resolution=max(int(name[1:]) for name in blocks),
        c_dim=tensors["D_image.mapping.embed.weight"].shape[1],
        channel_base=_number(words, "channel_base", published.channel_base),
        channel_max=_number(words, "channel_max", published.channel_max),
        mapping_layers=_layers(tensors, "D_image.mapping"),
        mbstd_group_size=_number(epilogue, "mbstd_group_size", published.mbstd_group_size),
        disc_c_noise=_number(words, "disc_c_noise", published.disc_c_noise),
        conv_clamp=_number(words, "conv_clamp", published.conv_clamp),
    )


def _rendering(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """How the averaged generator renders.

    Raises:
        CheckpointError: A setting is none that a renderer can have.
    """
    words = _plain(state, "rendering_kwargs")
    given = {name: words[name] for name in Rendering.model_fields if name in words}
    return settings_in(Rendering, given, f"{path}: rendering_kwargs", AGAIN).model_dump()


def _progress(found: Any) -> dict[str, Any]:
    """How far the training of a snapshot went: steps, pictures shown, strength of the augmentation."""
    if not isinstance(found, dict):
        return {}
    names = {"batch_idx": "step", "cur_nimg": "images", "augment_p": "augment_p"}
    numbers = {
        ours: found[theirs].reshape(-1)[0].item()
        for theirs, ours in names.items()
        if isinstance(found.get(theirs), Tensor) and found[theirs].numel()
    }
    return {name: value for name, value in numbers.items() if value == value}  # p may be NaN (spec 9.2)


def _unknown(content: Any) -> Iterator[str]:
    """Names of classes that a published snapshot does not hold."""
    waiting, seen = [content], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not isinstance(one, dict | list | tuple | Inert):
            continue
        seen.add(id(one))
        if isinstance(one, Inert):
            if one.module.split(".")[0] not in KNOWN:
                yield f"{one.module}.{one.name}"
            waiting += [one.args, one.state, one.items]
        else:
            waiting += list(one.values() if isinstance(one, dict) else one)


def describe(weights: Weights) -> tuple[str, dict[str, Any], list[str]] | None:
    """What these networks are, facts about them, and the commands that take them; None for other systems'."""
    if GENERATOR not in weights.parts:
        return None
    try:
        sizes = sizes_in(weights, GENERATOR, GeneratorSizes(), limits=LIMITS)
    except (CheckpointError, DataError):
        return None
    facts: dict[str, Any] = {
        "parameters": f"{sum(tensor.numel() for tensor in weights.part(GENERATOR).values()):,}",
        "pictures": f"{sizes.img_resolution}², from {weights.config.get('rays') or sizes.rays}² rays",
        "planes": f"three of {sizes.plane_resolution}²",
        "pictures shown": weights.config.get("images", "unknown"),
        "bodies": {"smpl": "SMPL (licensed)", "open": "the open body"}.get(
            str(weights.config.get("body")), "unknown"
        ),
        "discriminators": "there" if DISCRIMINATOR in weights.parts else "none",
    }
    if unknown := weights.config.get("unknown"):
        facts["unknown classes"] = ", ".join(map(str, unknown[:6])) + " (kept as records, never run)"
    verbs = ("infer", "eval", "export")
    return "AG3D, new 3D people", facts, [f"avatarctl {verb} generative-avatar --weights" for verb in verbs]
