"""Weights from any file: avatarctl's own, or a published layout that a plugin recognises by its content."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avatarctl.checkpoints import native
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import AvatarError, CheckpointError
from avatarctl.files import check_input_file
from avatarctl.plugin.target import resolve

if TYPE_CHECKING:
    from avatarctl.api import Weights as Reader

log = logging.getLogger(__name__)
SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".ckpt")
MOST_FILES = 64
"""Weight files looked at below one folder."""
Header = dict[str, tuple[int, ...]]
"""Dotted names of a file's tensors and their shapes: what a reader's `sniff` is given."""


@dataclass(frozen=True)
class Weights:
    """Tensors by network part, with the configuration they were made with.

    `parts` maps a part ("upper", "decoder", ...; "" where there is only one) to its tensors; `kind` is the
    reader's or the file's own word for what it is.
    """

    parts: dict[str, dict[str, Tensor]]
    config: dict[str, Any]
    kind: str
    path: Path

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part.

        Raises:
            CheckpointError: The file has no such part.
        """
        if name not in self.parts:
            held = ", ".join(map(repr, self.parts)) or "nothing"
            raise CheckpointError(
                f"{self.path}: has no '{name}' weights; it holds {held}",
                hint="avatarctl inspect FILE says what a file is",
            )
        return self.parts[name]

    def write(self, path: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write a native file that `open_weights` reads back."""
        flat = {
            f"{part}.{name}": tensor
            for part, tensors in self.parts.items()
            for name, tensor in tensors.items()
        }
        return native.save(
            path, flat, {**self.config, "kind": self.kind, "parts": list(self.parts)}, dtype=dtype
        )


def open_weights(path: str | Path, readers: Iterable[Reader] = ()) -> Weights:
    """The weights in a file or in the files below a folder.

    Args:
        readers: The plugins' declarations of published layouts, tried in order.

    Raises:
        CheckpointError: No reader knows the content, or it is broken.
    """
    path, readers = Path(path), list(readers)
    if path.is_dir():
        return _open_folder(path, readers)
    check_input_file(path, "trained weights")
    if is_safetensors(path):
        tensors, config = native.load(path)
        return _native_weights(path, tensors, config)
    reader, header = find_reader(path, readers)
    if reader is None:
        names = ", ".join(list(header)[:4])
        raise CheckpointError(
            f"{path}: {len(header)} tensors in no known layout ({names or 'none'}, ...)",
            hint="avatarctl inspect FILE says what a file is; avatarctl plugins lists what is installed",
        )
    content = resolve(reader.read)(path)
    if isinstance(content, Weights):
        return content
    tensors, config = content
    nested = {part: dict(value) for part, value in tensors.items() if isinstance(value, Mapping)}
    return Weights(parts=nested or {"": dict(tensors)}, config=dict(config), kind=reader.name, path=path)


def find_reader(path: str | Path, readers: Iterable[Reader]) -> tuple[Reader | None, Header]:
    """The first reader that knows a torch file (one that raises is passed over), and the file's header."""
    header = {name: tuple(tensor.shape) for name, tensor in flatten(load_torch(path)).items()}
    for reader in readers:
        try:
            if reader.sniff and resolve(reader.sniff)(header):
                return reader, header
        except Exception as error:  # a third party's code
            log.warning("weights '%s': %s: %s: %s", reader.name, reader.sniff, type(error).__name__, error)
    return None, header


def flatten(content: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested dictionaries under dotted names; everything else is left out."""
    if isinstance(content, Tensor):
        return {prefix: content}
    if not isinstance(content, Mapping):
        return {}
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        found.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def is_safetensors(path: str | Path) -> bool:
    """Whether a file starts as safetensors files do: the length of a JSON header, then the header."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return Path(path).suffix == ".safetensors" or (len(start) == 9 and start[6:] == b"\0\0{")


def _native_weights(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Weights:
    kind = str(config.get("kind", "safetensors"))
    listed = config.get("parts")
    if not isinstance(listed, list):
        return Weights(parts={"": tensors}, config=config, kind=kind, path=path)
    parts: dict[str, dict[str, Tensor]] = {str(part): {} for part in listed}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    config = {key: value for key, value in config.items() if key not in ("kind", "parts")}
    return Weights(parts=parts, config=config, kind=kind, path=path)


def _open_folder(folder: Path, readers: list[Reader]) -> Weights:
    """The parts of all weight files below a folder; published names say nothing (sparse-tracking 1.2).

    Of two files with the same part, the one with more parts wins (it was trained later), then one named best.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files or len(files) > MOST_FILES:
        found = "no weight file" if not files else f"{len(files)} weight files"
        raise CheckpointError(f"{folder}: {found} ({', '.join(SUFFIXES)}) below it", hint="name one file")
    opened: list[Weights] = []
    refused: list[str] = []
    for path in files:
        try:
            opened.append(open_weights(path, readers))
        except AvatarError as error:
            refused.append(error.message)
    if not opened:
        raise CheckpointError("\n".join(refused), hint="avatarctl inspect FILE says what a file is")
    opened.sort(key=lambda weights: (-len(weights.parts), not weights.path.name.startswith("best")))
    return _merge(folder, opened)


def _merge(folder: Path, opened: list[Weights]) -> Weights:
    parts: dict[str, dict[str, Tensor]] = {}
    config: dict[str, Any] = {}
    came: dict[str, Weights] = {}
    for weights in opened:
        for part, tensors in weights.parts.items():
            first = came.setdefault(part, weights)
            is_tie = first.path.parent != weights.path.parent and len(first.parts) == len(weights.parts)
            if first is not weights and is_tie:
                raise CheckpointError(
                    f"{folder}: two files hold '{part}' weights: {first.path}, {weights.path}",
                    hint="name one file",
                )
            parts.setdefault(part, tensors)
        config = _joined(config, weights.config)
    kinds = {weights.kind for weights in opened}
    return Weights(parts=parts, config=config, kind=kinds.pop() if len(kinds) == 1 else "folder", path=folder)


def _joined(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two configurations as one; a group in both (`networks`) keeps the entries of both, `first` winning."""
    groups = {
        key: {**more[key], **value}
        for key, value in first.items()
        if isinstance(value, dict) and isinstance(more.get(key), dict)
    }
    return {**more, **first, **groups}
