"""One way to write the many things a run makes: by what the thing is, then by the file's suffix."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from avatarctl.errors import DataError
from avatarctl.files import atomic
from avatarctl.runs.manifest import as_json, plain

KINDS = {
    ".npz": "arrays", ".npy": "array", ".json": "values", ".yaml": "values", ".png": "picture",
    ".jpg": "picture", ".jpeg": "picture", ".txt": "text", ".md": "text", ".html": "page", ".csv": "text",
    ".mp4": "video", ".gif": "video", ".obj": "mesh", ".ply": "mesh", ".glb": "mesh", ".stl": "mesh",
    ".bvh": "motion", ".safetensors": "weights",
}  # fmt: skip


class _Unfit(Exception):
    """What is wrong with a thing; writers know their temporary file alone, not its name."""


def write(path: Path, thing: Any) -> str:
    """Write `thing` to `path` so that the name holds the old file or the whole new one; returns its kind."""
    if callable(getattr(thing, "write", None)) and not isinstance(thing, io.IOBase):
        if getattr(thing, "is_atomic", False):  # it tells people the name that it is given
            thing.write(path)
        else:
            with atomic(path) as temporary:
                thing.write(temporary)
        return type(thing).__name__.lower()
    if isinstance(thing, Path):
        with atomic(path) as temporary:
            shutil.copyfile(thing, temporary)
        return KINDS.get(path.suffix.lower(), "file")
    writer = _WRITERS.get(path.suffix.lower())
    if isinstance(thing, bytes):
        writer = _bytes
    elif isinstance(thing, str):
        writer = _text
    elif writer is None and callable(getattr(thing, "export", None)):
        writer = _mesh
    if writer is None:
        raise DataError(
            f"{path}: a {type(thing).__name__} cannot be written to a '{path.suffix}' file",
            hint=f"use one of {', '.join(_WRITERS)}",
        )
    with atomic(path) as temporary:
        try:
            writer(temporary, thing)
        except _Unfit as error:
            raise DataError(f"{path.name}: {error}") from error
    return KINDS.get(path.suffix.lower(), "file")


def _bytes(path: Path, content: Any) -> None:
    path.write_bytes(content)


def _text(path: Path, content: Any) -> None:
    path.write_text(str(content), encoding="utf-8")


def _json(path: Path, content: Any) -> None:
    path.write_text(as_json(content), encoding="utf-8")


def _yaml(path: Path, content: Any) -> None:
    path.write_text(yaml_text(content), encoding="utf-8")


def yaml_text(content: Any) -> str:
    """Plain values as YAML, in their order."""
    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)


def array(thing: Any) -> np.ndarray[Any, Any]:
    """An array or tensor as an array on the CPU."""
    if hasattr(thing, "detach"):
        thing = thing.detach().cpu()
    return np.asarray(thing)


def _npz(path: Path, content: Any) -> None:
    arrays = {str(name): array(value) for name, value in content.items()}
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise _Unfit(f"{name}: holds numbers that are not finite, nothing was written")
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _npy(path: Path, content: Any) -> None:
    with path.open("wb") as file:
        np.save(file, array(content))


def _picture(path: Path, content: Any) -> None:
    from PIL import Image

    if hasattr(content, "save"):
        content.save(path)
        return
    pixels = array(content)
    if pixels.dtype.kind == "f":
        pixels = np.round(np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255.0).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise _Unfit(f"a picture of {pixels.dtype} {list(pixels.shape)}, expected 0..1 or 0..255 [H, W, 3]")
    Image.fromarray(pixels).save(path)


def _mesh(path: Path, content: Any) -> None:
    content.export(os.fspath(path))


def _tensors(path: Path, content: Any) -> None:
    from avatarctl.checkpoints import native

    native.save(path, content, {})


_WRITERS: dict[str, Callable[[Path, Any], None]] = {
    ".json": _json, ".yaml": _yaml, ".npz": _npz, ".npy": _npy, ".png": _picture, ".jpg": _picture,
    ".jpeg": _picture, ".obj": _mesh, ".ply": _mesh, ".glb": _mesh, ".stl": _mesh, ".safetensors": _tensors,
}  # fmt: skip
