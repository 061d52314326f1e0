"""Strict loading of weights, with a difference that can be read."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from avatarctl.errors import CheckpointError

MOST = 8
"""Names listed per kind of difference."""


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, *, is_shared: bool = False
) -> None:
    """Copy tensors into a module that must have exactly their names and shapes; number types are converted.

    Args:
        where: The file, and the part of it, for the message.
        is_shared: The module takes the tensors themselves, for one that is never trained: half the memory.

    Raises:
        CheckpointError: Names or shapes differ, or a tensor holds numbers that are not finite.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    wrong = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    if missing or unexpected or wrong:
        lines = [f"{where}: the weights do not fit {type(module).__name__}"]
        lines += _listed("missing", missing, lambda name: _nearest(name, unexpected))
        lines += _listed("unexpected", unexpected, lambda name: _nearest(name, missing))
        lines += _listed(
            "wrong shape",
            wrong,
            lambda name: f" {list(tensors[name].shape)}, expected {list(wanted[name].shape)}",
        )
        raise CheckpointError("\n".join(lines), hint="avatarctl inspect FILE says what a file is")
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CheckpointError(
                f"{where}: {name}: holds numbers that are not finite",
                hint="take another checkpoint of the run",
            )
    converted = {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(converted, assign=is_shared)


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite, in one pass over them: a sum in float64 is as finite as its parts."""
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor.sum(dtype=torch.float64))):
        return True
    return bool(torch.isfinite(tensor).all())  # float64 numbers may be finite and their sum not


def _listed(kind: str, names: list[str], detail) -> list[str]:  # type: ignore[no-untyped-def]
    lines = [f"  {kind}: {name}{detail(name)}" for name in names[:MOST]]
    if len(names) > MOST:
        lines.append(f"  {kind}: and {len(names) - MOST} more")
    return lines


def _nearest(name: str, others: list[str]) -> str:
    found = get_close_matches(name, others, n=1, cutoff=0.6)
    return f" (nearest: {found[0]})" if found else ""
