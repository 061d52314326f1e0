"""What a file is, as a value that `avatarctl inspect` prints; here: files that hold weights."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avatarctl.checkpoints import native
from avatarctl.checkpoints.choice import Choice, Held, choose
from avatarctl.checkpoints.load import is_finite
from avatarctl.checkpoints.official import (
    Header,
    Weights,
    assemble,
    find_reader,
    held_in,
    is_safetensors,
    native_weights,
    open_weights,
)
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError
from avatarctl.files import check_input_file
from avatarctl.plugin.target import resolve

if TYPE_CHECKING:
    from avatarctl.api import Weights as Reader

Kind = Literal[
    "weights",
    "run",
    "store",
    "motion",
    "headset",
    "body",
    "mesh",
    "picture",
    "film",
    "sound",
    "script",
    "data",
    "arrays",
]


@dataclass(frozen=True)
class Description:
    """What was found: the kind of file, facts in the order they are shown, and every array's shape."""

    path: Path
    kind: Kind
    what: str
    """The kind in words, as exactly as the content says."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, str] = field(default_factory=dict)
    reader: str = ""
    """Name of the `Weights` declaration that recognised it."""
    commands: tuple[str, ...] | None = None
    """The commands that take it, where its plugin says so."""


def describe_weights(path: str | Path, readers: Iterable[Reader] = ()) -> Description:
    """The description of a weights file (native, or a published torch file) or of a folder of them.

    Args:
        readers: The plugins' declarations of published layouts, tried in order.

    Raises:
        CheckpointError: It is broken, or a folder without weights.
    """
    path, readers = Path(path), list(readers)
    if path.is_dir():
        return _folder(path, readers)
    check_input_file(path, "a weights file")
    if is_safetensors(path):
        return _native(path, readers)
    if _is_pointer(path):
        return _pointed(path, readers)
    found = find_reader(path, readers)
    if found.reader is None:
        load_torch(path)  # read whole, so that damage is seen
        return Description(
            path, "weights", "torch file in no known layout", _counts(found.header), _shapes(found.header)
        )
    plain = Description(
        path, "weights", found.reader.summary, _counts(found.header), _shapes(found.header), found.reader.name
    )
    return _by_its_plugin(plain, open_weights(path, readers), readers) if found.reader.read else plain


def _by_its_plugin(plain: Description, weights: Weights, readers: list[Reader]) -> Description:
    """A description with the words of the plugin that knows the networks, where one does."""
    broken = [
        f"{part}.{name}"
        for part, tensors in weights.parts.items()
        for name, tensor in tensors.items()
        if not is_finite(tensor)
    ]
    facts = {"not finite": f"numbers in {', '.join(broken[:3])}"} if broken else {}
    for reader in readers:
        known = resolve(reader.describe)(weights) if reader.describe else None
        if known is not None:
            what, more, commands = known
            kept = {key: value for key, value in plain.facts.items() if key not in weights.parts}
            return replace(plain, what=what, facts={**facts, **more, **kept}, commands=tuple(commands))
    return replace(plain, facts={**facts, **plain.facts})


def _native(path: Path, readers: list[Reader]) -> Description:
    tensors, config = native.load(path)  # read whole, so that its checksum is looked at
    weights = native_weights(path, tensors, config)
    header = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    networks = {name: shape for name, shape in header.items() if not name.startswith("#")}
    is_training = len(networks) < len(header)
    what = "training checkpoint" if is_training else "weights"
    what = f"native {what}" if config else "safetensors file of another program"
    facts: dict[str, Any] = {"kind": config["kind"]} if "kind" in config else {}
    facts |= _counts(networks)
    if is_training:
        facts["optimiser, averages, random streams"] = f"{len(header) - len(networks)} tensors"
    loop = config.pop("loop", None)  # mostly the optimiser's state
    facts |= {"step": loop["step"], "validation": loop["validation"]} if loop else {}
    facts |= {"config": config} if config else {}
    types = {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in tensors.items()
    }
    plain = Description(path, "weights", what, facts, types)
    found = _by_its_plugin(plain, weights, readers)
    return found if found.what == what else replace(found, what=f"{what}: {found.what}")


def _folder(path: Path, readers: list[Reader]) -> Description:
    """Every weight file below a folder, and together the networks that are taken of them."""
    files, refused = held_in(path, readers)
    choice = choose(files)
    facts: dict[str, Any] = {}
    opened: list[Weights] = []
    for held in files:
        if not held.parts:
            facts[str(held.path.relative_to(path))] = describe_weights(held.path, readers).what
            continue
        weights = open_weights(held.path, readers)
        plain = Description(held.path, "weights", ", ".join(held.parts))
        facts[str(held.path.relative_to(path))] = _by_its_plugin(plain, weights, readers).what + _use(
            held, choice
        )
        opened.append(weights)
    facts |= {str(file.relative_to(path)): reason for file, reason in refused.items()}
    whole = assemble(path, choice, opened)
    header = {
        f"{part}.{name}": tuple(t.shape) for part, own in whole.parts.items() for name, t in own.items()
    }
    reader = whole.kind if whole.kind in [item.name for item in readers] else ""
    plain = Description(path, "weights", "folder of weights", _counts(header), _shapes(header), reader)
    found = _by_its_plugin(plain, whole, readers)
    if found.what == plain.what:
        what = plain.what if whole.parts or whole.unclear else "folder without networks"
    else:
        what = f"folder of weights: {found.what}"
    return replace(found, what=what, facts={**facts, **found.facts})


def _use(held: Held, choice: Choice) -> str:
    """What keeps a file of a folder from being used, for its line."""
    if held.path in choice.taken.values():
        return ""
    others = [path for part in held.parts for path in choice.unclear.get(part, ())]
    if held.path in others:
        return " (one of several: name the one to take)"
    return " (not used)"


def _is_pointer(path: Path) -> bool:
    """Whether a file is one of the small JSON files best.pt and last.pt of a run."""
    with path.open("rb") as file:
        return file.read(1) == b"{"


def _pointed(path: Path, readers: list[Reader]) -> Description:
    try:
        target = path.parent / os.path.basename(json.loads(path.read_bytes())["file"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: is no pointer to a checkpoint: {error}", hint="delete it") from error
    inner = _native(check_input_file(target, "the checkpoint that it points to"), readers)
    return replace(inner, path=path, what=f"pointer to {target.name}, a {inner.what}")


def _counts(header: Header) -> dict[str, Any]:
    """Tensors and numbers, in all and per part (the word before the first dot) where there are a few."""
    parts: dict[str, Header] = {}
    for name, shape in header.items():
        parts.setdefault(name.partition(".")[0], {})[name] = shape
    facts = {"holds": _count(header)}
    if 1 < len(parts) <= 12:
        facts |= {part: _count(inside) for part, inside in parts.items()}
    return facts


def _count(header: Header) -> str:
    return f"{len(header)} tensors, {sum(math.prod(shape) for shape in header.values()):,} numbers"


def _shapes(header: Header) -> dict[str, str]:
    return {name: str(list(shape)) for name, shape in header.items()}
