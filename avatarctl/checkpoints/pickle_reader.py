"""Pickles from strangers, read without running anything of theirs.

An allow-list names the few functions that arrays, tensors and plain containers need, each replaced by a bounded one of
our own. Every other global becomes an inert record whose arguments and state can be looked at, and which does nothing
when called. Sizes are checked against the file's before anything is allocated.
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

from avatarctl.errors import AvatarError, CheckpointError, DataError
from avatarctl.files import check_input_file

EXPANSION = 64
"""An array may be this many times larger than the file that describes it."""
MAX_DEPTH = 500
ALLOWED_SCALARS = {"complex": complex, "object": object, "set": set, "frozenset": frozenset, "slice": slice}
STORAGE_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Inert:
    """What stands for an object of an unknown class: its class's name, arguments and state."""

    module = ""
    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        self = super().__new__(cls)
        self.args, self.kwargs, self.state, self.items = args, kwargs, None, []
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Keep an item of a list subclass."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Keep items of a list subclass."""
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __repr__(self) -> str:
        return f"<inert {self.module}.{self.name}>"


class _Chumpy(Inert):
    @property
    def array(self) -> np.ndarray:
        """The array a chumpy object carries."""
        state = self.state if isinstance(self.state, dict) else {}
        for key in ("x", "_x", "a"):
            if key in state:
                inner = state[key]
                return np.asarray(getattr(inner, "array", inner))
        raise DataError(f"a chumpy object ({self.name}) carries no array", hint="use the file as published")


