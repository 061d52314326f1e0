"""Weights from any file: avatarctl's own, or a published layout that a plugin recognises by its content."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from avatarctl.checkpoints import native
from avatarctl.checkpoints.choice import Choice, Held, choose
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.checkpoints.records import Inert
from avatarctl.errors import AvatarError, CheckpointError
from avatarctl.files import check_input_file
from avatarctl.plugin.target import resolve

if TYPE_CHECKING:
    from avatarctl.api import Weights as Reader

log = logging.getLogger(__name__)
SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".ckpt")
MOST_FILES = 64
"""Weight files looked at below one folder."""
INSPECT = "avatarctl inspect FILE says what a file is"
PERSISTENT = "_reconstruct_persistent_obj"
"""The function that builds networks of the StyleGAN family from their source text; here it is a record."""
Header = dict[str, tuple[int, ...]]
"""Dotted names of a file's tensors and their shapes: what a reader's `sniff` is given."""


class Found(NamedTuple):
    """The reader that knows a torch file, the file's header, and its parts where the reader says them."""

    reader: Reader | None
    header: Header
    parts: tuple[str, ...] = ()


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
    unclear: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Parts that several files of a folder hold with equal right; none of them was read."""

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part.

        Raises:
            CheckpointError: There is no such part, or several files hold it.
        """
        if not self.holds(name):
            held = ", ".join(map(repr, self.parts)) or "nothing"
            raise CheckpointError(f"{self.path}: has no '{name}' weights; it holds {held}", hint=INSPECT)
        return self.parts[name]

    def holds(self, name: str) -> bool:
        """Whether a part is there.

        Raises:
            CheckpointError: Several files hold it.
        """
        if name in self.unclear:
            files = ", ".join(map(str, self.unclear[name]))
            raise CheckpointError(
                f"{self.path}: {len(self.unclear[name])} files hold '{name}' weights: {files}",
                hint="name the file or folder to take; those that belong together are joined by commas",
            )
        return name in self.parts

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


def open_weights(path: str | Path | Sequence[str | Path], readers: Iterable[Reader] = ()) -> Weights:
    """The weights in a file, in the files below a folder, or in several of those.

    Args:
        path: Each of several adds the parts that those before it lack.
        readers: The plugins' declarations of published layouts, tried in order.

    Raises:
        CheckpointError: No reader knows the content, it is broken, or files do not belong together.
    """
    readers = list(readers)
    if isinstance(path, str | Path):
        path = Path(path)
        return _open_folder(path, readers) if path.is_dir() else _open_file(path, readers)
    return joined([open_weights(one, readers) for one in path])


def _open_file(path: Path, readers: list[Reader]) -> Weights:
    check_input_file(path, "trained weights")
    if is_safetensors(path):
        tensors, config = native.load(path)
        return native_weights(path, tensors, config)
    reader, header, _ = find_reader(path, readers)
    if reader is None:
        names = ", ".join(list(header)[:4])
        raise CheckpointError(
            f"{path}: {len(header)} tensors in no known layout ({names or 'none'}, ...)",
            hint=f"{INSPECT}; avatarctl plugins lists what is installed",
        )
    if not reader.read:
        raise CheckpointError(f"{path}: {reader.summary}; expected trained networks", hint=INSPECT)
    content = resolve(reader.read)(path)
    if isinstance(content, Weights):
        return content
    tensors, config = content
    nested = {part: dict(value) for part, value in tensors.items() if isinstance(value, Mapping)}
    return Weights(parts=nested or {"": dict(tensors)}, config=dict(config), kind=reader.name, path=path)


def find_reader(path: str | Path, readers: Iterable[Reader]) -> Found:
    """The first reader that knows a torch file (one that raises is passed over); numbers are not read."""
    header = {name: tuple(t.shape) for name, t in flatten(load_torch(path, is_header=True)).items()}
    for reader in readers:
        try:
            if reader.sniff and (known := resolve(reader.sniff)(header)):
                return Found(reader, header, tuple(known) if isinstance(known, list | tuple) else ())
        except Exception as error:  # a third party's code
            log.warning("weights '%s': %s: %s: %s", reader.name, reader.sniff, type(error).__name__, error)
    return Found(None, header)


