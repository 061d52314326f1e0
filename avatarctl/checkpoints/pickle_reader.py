"""Pickles from strangers, read without running anything of theirs.

An allow-list names the few functions that arrays, tensors and plain containers need, each replaced by a
bounded one of our own. Every other global becomes an inert record whose arguments and state can be looked at,
and which does nothing when called. Sizes are checked against the file's before anything is allocated.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from avatarctl.checkpoints.records import (
    Allowed,
    Called,
    CheckedArray,
    Chumpy,
    Csc,
    Dtype,
    Inert,
    plain_dtype,
)
from avatarctl.errors import AvatarError, CheckpointError, DataError
from avatarctl.files import check_input_file

EXPANSION = 64
"""What a file describes may be this many times larger than the file."""
MAX_DEPTH = 400
MAX_KINDS = 4096
"""Most unknown classes in one file."""
STORAGE_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
OPCODES = {info.code.encode("latin1") for info in pickletools.opcodes}
PAGE = "download the file again in a browser; file-sharing sites ask for a confirmation first"
_LATIN = ("latin1", "latin-1", "iso-8859-1")


class _Reader(pickle.Unpickler):
    """The allow-list; `limit` bounds what is allocated, in bytes."""

    def __init__(
        self,
        file: BinaryIO,
        limit: int,
        storage: Callable[[Any], torch.Tensor] | None = None,
        is_header: bool = False,
        record: type[Inert] = Inert,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self.limit = limit
        self.storage = storage
        self.is_header = is_header
        self.record = record
        self.kinds: dict[tuple[str, str], type[Inert]] = {}

    def charge(self, size: int) -> None:
        """Count an allocation, before it is made."""
        self.limit -= size
        if size < 0 or self.limit < 0:
            raise pickle.UnpicklingError(f"it describes {EXPANSION} times more than the file holds")

    def find_class(self, module: str, name: str) -> Any:
        found: Callable[..., Any] | torch.dtype | None = None
        if module.startswith("numpy"):
            found = self._numeric(module, name)
        elif module in ("builtins", "__builtin__", "copyreg", "copy_reg", "collections", "_codecs"):
            found = self._plain(module, name)
        elif module.split(".")[0] == "torch":
            found = self._torch(module, name)
        elif module.startswith("chumpy"):
            return self._inert(module, name, Chumpy)
        elif module.startswith("scipy.sparse") and name == "csc_matrix":
            return self._inert(module, name, Csc)
        if found is None:
            return self._inert(module, name)
        return found if isinstance(found, torch.dtype) else Allowed(found)

    def persistent_load(self, pid: Any) -> Any:
        if self.storage is None:
            return self._inert("persistent", "id")(pid)
        return self.storage(pid)

    def _inert(self, module: str, name: str, base: type[Inert] | None = None) -> type[Inert]:
        base = base or self.record
        key = (module, name)
        if key not in self.kinds:
            if len(self.kinds) >= MAX_KINDS:
                raise pickle.UnpicklingError(f"more than {MAX_KINDS} unknown classes")
            title = "Inert_" + name.replace(".", "_")
            self.kinds[key] = type(title, (base,), {"module": module, "name": name})
        return self.kinds[key]

    def _numeric(self, module: str, name: str) -> Callable[..., Any] | None:
        if name == "_reconstruct":
            return self._reconstruct
        if name == "scalar" and module.endswith("multiarray"):
            return _numpy_scalar
        if name == "_frombuffer" and module.endswith("numeric"):
            return self._from_buffer
        return Dtype if (module, name) == ("numpy", "dtype") else None

    def _plain(self, module: str, name: str) -> Callable[..., Any] | None:
        found: dict[str, Callable[..., Any]]
        if module == "collections":
            found = {"OrderedDict": self._ordered, "defaultdict": lambda *_: {}}
        elif module == "_codecs":
            found = {"encode": self._encode}
        elif module in ("copyreg", "copy_reg"):
            found = {"_reconstructor": _rebuild_object}
        else:
            found = {
                "complex": complex, "slice": slice, "bytes": self._bytes, "bytearray": self._bytes,
                "set": self._set, "frozenset": lambda *items: frozenset(self._set(*items)),
            }  # fmt: skip
        return found.get(name)

    def _torch(self, module: str, name: str) -> Callable[..., Any] | torch.dtype | None:
        if name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *_: data
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._stored
        return self._tuple if (module, name) == ("torch", "Size") else None

    def _reconstruct(self, kind: Any, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
        if tuple(shape) not in ((0,), ()):
            raise pickle.UnpicklingError(f"an array of shape {tuple(shape)} is announced without data")
        array: CheckedArray = CheckedArray.__new__(CheckedArray, (0,), np.dtype("b"))
        array.charge = self.charge
        return array

    def _from_buffer(
        self, raw: Any, dtype: Any, shape: Any, order: str = "C", axes: Any = None
    ) -> np.ndarray[Any, Any]:
        self.charge(len(raw))
        flat: np.ndarray[Any, Any] = np.frombuffer(raw, plain_dtype(dtype)).copy()
        if order == "K" and axes is not None:
            return np.transpose(np.reshape(flat, shape), axes)
        return np.reshape(flat, shape, order="F" if order == "F" else "C")

    def _stored(self, raw: Any) -> Any:
        """A storage in a plain pickle: a torch file of the legacy layout, as bytes."""
        if not isinstance(raw, bytes) or self.storage is not None:
            raise pickle.UnpicklingError("a tensor storage that is no bytes")
        self.charge(len(raw))
        return _read_legacy(io.BytesIO(raw), len(raw), self.is_header)

    def _ordered(self, items: Any = ()) -> collections.OrderedDict[Any, Any]:
        self.charge(128 * len(items))
        return collections.OrderedDict(items)

    def _set(self, items: Any = ()) -> set[Any]:
        self.charge(64 * len(items))
        return set(items)

    def _tuple(self, items: Any = ()) -> tuple[Any, ...]:
        self.charge(8 * len(items))
        return tuple(items)

    def _encode(self, text: str, encoding: str = "latin1", *_: Any) -> bytes:
        if encoding not in _LATIN:
            raise pickle.UnpicklingError(f"text in encoding {encoding}")
        self.charge(len(text))
        return text.encode("latin1")

    def _bytes(self, content: Any = b"", encoding: str = "latin1") -> bytes:
        if isinstance(content, str):
            return self._encode(content, encoding)
        if not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("a byte array of a given length")
        self.charge(len(content))
        return bytes(content)


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    kind = plain_dtype(dtype)
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if kind.hasobject or len(raw) != kind.itemsize:
        raise pickle.UnpicklingError("a numpy scalar of a wrong size")
    return np.frombuffer(raw, kind)[0]


def _rebuild_object(kind: Any, base: Any, state: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Inert):
        return kind(state)
    raise pickle.UnpicklingError("an object of a built-in class is rebuilt")


def _tensor(flat: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    if not isinstance(flat, torch.Tensor):
        raise pickle.UnpicklingError("a tensor has no storage")
    if math.prod(size) > EXPANSION * max(flat.numel(), 1):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} exceeds its storage of {flat.numel()}")
    return flat.as_strided(tuple(size), tuple(stride), offset)


def _scan(file: BinaryIO, limit: int) -> None:
    """Refuse opcodes that make the unpickler allocate more than the file could need."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if "PUT" in opcode.name and int(argument or 0) > count + 1:
            raise pickle.UnpicklingError(f"memo number {argument} at opcode {count}")
        if opcode.name.startswith("EXT"):
            raise pickle.UnpicklingError("an entry of the extension registry")
        if opcode.name == "FRAME" and int(argument or 0) > limit:
            raise pickle.UnpicklingError("a frame larger than the file")
    file.seek(start)


