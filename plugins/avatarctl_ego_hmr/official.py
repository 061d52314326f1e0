"""The published checkpoint files: which network a file holds, read and written (spec 2.2, 4, 5.2)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.official import flatten
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.checkpoints.sizes import sizes_in
from avatarctl.errors import CheckpointError, DataError
from avatarctl.files import atomic
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.load import KINDS as COLLISION
from avatarctl_ego_hmr.model.diffusion import DiffusionSizes, time_table
from avatarctl_ego_hmr.model.scene import SceneSizes

log = logging.getLogger(__name__)
Tensors = Mapping[str, Tensor]
NESTED = "state_dict."
MARKS = {
    "scene": ("flow.fc_head.layers.0.weight", "scene_enc.fc_c.weight"),
    "diffusion": ("diffusion_model.gconv_output.W", "scene_enc.fc_c.weight"),
    "coap": ("query_encoder.lin0.weight", "encoder.fc_c.weight"),
    "volumetric": ("decoder.lin0.rf_weight", "encoder.fc_c.weight"),
}
"""Of each kind of file: tensors by which it is known."""
START = ("backbone.conv1.weight", "layer4.2.conv3.weight")
"""Tensors of files that hold an image network to start from: ProHMR's, and torchvision's ResNet-50."""
IGNORED = re.compile(
    r"smpl(_male|_female)?\.|(.*\.)?sequence_pos_encoder\.pe$|partitioner\.|k_one_hot$|part_ind$"
)
"""Tensors that come from body files, or are worked out again."""
TEMPLATE = "smpl.v_template"
STATISTICS = Path("preprocess_stats") / "preprocess_stats.npz"
FILES = {
    "scene": Path("scene") / "best_model.pt",
    "diffusion": Path("diffusion") / "best_model_mpjpe_vis.pt",
    "coap": Path("coap_smpl_neutral.ckpt"),
    "volumetric": Path("VolumetricSMPL_smpl_neutral.ckpt"),
}
AGAIN = "download the file again"


def sniff(header: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The network in a published file; none in a file of anything else."""
    kind = _kind(header)
    return (_part(kind),) if kind else ()


