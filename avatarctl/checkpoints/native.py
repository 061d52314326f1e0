"""avatarctl's own weight files: one .safetensors file with the configuration and a checksum inside."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatarctl.errors import CheckpointError
from avatarctl.files import atomic, check_input_file

KEY = "avatarctl"
"""The one metadata entry; a single one, because safetensors writes several in random order."""


def save(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write tensors and their configuration, atomically and with the same bytes for the same content.

    Args:
        config: Plain values only (what JSON can say).
        dtype: Number type that floating-point tensors are stored in; left out: as they are.
    """
    stored = {name: _own(tensor, dtype) for name, tensor in sorted(tensors.items())}
    about = {"version": 1, "config": config, "crc32": _checksum(stored, config)}
    words = json.dumps(about, sort_keys=True, ensure_ascii=False)
    with atomic(path) as temporary:
        try:
            save_file(stored, temporary, metadata={KEY: words})
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code:  # a full disk arrives as text
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise
    return Path(path)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a .safetensors file on the CPU, as stored, and its configuration ({} for foreign files).

    Raises:
        CheckpointError: The file is truncated, altered or no safetensors file.
    """
    path = check_input_file(path, "a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            about = _about(path, file.metadata())
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from error
    if about and about["crc32"] != _checksum(tensors, about["config"]):
        raise _broken(path, "the content does not match the checksum stored with it")
    return tensors, about.get("config", {})


def stored_config(path: str | Path) -> dict[str, Any]:
    """The configuration in a .safetensors file, without reading its tensors; {} for foreign files.

    Raises:
        CheckpointError: The file is truncated or no safetensors file.
    """
    path = check_input_file(path, "a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            found = _about(path, file.metadata()).get("config", {})
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from error
    return dict(found)


def _own(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().to("cpu", dtype if dtype and tensor.is_floating_point() else tensor.dtype)
    return tensor.clone(memory_format=torch.contiguous_format)


def _checksum(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> int:
    total = zlib.crc32(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), total)
        if tensor.numel():
            total = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, total)
    return total


def _about(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    words = (metadata or {}).get(KEY)
    if words is None:
        if any('"crc32"' in value for value in (metadata or {}).values()):
            raise _broken(path, f"its metadata has no entry '{KEY}'")
        return {}
    about = json.loads(words)
    if not isinstance(about, dict) or about.get("version") != 1 or not {"config", "crc32"} <= about.keys():
        version = about.get("version") if isinstance(about, dict) else about
        raise CheckpointError(
            f"{path}: {KEY}: found version {version!r}, expected 1 with config and crc32",
            hint="update avatarctl, or write the file again",
        )
    return about


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: not a whole .safetensors file: {why}", hint="copy or download the file again"
    )