def flatten(content: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested dictionaries and pickled networks under dotted names; all else is left out."""
    if isinstance(content, Tensor):
        return {prefix: content}
    if isinstance(content, Inert):
        content = module_content(content)
    if not isinstance(content, Mapping):
        return {}
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        found.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def module_state(record: Any) -> dict[str, Any] | None:
    """The attributes of a torch network in a pickle; None where a record is of something else.

    Networks of the StyleGAN family are pickled with their source text, which is never looked at.
    """
    if not isinstance(record, Inert):
        return None
    state: Any = record.state
    if record.name == PERSISTENT and record.args and isinstance(record.args[0], dict):
        state = record.args[0].get("state")
    is_network = isinstance(state, dict) and isinstance(state.get("_parameters"), dict)
    return state if is_network else None


def module_content(record: Any) -> dict[str, Any]:
    """Parameters, buffers and inner networks of a network in a pickle, by name."""
    state = module_state(record)
    if state is None:
        return {}
    groups = [state.get(name) for name in ("_parameters", "_buffers", "_modules")]
    return {str(key): value for group in groups if isinstance(group, dict) for key, value in group.items()}


def is_safetensors(path: str | Path) -> bool:
    """Whether a file starts as safetensors files do: the length of a JSON header, then the header."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return Path(path).suffix == ".safetensors" or (len(start) == 9 and start[6:] == b"\0\0{")


def native_weights(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Weights:
    """The parts that a native file's configuration lists; one part without a name where it lists none."""
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
    """The parts of all weight files below a folder; only files of which something is taken are read."""
    files, refused = held_in(folder, readers)
    if not any(held.parts for held in files):
        others = [f"{held.path}: holds no networks" for held in files]
        raise CheckpointError("\n".join([*refused.values(), *others]), hint=INSPECT)
    for message in refused.values():
        log.warning("left out: %s", message)
    choice = choose(files)
    if words := choice.line(folder, files):
        log.info("%s: %s", folder, words)
    return assemble(
        folder, choice, [open_weights(path, readers) for path in dict.fromkeys(choice.taken.values())]
    )


def assemble(folder: Path, choice: Choice, opened: Iterable[Weights]) -> Weights:
    """The parts that a choice takes from the opened files of a folder."""
    found = []
    for weights in opened:
        own = {part: held for part, held in weights.parts.items() if choice.taken.get(part) == weights.path}
        found += [replace(weights, parts=own)] if own else []
    if not found:
        return Weights({}, {}, "folder", folder, choice.unclear)
    found.sort(key=lambda weights: -len(weights.parts))
    return replace(joined(found), path=folder, unclear=choice.unclear)


def held_in(folder: Path, readers: Iterable[Reader]) -> tuple[list[Held], dict[Path, str]]:
    """The weight files below a folder with their parts, and those that cannot be used, with the reason.

    Files without tensors, and those that a plugin knows as no networks, such as a renderer's, have no parts.

    Raises:
        CheckpointError: There is none that can be used, or there are too many.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files or len(files) > MOST_FILES:
        found = "no weight file" if not files else f"{len(files)} weight files"
        raise CheckpointError(f"{folder}: {found} ({', '.join(SUFFIXES)}) below it", hint="name one file")
    held: list[Held] = []
    refused: dict[Path, str] = {}
    readers = list(readers)
    for path in files:
        try:
            held.append(Held(path, _parts_of(path, readers)))
        except AvatarError as error:
            refused[path] = error.message
    if not held:
        raise CheckpointError("\n".join(refused.values()), hint=INSPECT)
    return held, refused


def _parts_of(path: Path, readers: list[Reader]) -> tuple[str, ...]:
    """The parts in a file, from its header where that says them."""
    check_input_file(path, "trained weights")
    if is_safetensors(path):
        listed = native.stored_config(path).get("parts")
        return tuple(map(str, listed)) if isinstance(listed, list) else ("",)
    found = find_reader(path, readers)
    if not found.header or (found.reader is not None and not found.reader.read):
        return ()  # statistics and such, or files that a plugin knows as no networks
    return found.parts or tuple(_open_file(path, readers).parts)


def joined(several: Sequence[Weights]) -> Weights:
    """Weights as one; each adds the parts that those before it lack.

    Raises:
        CheckpointError: They say different things of what holds for all parts.
    """
    first = several[0]
    for more in several[1:]:
        new = {part: tensors for part, tensors in more.parts.items() if part not in first.parts}
        unclear = {part: files for part, files in more.unclear.items() if part not in first.parts}
        still = {part: files for part, files in first.unclear.items() if part not in new}
        if new:
            _check_agreement(first, more)
        elif more.parts:
            log.warning("%s: not used: what it holds is in %s already", more.path, first.path)
        first = replace(
            first,
            parts={**first.parts, **new},
            config=_joined(first.config, more.config) if new else first.config,
            kind=first.kind if more.kind == first.kind or not new else "folder",
            unclear={**unclear, **still},
        )
    return first


def _check_agreement(first: Weights, more: Weights) -> None:
    """Text beside the groups of a configuration holds for all parts; only the run's name may differ."""
    for key in first.config.keys() & more.config.keys() - {"run"}:
        one, other = first.config[key], more.config[key]
        if isinstance(one, str) and one != other:
            raise CheckpointError(
                f"{first.path} has {key} '{one}', but {more.path} '{other}'",
                hint="choose weights that were trained together",
            )


def _joined(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two configurations as one; a group in both (`networks`) keeps the entries of both, `first` winning."""
    groups = {
        key: {**more[key], **value}
        for key, value in first.items()
        if isinstance(value, dict) and isinstance(more.get(key), dict)
    }
    return {**more, **first, **groups}
