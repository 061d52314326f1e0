"""The published checkpoint files, read and written (spec 4.11)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.official import flatten
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.checkpoints.sizes import sizes_in
from avatarctl.errors import CheckpointError, DataError
from avatarctl.files import atomic
from avatarctl_video_avatar.model.avatar import PART, AvatarSizes, steps_of

log = logging.getLogger(__name__)
LPIPS = "lpips"
"""The part of the perceptual network, which the published files carry."""
NESTED = "state_dict."
MARKS = ("deviation_network.variance", "color_network.lin0.weight_v", "motion_basis_computer.progress")
"""Tensors by which a file is known."""
CRITERIA, LINS = "criteria.p_loss.", re.compile(r"lins\.(\d)\.")
"""Second names of the perceptual network's tensors."""
FILE = re.compile(r"epoch=(\d+)-step=(\d+)(?:-v\d+)?\.ckpt$")
LAST = "last.ckpt"
OURS = "avatarctl"
"""Our own entry in files that we write: what their layout has no place for. Published code passes it over."""
STATED = ("body", "subject", "rendering", "offset", "validate_views")
DEFORMATION = {"skinning": "a skinning network", "nonrigid": "nearest vertices and a non-rigid network"}
AGAIN = "copy the file again, or name another checkpoint of the training"


