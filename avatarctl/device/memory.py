"""Work in chunks that fit into memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from avatarctl.errors import DeviceError

Result = TypeVar("Result")
_PHRASES = ("out of memory", "can't allocate memory", "not enough memory")


def chunked(function: Callable[[slice], Result], n_items: int, start: int) -> list[Result]:
    """The results of `function` over consecutive slices of `n_items`; a slice that does not fit is halved.

    The size that fitted is kept for the slices that follow.

    Args:
        start: Size of the first slice.

    Raises:
        DeviceError: Memory runs out for a single item.
    """
    size, begin = max(1, min(start, n_items)), 0
    results = []
    while begin < n_items:
        end = min(begin + size, n_items)
        try:
            result = function(slice(begin, end))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if end - begin == 1:
                raise DeviceError(
                    "out of memory for a single item", hint="use --device cpu, or a smaller input"
                ) from error
            size = (end - begin) // 2
        else:
            results.append(result)
            begin = end
            continue
        release()
    return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or Python says that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in str(error).lower() for phrase in _PHRASES
    )


def release() -> None:
    """Give cached memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
