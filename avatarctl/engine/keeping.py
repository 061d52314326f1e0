"""The checkpoints folder: which files stay, and the pointers best.pt and last.pt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from avatarctl.checkpoints import native
from avatarctl.files import write_text
from avatarctl.runs.folder import CHECKPOINTS
from avatarctl.runs.index import pointed


def save(folder: Path, step: int, tensors: dict[str, Tensor], config: dict[str, Any], is_best: bool) -> Path:
    """Write a checkpoint, then point `last` (and `best`) at it.

    A kill between the writes leaves the former pointer with its file.
    """
    path = folder / CHECKPOINTS / f"step-{step:09d}.safetensors"
    native.save(path, tensors, config)
    point(folder, "last", path, step)
    if is_best:
        point(folder, "best", path, step)
    return path


def point(folder: Path, name: str, checkpoint: Path, step: int) -> None:
    """Write a pointer: a small JSON file, not a copy."""
    text = json.dumps({"file": checkpoint.name, "step": step})
    write_text(folder / CHECKPOINTS / f"{name}.pt", text + "\n")


def prune(folder: Path, keep: int, keep_every: int) -> None:
    """Delete all but the newest `keep`, every `keep_every`-th step, and what a pointer names."""
    files = sorted((folder / CHECKPOINTS).glob("step-*.safetensors"))
    kept = {*files[-max(keep, 1) :], pointed(folder, "last"), pointed(folder, "best")}
    for path in files:
        step = int(path.stem.partition("-")[2])
        if path not in kept and not (keep_every and step % keep_every == 0):
            path.unlink(missing_ok=True)
