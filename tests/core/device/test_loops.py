"""Loops compiled by numba."""

from __future__ import annotations

import pytest

from avatarctl.device.loops import compiled

numba = pytest.importorskip("numba")


def double(number):
    return 2 * number


def failing(message):
    """numba.njit where nothing can be kept, or where something else is wrong."""

    def njit(*, cache=False, **words):
        def decorate(function):
            if cache:
                raise RuntimeError(message)
            return numba.njit(**words)(function)

        return decorate

    return njit


def test_loops_are_compiled_where_nothing_can_be_kept():
    made = compiled(failing("cannot cache function 'double': no locator available"))(double)
    assert made(3) == 6
    assert made.signatures  # it is compiled code
    with pytest.raises(RuntimeError, match="something else"):
        compiled(failing("something else"))(double)
