"""Reading a prepared store: a folder of HDF5 shards, read through memory maps.

    FOLDER/manifest.json      written last: format, attributes, fields, splits and their shards with digests
    FOLDER/SPLIT-00000.h5     one contiguous dataset per field [frames, width], `offsets` [clips + 1], columns

Each shard is checked against its digest before anything else touches it, once, when it is first used.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avatarctl.errors import DataError
from avatarctl.files import digest

FORMAT, VERSION = "avatarctl-store", 1
MANIFEST = "manifest.json"
AGAIN = "prepare the store again (avatarctl prepare --help)"
DTYPE = "<f4"
"""Number type of every field."""
_FIELD: dict[str, type] = {"width": int, "dtype": str}
_SPLIT: dict[str, type] = {"shards": list, "clips": int, "frames": int}
_SHARD: dict[str, type] = {"file": str, "clips": int, "frames": int, "bytes": int, "digest": str}
_WORDS = {dict: "a mapping", list: "a list", str: "text", int: "a whole number"}


def manifest_digest(manifest: dict[str, Any]) -> str:
    """sha256 of a manifest without its own digest."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a store.

    Raises:
        DataError: The folder is no finished store, or the manifest was altered.
    """
    path = Path(folder) / MANIFEST
    if not Path(folder).exists():
        raise DataError(
            f"{folder}: store not found", hint="avatarctl prepare makes one; --store says where it is"
        )
    if not path.is_file():
        raise DataError(f"{folder}: no {MANIFEST}; expected a finished store", hint=AGAIN)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint=AGAIN) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path}: format: is no avatarctl store's manifest", hint=AGAIN)
    if manifest.get("version") != VERSION:
        raise DataError(f"{path}: version: found {manifest.get('version')}; expected {VERSION}", hint=AGAIN)
    if manifest.get("digest") != manifest_digest(manifest):
        raise DataError(f"{path}: digest: does not match the content; the file was altered", hint=AGAIN)
    _check_form(path, manifest)
    return manifest


def _check_form(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse a manifest, whole as it may be, that lacks what readers of a store need."""

    def check(where: str, holder: dict[str, Any], wanted: dict[str, type]) -> None:
        for name, kind in wanted.items():
            value = holder.get(name)
            if type(value) is not kind or (isinstance(value, int) and value < 0):
                found = "nothing" if name not in holder else str(value)[:40]
                raise DataError(f"{path}: {where}{name}: found {found}; expected {_WORDS[kind]}", hint=AGAIN)

    check("", manifest, {"attributes": dict, "fields": dict, "splits": dict, "inputs": str})
    for group, wanted in (("fields", _FIELD), ("splits", _SPLIT)):
        check(f"{group}: ", manifest[group], dict.fromkeys(manifest[group], dict))
        for name, about in manifest[group].items():
            check(f"{group}: {name}: ", about, wanted)
    for name, about in manifest["fields"].items():
        if about["dtype"] != DTYPE:
            raise DataError(f"{path}: fields: {name}: dtype: expected {DTYPE}", hint=AGAIN)
    for name, about in manifest["splits"].items():
        for number, shard in enumerate(about["shards"]):
            where = f"splits: {name}: shard {number}"
            check(f"splits: {name}: ", {f"shard {number}": shard}, {f"shard {number}": dict})
            check(f"{where}: ", shard, _SHARD)
            if Path(shard["file"]).name != shard["file"]:
                raise DataError(f"{path}: {where}: file: expected a name without a folder", hint=AGAIN)


