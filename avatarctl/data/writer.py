"""Writing a store so that any interruption leaves the old one, or parts that the next try takes up.

Each clip is prepared on its own, in any process, into `.parts/FINGERPRINT.npz` (temporary name, then
renamed). When all are there, they are put together, in order, into shards, and the manifest is written last.
The same inputs give the same bytes, whatever happened in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from avatarctl.data.store import DTYPE, FORMAT, MANIFEST, VERSION, manifest_digest, read_manifest
from avatarctl.errors import DataError
from avatarctl.files import atomic, digest, write_failure, write_text

SHARD_BYTES = 60 << 20
"""A shard is closed when it is this large; below 64 MiB its digest covers every byte."""
ENDS = 1 << 16
WHOLE = 1 << 20


def fingerprint(path: str | Path, *words: str) -> str:
    """What a finished clip is recognised by: a digest of its source and of the options it is prepared with.

    Archives are known by their size, start and end, which hold the checksums of all that is inside; anything
    else and small files by all their bytes.
    """
    path = Path(path)
    total = hashlib.sha256("\0".join(words).encode())
    size = path.stat().st_size
    total.update(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE or path.suffix not in (".npz", ".gz"):
            while block := file.read(WHOLE):
                total.update(block)
        else:
            total.update(file.read(ENDS))
            file.seek(size - ENDS)
            total.update(file.read())
    return total.hexdigest()[:32]


class StoreWriter:
    """Makes or updates the store in a folder; a context manager that holds the folder's lock.

    Args:
        fields: Numbers in a row of each field; stored as float32.
        attributes: What a reader must know: units, axes, rates, options, origin. Plain values.
    """

    def __init__(self, folder: str | Path, fields: Mapping[str, int], attributes: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.parts = self.folder / ".parts"
        self.fields = dict(fields)
        self.attributes = dict(attributes)
        self._lock: int | None = None

    def __enter__(self) -> StoreWriter:
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_failure(self.folder, error) from error
        self._lock = _lock(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def existing(self) -> dict[str, Any] | None:
        """The manifest of the finished store that is there, if any."""
        return read_manifest(self.folder) if (self.folder / MANIFEST).is_file() else None

    def check_replace(self, replace: bool) -> None:
        """Refuse to overwrite a store of other attributes unless told to; a broken one is in nobody's way.

        Raises:
            DataError: There is one.
        """
        try:
            existing = self.existing()
        except DataError:
            return
        if not existing or replace or existing["attributes"] == self.attributes:
            return
        old, new = existing["attributes"], self.attributes
        changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        raise DataError(
            f"{self.folder}: holds a store made in another way ({', '.join(changed)} differ)",
            hint="choose another --store, or replace it with --replace",
        )

    def is_finished(self, inputs: str) -> bool:
        """Whether the store that is there was made from the same inputs, and is whole."""
        try:
            manifest = self.existing()
        except DataError:  # altered: it is made again
            return False
        if not manifest or manifest["inputs"] != inputs:
            return False
        shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
        paths = [(self.folder / shard["file"], shard["digest"]) for shard in shards]
        return all(path.is_file() and digest(path) == wanted for path, wanted in paths)

    def part(self, key: str) -> Path:
        """Where the clip with a fingerprint is prepared."""
        return self.parts / f"{key}.npz"

    def check_space(self, frames: int) -> None:
        """Raise `DataError` when the disk cannot take so many frames, as parts and as shards."""
        wanted = int(2.2 * frames * 4 * sum(self.fields.values()))
        free = shutil.disk_usage(self.folder).free
        if free < wanted:
            raise DataError(
                f"{self.folder}: {free / 1e9:.1f} GB free; about {wanted / 1e9:.1f} GB are needed",
                hint="free some space or choose another folder with --store",
            )

    def finish(self, splits: Mapping[str, Iterable[str]], inputs: str, **notes: Any) -> dict[str, Any]:
        """Put the parts together and write the manifest, which is returned.

        Args:
            splits: Fingerprints of the clips of each split, in order.
            inputs: Digest of everything the store depends on.
            notes: More to keep in the manifest, e.g. what was left out and why.
        """
        made = {name: self._assemble(name, list(keys)) for name, keys in splits.items()}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "attributes": self.attributes,
            "fields": {name: {"width": width, "dtype": DTYPE} for name, width in self.fields.items()},
            "inputs": inputs,
            "splits": made,
            **notes,
        }
        manifest["digest"] = manifest_digest(manifest)
        # Until it is whole, everything stands in the folder of parts: a kill leaves nothing behind.
        write_text(self.parts / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        try:
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for old in self.folder.glob("*-[0-9][0-9][0-9][0-9][0-9].h5"):
                old.unlink()
            for split in made.values():
                for shard in split["shards"]:
                    (self.parts / shard["file"]).replace(self.folder / shard["file"])
            (self.parts / MANIFEST).replace(self.folder / MANIFEST)
        except OSError as error:
            raise write_failure(self.folder, error) from error
        self.discard_parts()
        return manifest

    def discard_parts(self) -> None:
        """Remove what is only needed while the store is made."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _assemble(self, split: str, keys: list[str]) -> dict[str, Any]:
        shards: list[dict[str, Any]] = []
        waiting: list[str] = []
        lengths: list[int] = []
        row = 4 * sum(self.fields.values())
        for key in keys:
            waiting.append(key)
            lengths.append(part_frames(self.part(key)))
            if sum(lengths) * row >= SHARD_BYTES:
                shards.append(self._write_shard(f"{split}-{len(shards):05d}.h5", waiting, lengths))
                waiting, lengths = [], []
        if waiting:
            shards.append(self._write_shard(f"{split}-{len(shards):05d}.h5", waiting, lengths))
        clips, frames = (sum(shard[what] for shard in shards) for what in ("clips", "frames"))
        return {"clips": clips, "frames": frames, "shards": shards}

    def _write_shard(self, name: str, keys: list[str], lengths: list[int]) -> dict[str, Any]:
        path = self.parts / name
        with atomic(path) as temporary:
            temporary.write_bytes(self._image(keys, np.cumsum([0, *lengths])))
        return {
            "file": name,
            "clips": len(keys),
            "frames": sum(lengths),
            "bytes": path.stat().st_size,
            "digest": digest(path),
        }

    def _image(self, keys: list[str], offsets: np.ndarray) -> bytes:
        """The bytes of a shard, made in memory: on a full disk HDF5 crashes the process, at once or later."""
        abouts = []
        options = {"driver": "core", "backing_store": False, "libver": "earliest"}
        with h5py.File("shard", "w", **options) as file:
            # Contiguous datasets, which a reader can map.
            sets = {
                field: file.create_dataset(field, (int(offsets[-1]), width), "<f4")
                for field, width in sorted(self.fields.items())
            }
            for index, key in enumerate(keys):
                arrays, about = read_part(self.part(key))
                abouts.append(about)
                for field, dataset in sets.items():
                    dataset[offsets[index] : offsets[index + 1]] = arrays[field]
            file["offsets"] = offsets.astype("<i8")
            for column in sorted(abouts[0]):
                values = [about[column] for about in abouts]
                texts = [str(value).encode("utf-8") for value in values]
                is_text = any(isinstance(value, str) for value in values)
                file[column] = np.array(texts, dtype="S") if is_text else np.array(values, dtype="<f8")
            file.attrs["attributes"] = json.dumps(self.attributes, sort_keys=True)
            file.flush()
            return bytes(file.id.get_file_image())


