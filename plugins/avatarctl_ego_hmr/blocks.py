"""Joining what many windows give, as they come, so that a recording of hours needs no more memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

BLOCK = 16
"""Parts that are joined at once."""
Part = TypeVar("Part")


def in_blocks(parts: Iterable[Part], joined: Callable[[list[Part]], Part]) -> list[Part]:
    """All parts, joined some at a time.

    Each window frees tens of megabytes. Small arrays that stay would lie between them, so that the next
    window finds no room there: memory grew by half a megabyte a frame.

    Args:
        joined: Makes one part of several.
    """
    blocks: list[Part] = []
    recent: list[Part] = []
    for part in parts:
        recent.append(part)
        if len(recent) == BLOCK:
            blocks.append(joined(recent))
            recent = []
    return blocks + recent