def is_start(header: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file holds an image network to start from, and no network of ours."""
    names = {name.removeprefix(NESTED) for name in header}
    return not _kind(header) and bool(names & set(START))


def _kind(names: Mapping[str, Any]) -> str:
    for kind, marks in MARKS.items():
        if all(f"{NESTED}{mark}" in names for mark in marks):
            return kind
    return ""


def _part(kind: str) -> str:
    """The part of our weights that a kind of file is."""
    return "collision" if kind in COLLISION else kind


def read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The network of a published file, with its sizes and, of stage 2, the pose statistics beside it.

    Raises:
        CheckpointError: A tensor that shows a size is missing, or there are no statistics.
    """
    every = flatten(load_torch(path))
    kind = _kind(every)
    tensors = {name.removeprefix(NESTED): tensor for name, tensor in every.items()}
    own = {name: tensor for name, tensor in tensors.items() if not IGNORED.match(name)}
    try:
        sizes = _SIZES[kind](own)
    except (KeyError, IndexError, ValueError) as error:
        why = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has tensors of other dimensions"
        raise CheckpointError(f"{path}: {why}; expected a whole published checkpoint", hint=AGAIN) from error
    if kind == "diffusion":
        own["pose_mean"], own["pose_std"] = read_statistics(path)
    config: dict[str, Any] = {"networks": {_part(kind): sizes}, "body": "smpl"}
    if TEMPLATE in tensors:
        config["templates"] = {_part(kind): _shown(tensors[TEMPLATE])}
    return {_part(kind): own}, config


def read_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and deviation of poses [144] each, from preprocess_stats beside a checkpoint of stage 2.

    Raises:
        CheckpointError: They are not there, or are none.
    """
    for beside in (path.parent / STATISTICS, path.parent / STATISTICS.name):
        if beside.is_file():
            break
    else:
        raise CheckpointError(
            f"{path}: no {STATISTICS} beside it, which holds the mean pose of its training",
            hint="copy the whole folder of the checkpoint",
        )
    try:
        arrays = read_npz(beside)
    except DataError as error:
        raise CheckpointError(error.message, hint=error.hint) from error
    found = []
    for name in ("Xmean", "Xstd"):
        array = arrays.get(name)
        if array is None or array.shape != (144,) or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise CheckpointError(f"{beside}: {name}: expected 144 finite numbers", hint=AGAIN)
        found.append(torch.from_numpy(array.astype(np.float32)))
    if not (found[1] > 0).all():
        raise CheckpointError(f"{beside}: Xstd: expected numbers above 0", hint=AGAIN)
    return found[0], found[1]


def _shown(template: Tensor) -> list[float]:
    """A few numbers by which a body's template is known again, metres."""
    return [round(float(number), 5) for number in template.flatten()[:9]]


def check_template(weights: Weights, people: People) -> None:
    """Warn where a checkpoint was trained with another body file than the one in use (quirk Q20)."""
    for part, numbers in weights.config.get("templates", {}).items():
        if not np.allclose(numbers, _shown(people.neutral.template), atol=2e-5):
            log.warning(
                "%s: %s was trained with another SMPL file than %s; the latter is used",
                weights.path,
                part,
                people.neutral.source,
            )


def _backbone(tensors: Tensors) -> dict[str, Any]:
    stages = 0
    while f"backbone.layer{stages + 1}.0.conv1.weight" in tensors:
        stages += 1
    blocks = [_count(tensors, rf"backbone\.layer{stage}\.(\d+)\.") for stage in range(1, stages + 1)]
    return {"width": len(tensors["backbone.conv1.weight"]), "blocks": blocks}


def _count(tensors: Tensors, pattern: str) -> int:
    """How many numbers a pattern finds in the names."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def _conditioned(tensors: Tensors, condition: int) -> dict[str, Any]:
    """Sizes that both stages have.

    Args:
        condition: Numbers that are told of camera, box, picture and scene.
    """
    features, hidden = tensors["scene_enc.fc_c.weight"].shape
    backbone = _backbone(tensors)
    channels = backbone["width"] * 4 * 2 ** (len(backbone["blocks"]) - 1)
    lens = condition - channels - features
    told = {6: (True, True, True), 5: (False, True, True), 4: (True, False, True), 1: (True, False, False),
            2: (False, True, False), 0: (False, False, False)}  # fmt: skip
    if lens not in told:  # with three, the principal point and the focal length, or the box alone
        raise ValueError(f"{lens} numbers of camera and box")
    flags = dict(zip(("with_focal_length", "with_cam_center", "with_bbox_info"), told[lens], strict=True))
    return {"backbone": backbone, "point_hidden": hidden, "point_features": features, **flags}


def _scene(tensors: Tensors) -> dict[str, Any]:
    first = "flow.flow._transform._transforms.2.transform_net"
    head, condition = tensors["flow.fc_head.layers.0.weight"].shape
    return _conditioned(tensors, condition) | {
        "layers": _count(tensors, r"flow\.flow\._transform\._transforms\.(\d+)\.") // 3,
        "hidden": len(tensors[f"{first}.initial_layer.weight"]),
        "depth": _count(tensors, rf"{re.escape(first)}\.blocks\.(\d+)\."),
        "head": head,
        "critic": len(tensors["discriminator.D_alljoints_fc1.weight"]),
    }


def _diffusion(tensors: Tensors) -> dict[str, Any]:
    place = len(tensors["transl_enc.layers.2.weight"])
    head, condition = tensors["beta_layer.layers.0.weight"].shape
    return _conditioned(tensors, condition - place) | {
        "place_hidden": len(tensors["transl_enc.layers.0.weight"]),
        "place_features": place,
        "latent": len(tensors["input_process.poseEmbedding.weight"]),
        "hidden": tensors["diffusion_model.gconv_output.W"].shape[1],
        "layers": _count(tensors, r"diffusion_model\.gconv_layers\.(\d+)\."),
        "head": head,
    }


def _coap(tensors: Tensors) -> dict[str, Any]:
    features, hidden = tensors["encoder.fc_c.weight"].shape
    return {
        "kind": "coap",
        "hidden": hidden,
        "features": features,
        "query": len(tensors["query_encoder.lin0.weight"]),
        "mixed": len(tensors["query_encoder.lin3.weight"]),
        "width": len(tensors["decoder.lin0.weight"]),
    }


def _volumetric(tensors: Tensors) -> dict[str, Any]:
    features, hidden = tensors["encoder.fc_c.weight"].shape
    width, inputs = tensors["decoder.lin0.weight"].shape
    return {
        "kind": "volumetric",
        "hidden": hidden,
        "features": features,
        "width": width,
        "levels": (inputs - features - 3) // 6,
        "rank": tensors["decoder.lin0.rf_weight"].shape[1],
        "part_rank": len(tensors["decoder.lin0.part_weight"]),
    }


_SIZES: dict[str, Callable[[Tensors], dict[str, Any]]] = {
    "scene": _scene,
    "diffusion": _diffusion,
    "coap": _coap,
    "volumetric": _volumetric,
}
PUBLISHED: dict[str, Any] = {"scene": SceneSizes(), "diffusion": DiffusionSizes()}


def write(weights: Weights, folder: Path) -> list[Path]:
    """Write the networks in the published layout.

    Raises:
        CheckpointError: There is none, or the published code could not build one of them.
    """
    known = [part for part in weights.parts if part in ("scene", "diffusion", "collision")]
    if not known:
        raise CheckpointError(
            f"{weights.path}: holds {', '.join(map(repr, weights.parts)) or 'nothing'}, "
            "expected scene, diffusion or collision",
            hint="export it with --to safetensors",
        )
    kinds = {part: _publishable(weights, part) for part in known}
    written = []
    for part, kind in kinds.items():
        path = folder / FILES[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        state = dict(weights.parts[part])
        if part == "diffusion":
            mean, std = (state.pop(name).float().numpy() for name in ("pose_mean", "pose_std"))
            beside = path.parent / STATISTICS
            beside.parent.mkdir(exist_ok=True)
            with atomic(beside) as temporary, temporary.open("wb") as file:
                np.savez(file, Xmean=mean, Xstd=std)
            written.append(beside)
            table = time_table(DiffusionSizes().latent)[:, None]
            state |= {"sequence_pos_encoder.pe": table, "embed_timestep.sequence_pos_encoder.pe": table}
        with atomic(path) as temporary:
            torch.save({"state_dict": state}, temporary)
        written.append(path)
    return written


def _publishable(weights: Weights, part: str) -> str:
    """The kind of file that a part becomes."""
    stated = weights.config.get("networks", {}).get(part, {})
    kind = str(stated.get("kind", part)) if part == "collision" else part
    published = COLLISION[kind][1] if kind in COLLISION else PUBLISHED[part]
    found = asdict(sizes_in(weights, part, published))
    for name, value in asdict(published).items():
        if found[name] != value and name not in ("dropout", "levels"):
            raise CheckpointError(
                f"{weights.path}: {part}: {name} {found[name]}: the published code has {value}",
                hint="export it with --to safetensors",
            )
    return kind


WORDS = {
    "scene": "ProHMR-scene (stage 1)",
    "diffusion": "pose diffusion (stage 2)",
    "coap": "COAP collision model",
    "volumetric": "VolumetricSMPL collision model",
}


def describe(weights: Weights) -> tuple[str, dict[str, Any], list[str]] | None:
    """What networks these are, facts about them, and the commands that take them; None for other systems'."""
    networks = weights.config.get("networks")
    known = ("scene", "diffusion", "collision")
    if not weights.parts or not set(weights.parts) <= set(known) or not isinstance(networks, dict):
        return None
    facts: dict[str, Any] = {}
    words = []
    for part in (part for part in known if part in weights.parts):
        sizes = networks.get(part, {})
        words.append(WORDS.get(str(sizes.get("kind", part)), part))
        count = sum(tensor.numel() for tensor in weights.parts[part].values())
        shown = [f"{name} {sizes[name]}" for name in ("layers", "hidden") if name in sizes]
        facts[words[-1]] = ", ".join([f"{count:,} parameters", *shown])
    facts["bodies"] = {"smpl": "SMPL (licensed)", "open": "the open body"}.get(
        str(weights.config.get("body")), "unknown"
    )
    commands = []
    if {"scene", "diffusion"} <= set(weights.parts):
        commands = ["avatarctl infer ego-hmr IMAGE --scene ROOM --camera CAMERA --weights"]
        commands.append("avatarctl eval ego-hmr --data FOLDER --weights")
    elif "collision" in weights.parts:
        commands = ["avatarctl infer ego-hmr IMAGE --scene ROOM --camera CAMERA --collision"]
    return f"EgoHMR, {', '.join(words)}", facts, commands
