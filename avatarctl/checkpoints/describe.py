"""What a file is, as a value that `avatarctl inspect` prints; here: files that hold weights."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avatarctl.checkpoints import native
from avatarctl.checkpoints.official import Header, find_reader, is_safetensors, open_weights
from avatarctl.errors import CheckpointError
from avatarctl.files import check_input_file

if TYPE_CHECKING:
    from avatarctl.api import Weights as Reader

Kind = Literal["weights", "run", "store", "motion", "headset", "body", "mesh", "arrays"]


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


def describe_weights(path: str | Path, readers: Iterable[Reader] = ()) -> Description:
    """The description of a weights file (native, or a published torch file) or of a folder of them.

    Args:
        readers: The plugins' declarations of published layouts, tried in order.

    Raises:
        CheckpointError: It is broken, or a folder without weights.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, list(readers))
    check_input_file(path, "a weights file")
    if is_safetensors(path):
        return _native(path)
    if _is_pointer(path):
        return _pointed(path)
    reader, header = find_reader(path, readers)
    what = reader.summary if reader else "torch file in no known layout"
    return Description(path, "weights", what, _counts(header), _shapes(header), reader.name if reader else "")


def _native(path: Path) -> Description:
    tensors, config = native.load(path)  # read whole, so that its checksum is looked at
    header = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    weights = {name: shape for name, shape in header.items() if not name.startswith("#")}
    what = "training checkpoint" if len(weights) < len(header) else "weights"
    what = f"native {what}" if config else "safetensors file of another program"
    facts: dict[str, Any] = {"kind": config["kind"]} if "kind" in config else {}
    facts |= _counts(weights)
    if len(weights) < len(header):
        facts["optimiser, averages, random streams"] = f"{len(header) - len(weights)} tensors"
    loop = config.pop("loop", None)  # mostly the optimiser's state
    facts |= {"step": loop["step"], "validation": loop["validation"]} if loop else {}
    facts |= {"config": config} if config else {}
    types = {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in tensors.items()
    }
    return Description(path, "weights", what, facts, types)


def _folder(path: Path, readers: list[Reader]) -> Description:
    weights = open_weights(path, readers)
    header = {
        f"{part}.{name}": tuple(t.shape)
        for part, tensors in weights.parts.items()
        for name, t in tensors.items()
    }
    facts = {"kind": weights.kind, **_counts(header)}
    reader = weights.kind if weights.kind in [item.name for item in readers] else ""
    return Description(path, "weights", "folder of weights", facts, _shapes(header), reader)


def _is_pointer(path: Path) -> bool:
    """Whether a file is one of the small JSON files best.pt and last.pt of a run."""
    with path.open("rb") as file:
        return file.read(1) == b"{"


def _pointed(path: Path) -> Description:
    try:
        target = path.parent / os.path.basename(json.loads(path.read_bytes())["file"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: is no pointer to a checkpoint: {error}", hint="delete it") from error
    inner = _native(check_input_file(target, "the checkpoint that it points to"))
    return Description(
        path, "weights", f"pointer to {target.name}, a {inner.what}", inner.facts, inner.arrays
    )


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