def _read_one(
    file: BinaryIO,
    limit: int,
    storage: Callable[[Any], torch.Tensor] | None = None,
    is_header: bool = False,
    record: type[Inert] = Inert,
) -> Any:
    _scan(file, limit)
    return _Reader(file, limit, storage, is_header, record).load()


def _tidy(value: Any, depth: int = 0, seen: dict[int, Any] | None = None) -> Any:
    """The same content with plain arrays and number types."""
    seen = {} if seen is None else seen
    if depth > MAX_DEPTH:
        raise pickle.UnpicklingError("containers nested too deeply")
    if isinstance(value, Dtype):
        return value.dtype
    if isinstance(value, CheckedArray):
        return _tidy_array(value, depth, seen)
    if not isinstance(value, dict | list | tuple | Inert) or id(value) in seen:
        return seen.get(id(value), value)
    seen[id(value)] = value
    if isinstance(value, dict):
        for key in list(value):
            value[key] = _tidy(value[key], depth + 1, seen)
    elif isinstance(value, list):
        value[:] = [_tidy(item, depth + 1, seen) for item in value]
    elif isinstance(value, Inert):
        value.state = _tidy(value.state, depth + 1, seen)
        value.args = tuple(_tidy(item, depth + 1, seen) for item in value.args)
        value.items = [_tidy(item, depth + 1, seen) for item in value.items]
    else:
        seen[id(value)] = tuple(_tidy(item, depth + 1, seen) for item in value)
    return seen[id(value)]


def _tidy_array(array: CheckedArray, depth: int, seen: dict[int, Any]) -> np.ndarray[Any, Any]:
    if id(array) not in seen:
        plain = seen[id(array)] = array.view(np.ndarray)
        if plain.dtype.hasobject:
            for place in np.ndindex(plain.shape):
                plain[place] = _tidy(plain[place], depth + 1, seen)
    found: np.ndarray[Any, Any] = seen[id(array)]
    return found


def _check_start(file: BinaryIO, path: Path, kind: type[AvatarError], what: str) -> None:
    """Stop when what comes next cannot begin a pickle, as in a text; the place in the file stays."""
    place = file.tell()
    first = file.read(1)
    file.seek(place)
    if first and first not in OPCODES:
        raise kind(f"{path}: is no {what}", hint="check the path, or download the file again")


