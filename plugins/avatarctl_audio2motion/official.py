"""The published checkpoint files: which network a file holds, read and written (spec 1.1, 1.3)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError
from avatarctl.files import atomic, write_text
from avatarctl_audio2motion import official_diffusion as diffusion
from avatarctl_audio2motion import official_tokens as tokens
from avatarctl_audio2motion.model import KINDS, UNUSED, sizes_in

log = logging.getLogger(__name__)
Tensors = Mapping[str, Tensor]
MAPS = {**diffusion.MAPS, **tokens.MAPS}
"""Of each part: published names of its tensors and ours."""
NESTED = {**diffusion.NESTED, **tokens.NESTED}
MARKS = {**tokens.MARKS, **diffusion.MARKS}
FILES = {**diffusion.FILES, **tokens.FILES}
PERSONS = {"PXB184": "c1", "RLW104": "c2", "TXB805": "c3", "GQS883": "c4"}
"""What published folders call the released persons."""
TABLES = ("rotary.freqs", "resampler.kernel", ".pe")
"""Ends of the names of tables that are worked out again."""
AVATAR = (
    {"model.decoder.local_pose_conv_block.conv1.bias"},
    {"tex_mean", "face_cond_mask"},
    {"K", "Rt", "campos"},
)
"""Tensors by which the renderer's files are known (spec 7.1): body_dec.ckpt, static_assets.pt, the views."""
AGAIN = "download the file again"


