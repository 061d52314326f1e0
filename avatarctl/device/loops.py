"""Loops compiled by numba, and kept on disk where that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)
Function = Callable[..., Any]


def compiled(njit: Function) -> Callable[[Function], Any]:
    """A decorator that compiles a function, and keeps the code beside its source or in the user's cache.

    Where neither can be written it is compiled in each process.

    Args:
        njit: `numba.njit`; numba is optional, so that the modules of the loops import it.
    """

    def decorate(function: Function) -> Any:
        try:
            return njit(cache=True, nogil=True)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            log.debug("%s; it is compiled in each process (NUMBA_CACHE_DIR names a folder)", error)
            return njit(nogil=True)(function)

    return decorate
