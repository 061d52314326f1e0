"""Pickles as the published code writes them: protocol 2, and NumPy's names of its first version."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

from avatarctl.files import atomic

NOW, THEN = "numpy._core.", "numpy.core."


_InPython: Any = vars(pickle)["_Pickler"]
"""Python's own pickler; the one written in C has no way to name functions otherwise."""


class _Pickler(_InPython):  # type: ignore[misc]  # it has no types
    """Names NumPy's functions where versions before 2 have them; version 2 finds them there as well."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if module.startswith(NOW):
            words = f"{module.replace(NOW, THEN, 1)}\n{name or obj.__qualname__}\n"
            self.write(pickle.GLOBAL + words.encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch: ClassVar[Any] = {
        **_InPython.dispatch,
        type(pickle.dumps): save_global,
        type(atomic): save_global,
    }


def dumped(content: Any) -> bytes:
    """The pickle of a value, as the published code reads it."""
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def write_pickle(path: str | Path, content: Any) -> Path:
    """Write a pickle that the published code reads, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(dumped(content))
    return Path(path)
