"""The one place that sets torch's precision switches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from avatarctl.errors import UsageError

WORDS = ("fp32", "tf32", "bf16")


def check(words: str) -> str:
    """`words` when it names a precision."""
    if words not in WORDS:
        raise UsageError(f"no precision is called '{words}'", hint=f"use one of {', '.join(WORDS)}")
    return words


@contextmanager
def switches(words: str = "fp32") -> Iterator[None]:
    """TF32 on for tf32 and bf16, off for fp32; the former state comes back at the end."""
    allowed = check(words) != "fp32"
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def precision(words: str = "fp32", device: torch.device | str = "cpu") -> Iterator[None]:
    """Compute in fp32, tf32 or bf16 (autocast of networks; keep geometry outside)."""
    kind = torch.device(device).type
    with switches(words), torch.autocast(kind, torch.bfloat16, enabled=words == "bf16"):
        yield