def sniff(header: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The networks in a published file; none in a file of anything else."""
    if not all(f"{NESTED}{mark}" in header for mark in MARKS):
        return ()
    return (PART, LPIPS) if any(name.startswith(f"{NESTED}{LPIPS}.") for name in header) else (PART,)


def read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The networks of a published file, with their sizes and the number of finished steps.

    Raises:
        CheckpointError: A tensor that shows a size, or the number of steps, is missing.
    """
    content = load_torch(path)
    every = {
        name.removeprefix(NESTED): tensor
        for name, tensor in flatten(content).items()
        if name.startswith(NESTED)
    }
    own: dict[str, Tensor] = {}
    perceptual: dict[str, Tensor] = {}
    for name, tensor in every.items():
        if name.startswith(f"{LPIPS}."):
            if not LINS.search(name):
                perceptual[name.removeprefix(f"{LPIPS}.")] = tensor
        elif not name.startswith(CRITERIA):
            own[name] = tensor
    try:
        sizes = _sizes(own)
    except (KeyError, IndexError) as error:
        why = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has tensors of other dimensions"
        raise CheckpointError(f"{path}: {why}; expected a whole published checkpoint", hint=AGAIN) from error
    step = content.get("global_step")
    if type(step) is not int or step < 0:
        raise CheckpointError(f"{path}: global_step is {step!r}, expected a number of steps", hint=AGAIN)
    config = {"networks": {PART: sizes.stored()}, "body": "smpl", "step": step, **_ours(content, path)}
    epoch = content.get("epoch")
    if type(epoch) is int and epoch >= 0:
        config["epoch"] = epoch
    return {PART: own} | ({LPIPS: perceptual} if perceptual else {}), config


def _ours(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What we wrote beside a published file's content; nothing in a file that others wrote."""
    ours = content.get(OURS, {})
    if not isinstance(ours, dict) or ours.get("body", "smpl") not in ("smpl", "open"):
        raise CheckpointError(f"{path}: {OURS}: found {str(ours)[:80]}, expected a description", hint=AGAIN)
    return {name: ours[name] for name in STATED if name in ours}


def _sizes(tensors: Mapping[str, Tensor]) -> AvatarSizes:
    """What the tensors tell of their networks."""
    published = AvatarSizes()
    is_plane = "sdf_network.planes" in tensors
    is_rigid = "non_rigid_mlp.block_mlps.0.weight" not in tensors
    last = tensors["sdf_network.decoder.lin3.bias" if is_plane else "sdf_network.lin8.bias"]
    planes = tensors["sdf_network.planes"].shape if is_plane else None
    return AvatarSizes(
        sdf="triplane" if is_plane else "mlp",
        deform="skinning" if is_rigid else "nonrigid",
        img_resolution=planes[-1] if planes else published.img_resolution,
        img_channels=planes[2] if planes else published.img_channels,
        box_warp=published.box_warp,
        hidden=tensors["color_network.lin1.bias"].shape[0],
        features=last.shape[0] - 1,
        skinning_hidden=tensors["skinning_model.lin0.bias"].shape[0]
        if "skinning_model.lin0.bias" in tensors
        else published.skinning_hidden,
        pose_hidden=tensors["pose_decoder.block_mlps.0.bias"].shape[0],
    )


def is_training(folder: Path) -> bool:
    """Whether a folder is that of a published training, or its checkpoints."""
    return any(FILE.match(path.name) or path.name == LAST for path in _place(folder).glob("*.ckpt"))


def newest(folder: Path) -> Path:
    """The newest checkpoint of a published training folder, by its numbers.

    Raises:
        CheckpointError: There is none.
    """
    found = [
        (int(match[1]), int(match[2]), path)
        for path in _place(folder).glob("*.ckpt")
        if (match := FILE.match(path.name))
    ]
    if found:
        # parity: published code takes the last in the alphabet's order, 99 before 479 (spec 9, Q20)
        return max(found)[2]
    if (path := _place(folder) / LAST).is_file():
        return path
    raise CheckpointError(
        f"{folder}: no checkpoints/epoch=E-step=S.ckpt in it", hint="name the folder of a training, or a file"
    )


def _place(folder: Path) -> Path:
    return folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder


def write(weights: Weights, folder: Path) -> list[Path]:
    """Write the networks in the published layout.

    Raises:
        CheckpointError: There is no avatar, or the published code could not build it.
    """
    sizes = asdict(sizes_in(weights, PART, AvatarSizes()))
    for name, value in asdict(AvatarSizes()).items():
        if sizes[name] != value and name not in ("sdf", "deform", "img_resolution"):
            raise CheckpointError(
                f"{weights.path}: {name} {sizes[name]}: the published code has {value}",
                hint="export it with --to safetensors",
            )
    state = dict(weights.part(PART))
    if weights.holds(LPIPS):
        tensors = dict(weights.part(LPIPS))
        tensors |= {
            re.sub(r"^lin(\d)\.", r"lins.\1.", name): tensor
            for name, tensor in tensors.items()
            if name.startswith("lin")
        }
        for prefix in (f"{LPIPS}.", CRITERIA):
            state |= {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    else:
        log.warning(
            "%s: holds no perceptual network; the published code loads the file with strict=False only",
            weights.path,
        )
    epoch, step = int(weights.config.get("epoch", 0)), steps_of(weights)
    path = folder / "checkpoints" / f"epoch={epoch}-step={step}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": state,
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        OURS: {name: weights.config[name] for name in STATED if name in weights.config},
    }
    with atomic(path) as temporary:
        torch.save(content, temporary)
    return [path]


def describe(weights: Weights) -> tuple[str, dict[str, Any], list[str]] | None:
    """What these networks are, facts about them, and the commands that take them; None for other systems'."""
    networks = weights.config.get("networks")
    if PART not in weights.parts or not isinstance(networks, dict):
        return None
    try:
        sizes = sizes_in(weights, PART, AvatarSizes())
    except (CheckpointError, DataError):
        return None
    count = sum(tensor.numel() for tensor in weights.parts[PART].values())
    surface = f"three planes of {sizes.img_resolution}²" if sizes.sdf == "triplane" else "one network"
    facts: dict[str, Any] = {
        "parameters": f"{count:,}",
        "surface": surface,
        "deformation": DEFORMATION[sizes.deform],
        "finished steps": weights.config.get("step", "unknown"),
        "person": weights.config.get("subject", "unknown"),
        "bodies": {"smpl": "SMPL (licensed)", "open": "the open body"}.get(
            str(weights.config.get("body")), "unknown"
        ),
        "perceptual network": "there" if LPIPS in weights.parts else "none",
    }
    commands = ["avatarctl infer video-avatar --data PREPARED --weights"]
    commands.append("avatarctl export video-avatar --data PREPARED --weights")
    return "HF-Avatar (PGAHum), one person's avatar", facts, commands