def sniff(header: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The network in a published audio2photoreal file; none in a file of anything else."""
    return tuple(part for part, _ in [_found(header)] if part)


def _found(names: Mapping[str, Any]) -> tuple[str, str]:
    """The part that a file holds, and what stands before its names; "" where it holds none."""
    for part, mark in MARKS.items():
        entry = f"{NESTED[part]}." if NESTED[part] else ""
        for before in (entry, f"{entry}module."):  # the second: as several processes save it
            if f"{before}{mark}" in names:
                return part, before
    return "", ""


def is_avatar(header: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file is one of the renderer's, which lie below the same folder."""
    return any(marks <= header.keys() for marks in AVATAR)


def read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The network of a published file under our names; its sizes, person, args.json and step.

    Raises:
        CheckpointError: A tensor that shows a size is missing, or args.json is none.
    """
    from avatarctl.checkpoints.official import flatten

    content = load_torch(path)
    every = flatten(content)
    part, before = _found(every)
    theirs = {name.removeprefix(before): t for name, t in every.items() if name.startswith(before)}
    args = _args(path) if part in FILES and part != "lip" else {}
    _check(path, part, theirs, args)
    ours = {MAPS[part].ours(name): t for name, t in theirs.items() if not name.endswith(TABLES)}
    config: dict[str, Any] = {"networks": {part: _sizes(path, part, ours, args)}}
    if part == "audio":
        config["networks"] = {part: {"log_compression": _has_logarithm(content)}}
    config |= {"args": {part: args}} if args else {}
    if part in ("face", "body"):
        _report(path, args)
        config["schedules"] = {part: args.get("noise_schedule", "cosine")}
    if person := _person(args):
        config["person"] = person
    step = content.get("iteration", _number(path))
    return {part: ours}, config | ({"steps": {part: step}} if type(step) is int else {})


def _args(path: Path) -> dict[str, Any]:
    """What args.json beside a file says, or beside its folder `checkpoints`; nothing where there is none."""
    for folder in (path.parent, path.parent.parent):
        beside = folder / "args.json"
        if beside.is_file():
            try:
                args = json.loads(beside.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{beside}: not JSON: {error}", hint=AGAIN) from error
            if not isinstance(args, dict):
                raise CheckpointError(
                    f"{beside}: found {type(args).__name__}, expected an object", hint=AGAIN
                )
            return args
        if path.parent.name != "checkpoints":
            break
    return {}


def _person(args: Mapping[str, Any]) -> str:
    """Who a network was trained for: a released person's name, else the last part of the data's path."""
    root = args.get("data_root")
    if not isinstance(root, str):
        return ""
    return next((name for name in PERSONS if name in root), Path(root).name)


def _report(path: Path, args: Mapping[str, Any]) -> None:
    """Say which flags have no effect, which are unknown, and what is taken for one that is missing."""
    if not args:
        log.info("%s: no args.json beside it; heads are taken as in the published commands", path)
        return
    ignored = [f"{name} {args[name]}" for name in diffusion.IGNORED if name in args]
    if ignored:
        log.debug("%s: args.json: without effect, as in the published code: %s", path, ", ".join(ignored))
    if unknown := sorted(args.keys() - diffusion.ARGS.keys()):
        log.info("%s: args.json: unknown and ignored: %s", path, ", ".join(unknown))
    if "heads" not in args:
        log.warning("%s: args.json: no heads; taken: %d", path, diffusion.ARGS["heads"])


def _check(path: Path, part: str, theirs: Tensors, args: Mapping[str, Any]) -> None:
    """Refuse what the published code could not run either, and tables that are none of its own."""
    if args.get("unconstrained"):
        raise CheckpointError(
            f"{path}: args.json: unconstrained: found true; the published code cannot run such a network",
            hint="choose a network with conditions",
        )
    heads = args.get("heads", 1)
    if type(heads) is not int or heads < 1:
        raise CheckpointError(
            f"{path}: args.json: heads: found {str(heads)[:40]}, expected a number from 1", hint=AGAIN
        )
    for name, table in diffusion.buffers(theirs).items():
        found = theirs.get(name, table)
        if found.shape != table.shape or not torch.allclose(found.float(), table, rtol=0, atol=1e-3):
            raise CheckpointError(
                f"{path}: {name}: differs from the published table; the network computes otherwise",
                hint="convert it with the code that trained it",
            )


def _sizes(path: Path, part: str, ours: Tensors, args: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if part in tokens.MAPS:
            return tokens.sizes_of(part, ours)
        return diffusion.sizes_of(part, ours, args)
    except (KeyError, IndexError, ValueError) as error:
        key = error.args[0] if isinstance(error, KeyError) else ""
        why = f"lack {MAPS[part].theirs(key)}" if key else "lack tensors, or have some of other dimensions"
        raise CheckpointError(
            f"{path}: the {part} weights {why}; expected a whole published checkpoint", hint=AGAIN
        ) from error


def _has_logarithm(content: Mapping[str, Any]) -> bool:
    """Whether the audio model's settings say that its front end ends in a logarithm (spec 4.2)."""
    args = content.get("args")
    stated = args if isinstance(args, Mapping) else getattr(args, "fields", {})
    return bool(stated.get("log_compression", False))


def _number(path: Path) -> int | None:
    """The step that a published file name says."""
    found = re.search(r"(\d+)$", path.stem)
    return int(found[1]) if found else None


def write(weights: Weights, folder: Path) -> list[Path]:
    """Write the networks in the published layout, each with its args.json.

    Raises:
        CheckpointError: The published code could not compute with one of them.
    """
    networks = {part: _publishable(weights, part) for part in weights.parts if part in FILES}
    if not networks:
        raise CheckpointError(
            f"{weights.path}: holds {', '.join(map(repr, weights.parts)) or 'nothing'}, "
            f"expected one of {', '.join(FILES)}",
            hint="export it with --to safetensors",
        )
    written = []
    for part, sizes in networks.items():
        path = folder / _name(weights, part)
        state = {MAPS[part].theirs(name): t for name, t in weights.parts[part].items()}
        state |= {**diffusion.buffers(state), **diffusion.unused(state)}
        with atomic(path) as temporary:
            torch.save(_nest(part, state, step_of(weights, part)), temporary)
        written.append(path)
        if args := _args_of(weights, part, sizes):
            beside = path.parent.parent if path.parent.name == "checkpoints" else path.parent
            words = json.dumps(args, indent=4, sort_keys=True)
            written.append(write_text(beside / "args.json", words))
    return written


def _name(weights: Weights, part: str) -> str:
    """Where the published folder has a part."""
    person = str(weights.config.get("person", "person"))
    short = PERSONS.get(person, re.sub(r"[^\w-]+", "_", person))
    return FILES[part].format(person=short, step=step_of(weights, part))


def step_of(weights: Weights, part: str) -> int:
    """The training step that a part was taken at; 0 where nothing says it."""
    step = weights.config.get("steps", {}).get(part, weights.config.get("step"))
    return step if type(step) is int else 0


def _publishable(weights: Weights, part: str) -> dict[str, Any]:
    """All sizes of a network that the published code could build."""
    sizes = asdict(sizes_in(weights, part)) if part in KINDS else {}
    why = diffusion.refusal(part, sizes) if part not in tokens.MAPS else tokens.refusal(part, sizes)
    if why:
        raise CheckpointError(f"{weights.path}: {why}", hint="export it with --to safetensors")
    return sizes


def _nest(part: str, state: dict[str, Tensor], step: int) -> dict[str, Any]:
    """The content of a published file."""
    if not NESTED[part]:
        return state
    return ({"iteration": step} if part == "guide" else {}) | {NESTED[part]: state}


def _args_of(weights: Weights, part: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What args.json says: what the file came with, and what the network is."""
    given = weights.config.get("args", {}).get(part, {})
    made = tokens.args_of(part, sizes) if part in tokens.MAPS else diffusion.args_of(part, sizes)
    own = {name: value for name, value in made.items() if name in ("heads", "layers")}
    if schedule := weights.config.get("schedules", {}).get(part):
        own["noise_schedule"] = schedule
    person = {"data_root": weights.config["person"]} if "person" in weights.config and made else {}
    codec = {"resume_pth": _name(weights, "codec")} if part == "guide" and "codec" in weights.parts else {}
    return {**made, **person, **given, **codec, **own}


WORDS = {
    "face": "face diffusion", "body": "body diffusion", "guide": "guide transformer", "codec": "VQ codec",
    "lip": "lip regressor", "audio": "vq-wav2vec audio model", "stats": "statistics of the person",
    "wav2vec": "wav2vec large audio model (the lip regressor holds what is used of it)",
}  # fmt: skip


def describe(weights: Weights) -> tuple[str, dict[str, Any], list[str]] | None:
    """What networks these are, facts about them, and the commands that take them; None for other systems'."""
    networks = weights.config.get("networks")
    if not weights.parts or not set(weights.parts) <= set(WORDS) or not isinstance(networks, dict):
        return None
    facts: dict[str, Any] = {}
    parts = [part for part in WORDS if part in weights.parts]
    for part in parts:
        tensors = weights.parts[part]
        count = sum(t.numel() for name, t in tensors.items() if not name.startswith(UNUSED))
        sizes = networks.get(part, {})
        shown = [f"{name} {sizes[name]}" for name in ("layers", "heads", "width", "depth") if name in sizes]
        facts[WORDS[part]] = ", ".join([f"{count:,} parameters", *shown])
    if "audio" in weights.parts:
        facts["log compression"] = "yes" if networks.get("audio", {}).get("log_compression") else "no"
    facts |= {"person": weights.config["person"]} if "person" in weights.config else {}
    steps = [f"{part} {step}" for part in parts if part != "stats" and (step := step_of(weights, part))]
    facts |= {"training step": ", ".join(steps)} if steps else {}
    return f"audio2photoreal, {', '.join(WORDS[part] for part in parts)}", facts, _commands(weights)


def _commands(weights: Weights) -> list[str]:
    """The commands that take these networks."""
    parts = set(weights.parts)
    commands = (
        ["avatarctl infer audio2motion", "avatarctl eval audio2motion"] if parts & {"face", "body"} else []
    )
    commands += ["avatarctl train audio2motion --stage guide --vqvae"] if "codec" in parts else []
    commands += ["avatarctl train audio2motion --stage face --audio"] if "lip" in parts else []
    return commands