def _guarded(path: Path, kind: type[AvatarError], what: str, read: Callable[[], Any]) -> Any:
    """Run a reader; whatever a broken file makes it raise becomes one line."""
    try:
        return _tidy(read())
    except AvatarError:
        raise
    except (MemoryError, RecursionError) as error:
        raise kind(
            f"{path}: {what}: refused: it asks for too much memory or depth", hint="do not use this file"
        ) from error
    except Exception as error:  # a hostile or broken file can make the unpickler raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise kind(f"{path}: {what}: refused: {reason}", hint="copy or download the file again") from error


def load_pickle(path: str | Path, start: int = 0, *, has_calls: bool = False) -> Any:
    """The content of a pickle file as plain containers, arrays and inert records.

    Args:
        start: Bytes of something else before the pickle.
        has_calls: Records may be called, which does nothing; otherwise such a file is refused.

    Raises:
        DataError: The file is broken, or asks for more memory than it can need.
    """
    path = check_input_file(path, "a pickle")
    limit = EXPANSION * path.stat().st_size

    def read() -> Any:
        with path.open("rb") as file:
            file.seek(start)
            _check_start(file, path, DataError, "pickle")
            return _read_one(file, limit, record=Called if has_calls else Inert)

    return _guarded(path, DataError, "pickle", read)


def load_torch(path: str | Path, *, is_header: bool = False) -> Any:
    """The content of a torch file (zip or legacy layout), tensors on the CPU.

    Args:
        is_header: Leave the numbers in the file: tensors on the meta device, which have shapes only.

    Raises:
        CheckpointError: The file is broken, or asks for more memory than it can need.
    """
    path = check_input_file(path, "a torch file")

    def read() -> Any:
        if zipfile.is_zipfile(path):
            return _read_zip(path, is_header)
        with path.open("rb") as file:
            start = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith((b"<!doc", b"<html")):
            raise CheckpointError(f"{path}: found a web page, expected a torch file", hint=PAGE)
        if start.startswith(b"pk"):
            raise pickle.UnpicklingError("it ends early: an archive without its directory")
        with path.open("rb") as file:
            _check_start(file, path, CheckpointError, "torch file")
            return _read_legacy(file, path.stat().st_size, is_header)

    return _guarded(path, CheckpointError, "torch file", read)


def _storage_words(pid: Any) -> tuple[torch.dtype, str, int]:
    is_known = isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"
    if not is_known or not isinstance(pid[1], torch.dtype):
        raise pickle.UnpicklingError("a persistent id that is no tensor storage")
    return pid[1], str(pid[2]), int(pid[4])


def _read_zip(path: Path, is_header: bool) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if inside := [name for name in archive.namelist() if name.endswith((".pth", ".tar", ".pt"))]:
            raise CheckpointError(
                f"{path}: is an archive of files ({inside[0]}, ...), expected a torch file",
                hint="unpack it, and name the folder",
            )
        if len(names) != 1:
            raise pickle.UnpicklingError("no data.pkl inside; not a torch file")
        prefix = names[0][: -len("data.pkl")]
        total = path.stat().st_size
        if sum(entry.file_size for entry in archive.infolist()) > EXPANSION * total:
            raise pickle.UnpicklingError("its entries unpack to more than the file can hold")
        order = prefix + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("big-endian tensors")
        loaded: dict[str, torch.Tensor] = {}

        def storage(pid: Any) -> torch.Tensor:
            dtype, key, _ = _storage_words(pid)
            if is_header:
                held = archive.getinfo(f"{prefix}data/{key}").file_size
                return torch.empty(held // dtype.itemsize, dtype=dtype, device="meta")
            if key not in loaded:
                raw = bytearray(archive.read(f"{prefix}data/{key}"))
                loaded[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            return loaded[key]

        return _read_one(io.BytesIO(archive.read(names[0])), EXPANSION * total, storage)


def _read_legacy(file: BinaryIO, size: int, is_header: bool) -> Any:
    limit = EXPANSION * size
    first = _read_one(file, limit, is_header=is_header, record=Called)
    if first != LEGACY_MAGIC:
        return first
    _read_one(file, limit)
    _read_one(file, limit)
    waiting: dict[str, torch.Tensor] = {}
    claimed = 0

    def storage(pid: Any) -> torch.Tensor:
        nonlocal claimed
        dtype, key, count = _storage_words(pid)
        if key not in waiting:
            claimed += count * dtype.itemsize
            if count < 0 or claimed > size:
                raise pickle.UnpicklingError("tensors larger than the file")
            waiting[key] = torch.empty(count, dtype=dtype, device="meta" if is_header else "cpu")
        return waiting[key]

    content = _read_one(file, limit, storage)
    keys = [str(key) for key in _read_one(file, limit)]
    if sorted(keys) != sorted(waiting):
        raise pickle.UnpicklingError("its tensors are not those that it lists")
    for key in keys if not is_header else []:
        count = struct.unpack("<q", file.read(8))[0]
        target = waiting[key]
        raw = bytearray(file.read(target.nbytes))
        if count != target.numel() or len(raw) != target.nbytes:
            raise pickle.UnpicklingError("the file ends early")
        if raw:
            target.copy_(torch.frombuffer(raw, dtype=target.dtype))
    return content