class _Csc(Inert):
    def toarray(self) -> np.ndarray:
        """The dense matrix of a scipy CSC record."""
        state = self.state if isinstance(self.state, dict) else {}
        try:
            rows, columns = (int(size) for size in (state.get("_shape") or state["shape"]))
            data, indices, indptr = (np.asarray(state[key]) for key in ("data", "indices", "indptr"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a sparse matrix lacks {error}", hint="use the file as published") from error
        sane = len(indptr) == columns + 1 and len(data) == len(indices) and rows * columns <= 1 << 28
        if not sane or (len(indices) and not 0 <= indices.min() <= indices.max() < rows):
            raise DataError("a sparse matrix has indices outside its shape", hint="use the file as published")
        dense = np.zeros((rows, columns), data.dtype)
        dense[indices, np.repeat(np.arange(columns), np.diff(indptr))] = data
        return dense


class _Array(np.ndarray):
    """An array whose state is checked before it is taken."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, raw = state
        wanted = math.prod(int(size) for size in shape)
        if any(int(size) < 0 for size in shape):
            raise pickle.UnpicklingError("an array has a negative size")
        held = len(raw) if isinstance(raw, list) else len(raw) // max(dtype.itemsize, 1)
        if wanted != held:
            raise pickle.UnpicklingError(f"an array of {wanted} numbers has data for {held}")
        super().__setstate__(state)


class _Reader(pickle.Unpickler):
    """The allow-list; `limit` bounds every allocation, in bytes."""

    def __init__(self, file: BinaryIO, limit: int, storage: Callable[[Any], torch.Tensor] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self.limit = limit
        self.storage = storage
        self.kinds: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name.startswith("__"):
            return self._inert(module, name)
        if module.startswith(("numpy", "scipy.sparse", "chumpy")):
            return self._numeric(module, name)
        if module in ("builtins", "__builtin__", "copyreg", "copy_reg", "collections", "_codecs"):
            return self._plain(module, name)
        if module.split(".")[0] == "torch":
            return self._torch(module, name)
        return self._inert(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if self.storage is None:
            return self._inert("persistent", "id")(pid)
        return self.storage(pid)

    def _inert(self, module: str, name: str, base: type = Inert) -> type:
        key = (module, name)
        if key not in self.kinds:
            self.kinds[key] = type("Inert_" + name.replace(".", "_"), (base,), {"module": module, "name": name})
        return self.kinds[key]

    def _numeric(self, module: str, name: str) -> Any:
        if module.startswith("chumpy"):
            return self._inert(module, name, _Chumpy)
        if module.startswith("scipy.sparse"):
            return self._inert(module, name, _Csc) if name == "csc_matrix" else self._inert(module, name)
        if name == "_reconstruct":
            return self._reconstruct
        if name == "ndarray" and module == "numpy":
            return self._inert(module, name)
        if name == "scalar" and module.endswith("multiarray"):
            return _numpy_scalar
        if name == "dtype" and module == "numpy":
            return _numpy_dtype
        if name == "_frombuffer" and module.endswith("numeric"):
            return _from_buffer
        return self._inert(module, name)

    def _reconstruct(self, kind: Any, shape: Any, dtype: Any) -> np.ndarray:
        if tuple(shape) not in ((0,), ()):
            raise pickle.UnpicklingError(f"an array of shape {tuple(shape)} is announced without data")
        return np.ndarray.__new__(_Array, (0,), np.dtype("b"))

    def _plain(self, module: str, name: str) -> Any:
        if module == "collections":
            if name == "OrderedDict":
                return collections.OrderedDict
            return _default_dict if name == "defaultdict" else self._inert(module, name)
        if module == "_codecs":
            return _encode if name == "encode" else self._inert(module, name)
        if module in ("copyreg", "copy_reg"):
            return self._rebuild_object if name == "_reconstructor" else self._inert(module, name)
        if name == "bytearray":
            return _bytearray
        return ALLOWED_SCALARS.get(name) or self._inert(module, name)

    def _rebuild_object(self, kind: Any, base: Any, state: Any) -> Any:
        if isinstance(kind, type) and issubclass(kind, Inert):
            return kind(state)
        raise pickle.UnpicklingError("an object of a built-in class is rebuilt")

    def _torch(self, module: str, name: str) -> Any:
        if name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return self._tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *_: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if (module, name) == ("torch", "device"):
            return self._inert(module, name)
        return self._inert(module, name)

    def _tensor(self, flat: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
        if not isinstance(flat, torch.Tensor):
            raise pickle.UnpicklingError("a tensor has no storage")
        if math.prod(size) > EXPANSION * max(flat.numel(), 1):
            raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} exceeds its storage of {flat.numel()}")
        return flat.as_strided(tuple(size), tuple(stride), offset)


def _numpy_dtype(*args: Any) -> Any:
    kind = args[0] if args else None
    if not isinstance(kind, str) or len(kind) > 16:
        raise pickle.UnpicklingError("an array type that is not a plain name")
    return np.dtype(kind, *(bool(flag) for flag in args[1:]))


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(raw) != dtype.itemsize:
        raise pickle.UnpicklingError("a numpy scalar of a wrong size")
    return np.frombuffer(raw, dtype)[0]


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1", *_: Any) -> bytes:
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"text in encoding {encoding}")
    return text.encode("latin1")


def _bytearray(content: Any = b"", encoding: str = "latin1") -> bytes:
    if isinstance(content, str):
        return _encode(content, encoding)
    if not isinstance(content, (bytes, bytearray)):
        raise pickle.UnpicklingError("a byte array of a given length")
    return bytes(content)


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _scan(file: BinaryIO, limit: int) -> None:
    """Refuse opcodes that make the unpickler allocate more than the file could need."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if "PUT" in opcode.name and int(argument) > count + 1:
            raise pickle.UnpicklingError(f"memo number {argument} at opcode {count}")
        if opcode.name.startswith("EXT"):
            raise pickle.UnpicklingError("an entry of the extension registry")
        if opcode.name == "FRAME" and argument > limit:
            raise pickle.UnpicklingError("a frame larger than the file")
    file.seek(start)


def _read_one(file: BinaryIO, limit: int, storage: Callable[[Any], torch.Tensor] | None = None) -> Any:
    _scan(file, limit)
    return _Reader(file, limit, storage).load()


def _tidy(value: Any, depth: int = 0, seen: dict[int, Any] | None = None) -> Any:
    """The same content with plain arrays."""
    seen = {} if seen is None else seen
    if depth > MAX_DEPTH:
        raise pickle.UnpicklingError("containers nested too deeply")
    if isinstance(value, _Array):
        value = value.view(np.ndarray)
        if value.dtype == object:
            value = np.array([_tidy(item, depth + 1, seen) for item in value.flat] + [None], dtype=object)[:-1].reshape(value.shape)
        return value
    if not isinstance(value, (dict, list, tuple, Inert)) or id(value) in seen:
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


def _guarded(path: Path, kind: type[AvatarError], what: str, read: Callable[[], Any]) -> Any:
    """Run a reader; whatever a broken file makes it raise becomes one line."""
    try:
        return _tidy(read())
    except AvatarError:
        raise
    except (MemoryError, RecursionError) as error:
        raise kind(f"{path}: {what}: refused: it asks for too much memory or depth", hint="do not use this file") from error
    except Exception as error:  # a hostile or broken file can make the unpickler raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise kind(f"{path}: {what}: refused: {reason}", hint="copy or download the file again") from error


def load_pickle(path: str | Path) -> Any:
    """The content of a pickle file as plain containers, arrays and inert records.

    Raises:
        DataError: The file is broken, or asks for more memory than it can need.
    """
    path = check_input_file(path, "a pickle")
    limit = EXPANSION * path.stat().st_size

    def read() -> Any:
        with path.open("rb") as file:
            return _read_one(file, limit)

    return _guarded(path, DataError, "pickle", read)


def load_torch(path: str | Path) -> Any:
    """The content of a torch file (zip or legacy layout), tensors on the CPU.

    Raises:
        CheckpointError: The file is broken, or asks for more memory than it can need.
    """
    path = check_input_file(path, "a torch file")
    read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
    return _guarded(path, CheckpointError, "torch file", lambda: read(path))


def _storage_words(pid: Any) -> tuple[torch.dtype, str, int]:
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
        raise pickle.UnpicklingError("a persistent id that is no tensor storage")
    return pid[1], str(pid[2]), int(pid[4])


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(names) != 1:
            raise pickle.UnpicklingError("no data.pkl inside; not a torch file")
        prefix = names[0][: -len("data.pkl")]
        total = path.stat().st_size
        if any(entry.file_size > EXPANSION * total for entry in archive.infolist()):
            raise pickle.UnpicklingError("an entry unpacks to more than the file can hold")
        order = prefix + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("big-endian tensors")
        loaded: dict[str, torch.Tensor] = {}

        def storage(pid: Any) -> torch.Tensor:
            dtype, key, _ = _storage_words(pid)
            if key not in loaded:
                raw = bytearray(archive.read(f"{prefix}data/{key}"))
                loaded[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            return loaded[key]

        return _read_one(io.BytesIO(archive.read(names[0])), EXPANSION * total, storage)


def _read_legacy(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        limit = EXPANSION * size
        first = _read_one(file, limit)
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
                waiting[key] = torch.empty(count, dtype=dtype)
            return waiting[key]

        content = _read_one(file, limit, storage)
        for key in _read_one(file, limit):
            count = struct.unpack("<q", file.read(8))[0]
            target = waiting[str(key)]
            raw = bytearray(file.read(target.numel() * target.dtype.itemsize))
            if count != target.numel() or len(raw) != target.numel() * target.dtype.itemsize:
                raise pickle.UnpicklingError("the file ends early")
            if raw:
                target.copy_(torch.frombuffer(raw, dtype=target.dtype))
        return content