class Store:
    """A prepared store; `attributes` says how it was made, `splits` names its parts."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.attributes: dict[str, Any] = self.manifest["attributes"]
        self.fields: dict[str, dict[str, Any]] = self.manifest["fields"]
        self.splits: tuple[str, ...] = tuple(self.manifest["splits"])
        self._opened: dict[str, Split] = {}

    @property
    def digest(self) -> str:
        """What identifies the content: the digest of the manifest, which holds those of the shards."""
        return str(self.manifest["digest"])

    def split(self, name: str) -> Split:
        """One split of the store.

        Raises:
            DataError: There is none of that name, or a shard is missing, truncated or altered.
        """
        if name not in self.splits:
            raise DataError(
                f"{self.path}: no split '{name}'; it has {', '.join(self.splits) or 'none'}",
                hint="choose one with --split, or prepare the store again",
            )
        if name not in self._opened:
            listed = self.manifest["splits"][name]["shards"]
            shards = [_Shard(self.path, entry, self.fields) for entry in listed]
            self._opened[name] = Split(name, shards, self.fields)
        return self._opened[name]


class Split:
    """The clips of one split, back to back: clip i has the rows offsets[i] to offsets[i + 1] of every field.

    Read-only and free of handles, so it may be used after a fork and from several threads.
    """

    def __init__(self, name: str, shards: list[_Shard], fields: dict[str, dict[str, Any]]) -> None:
        self.name = name
        self.fields = fields
        self._shards = shards
        self._starts = np.cumsum([0, *(shard.frames for shard in shards)])

    def __len__(self) -> int:
        return sum(shard.clips for shard in self._shards)

    @property
    def frames(self) -> int:
        """Frames of all clips."""
        return int(self._starts[-1])

    @cached_property
    def names(self) -> list[str]:
        """Names of the clips."""
        return [name for shard in self._shards for name in shard.texts("names")]

    @cached_property
    def offsets(self) -> np.ndarray:
        """First row of each clip, and the end: int64 [clips + 1]."""
        parts = [shard.offsets[:-1] + start for shard, start in zip(self._shards, self._starts, strict=False)]
        return np.concatenate([*parts, self._starts[-1:]]).astype(np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each clip, int64 [clips]."""
        return np.diff(self.offsets)

    def column(self, name: str) -> list[Any]:
        """What the preparation noted about each clip (text or numbers), e.g. `source`, `fps`."""
        return [value for shard in self._shards for value in shard.column(name)]

    def field(self, name: str) -> np.ndarray:
        """All rows of a field [frames, width]: a memory map, or a copy where there are several shards."""
        arrays = [shard.array(self._check(name)) for shard in self._shards]
        if len(arrays) == 1:
            return arrays[0]
        width, dtype = self.fields[name]["width"], self.fields[name]["dtype"]
        return np.concatenate(arrays) if arrays else np.empty((0, width), dtype)

    def clip(self, field: str, index: int) -> np.ndarray:
        """The rows of one clip [length, width], read-only."""
        return self.window(field, index, 0, int(self.lengths[index]))

    def window(self, field: str, clip: int, start: int, length: int) -> np.ndarray:
        """`length` rows of a clip from its frame `start` on [length, width], read-only."""
        first = int(self.offsets[clip]) + start
        if start < 0 or length < 0 or first + length > self.offsets[clip + 1]:
            raise ValueError(
                f"frames {start} to {start + length} of clip {clip}, which has {self.lengths[clip]}"
            )
        shard = min(int(np.searchsorted(self._starts, first, side="right")) - 1, len(self._shards) - 1)
        inside = first - int(self._starts[shard])
        return self._shards[shard].array(self._check(field))[inside : inside + length]

    def gather(self, field: str, rows: np.ndarray) -> np.ndarray:
        """Copies of any rows [*rows.shape, width]."""
        arrays = [shard.array(self._check(field)) for shard in self._shards]
        if len(arrays) == 1:
            return np.take(arrays[0], rows, axis=0)
        result = np.empty((*rows.shape, self.fields[field]["width"]), self.fields[field]["dtype"])
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(owner):
            mine = owner == shard
            result[mine] = np.take(arrays[shard], rows[mine] - self._starts[shard], axis=0)
        return result

    def _check(self, field: str) -> str:
        if field not in self.fields:
            raise DataError(
                f"split '{self.name}': no field '{field}'; it has {', '.join(self.fields)}", hint=AGAIN
            )
        return field


@dataclass(frozen=True)
class _Shard:
    folder: Path
    entry: dict[str, Any]
    fields: dict[str, dict[str, Any]]

    @property
    def frames(self) -> int:
        return int(self.entry["frames"])

    @property
    def clips(self) -> int:
        return int(self.entry["clips"])

    @cached_property
    def path(self) -> Path:
        """The file, once its digest was found right."""
        path: Path = self.folder / self.entry["file"]
        if not path.is_file():
            raise DataError(f"{path}: missing; the manifest lists it", hint=AGAIN)
        if path.stat().st_size != self.entry["bytes"] or digest(path) != self.entry["digest"]:
            raise DataError(f"{path}: truncated or altered; its digest is not the manifest's", hint=AGAIN)
        return path

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        found = {}
        try:
            with h5py.File(self.path, "r") as file:
                for name, dataset in file.items():
                    offset = dataset.id.get_offset()
                    if offset is None:  # empty, or not contiguous
                        found[name] = dataset[()]
                    else:
                        mapped = np.memmap(self.path, dataset.dtype, "r", offset, dataset.shape)
                        found[name] = mapped.view(np.ndarray)
        except (OSError, RuntimeError, AttributeError) as error:
            raise DataError(f"{self.path}: no shard of a store: {error}", hint=AGAIN) from error
        self._check_content(found)
        return found

    def _check_content(self, found: dict[str, np.ndarray]) -> None:
        """Refuse a shard that is whole but does not hold what the manifest says."""
        wanted: dict[str, tuple[tuple[int, ...], str]] = {
            name: ((self.frames, about["width"]), DTYPE) for name, about in self.fields.items()
        }
        wanted["offsets"] = ((self.clips + 1,), "<i8")
        for name, (shape, dtype) in wanted.items():
            array = np.asarray(found.get(name))
            if array.shape != shape or array.dtype.str != dtype:
                raise DataError(
                    f"{self.path}: {name}: found {array.dtype} {list(array.shape)}; "
                    f"expected {dtype} {list(shape)}",
                    hint=AGAIN,
                )
            if name in self.fields and not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
                raise DataError(f"{self.path}: {name}: row {row}: numbers that are not finite", hint=AGAIN)
        offsets = found["offsets"]
        if offsets[0] != 0 or offsets[-1] != self.frames or (np.diff(offsets) < 0).any():
            raise DataError(f"{self.path}: offsets: do not lead from 0 to {self.frames}", hint=AGAIN)
        for name in found.keys() - wanted.keys():
            if np.shape(found[name]) != (self.clips,):
                raise DataError(f"{self.path}: {name}: expected one value a clip, {self.clips}", hint=AGAIN)

    @property
    def offsets(self) -> np.ndarray:
        return self.array("offsets")

    def array(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def texts(self, name: str) -> list[str]:
        try:
            return [bytes(value).decode("utf-8") for value in self.array(name)]
        except (UnicodeDecodeError, TypeError, KeyError) as error:
            raise DataError(f"{self.path}: {name}: is missing, or no text", hint=AGAIN) from error

    def column(self, name: str) -> list[Any]:
        if name not in self._arrays or name in self.fields:
            raise DataError(f"{self.path}: no column '{name}'", hint=AGAIN)
        array = self.array(name)
        return self.texts(name) if array.dtype.kind == "S" else array.tolist()