def write_part(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str | float]) -> int:
    """Write one prepared clip; the number of its frames is returned.

    Args:
        arrays: The rows of every field [frames, width].
        about: What to note of the clip; `names` is its name.

    Raises:
        DataError: A field holds numbers that are not finite, or the disk is full.
    """
    frames = {len(array) for array in arrays.values()}
    if len(frames) != 1:
        raise ValueError(f"fields of {about['names']} have {sorted(frames)} frames")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(
                f"{about['names']}: {name}: numbers that are not finite", hint="repair or remove the source"
            )
    with atomic(path) as temporary, temporary.open("wb") as file:
        contents: dict[str, Any] = {"_about": json.dumps(dict(about), sort_keys=True), **arrays}
        np.savez(file, **contents)
    return frames.pop()


def read_part(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The fields of a prepared clip, and what was noted of it."""
    with np.load(path, allow_pickle=False) as archive:
        about = json.loads(str(archive["_about"]))
        return {name: archive[name] for name in archive.files if name != "_about"}, about


def part_frames(path: Path) -> int:
    """Frames of a prepared clip, from the header of one array."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if not name.startswith("_"))
        with archive.open(name) as file:
            np.lib.format.read_magic(file)
            return int(np.lib.format.read_array_header_1_0(file)[0][0])


def _lock(folder: Path) -> int | None:
    """Hold a folder for this process; the system lets go of it however the process ends."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise DataError(
            f"{folder}: another process is preparing this store",
            hint="wait for it, or choose another --store",
        ) from error
    return handle
