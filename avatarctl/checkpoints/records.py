"""What classes and functions in foreign pickles become: inert records, checked arrays, our own functions."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from avatarctl.errors import DataError

DENSE = 1 << 24
"""Most numbers of a sparse matrix written out; the largest body model needs 0.6 million."""
HINT = "use the file as published"
_ARRAY_TYPES = re.compile(r"[<>|=]?(?:[biufc](?:1|2|4|8|16|32)|[SU]\d{1,5}|O)")


class Inert:
    """What stands for an object of an unknown class: its class's name, arguments and state."""

    module = ""
    name = ""
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        self = super().__new__(cls)
        self.args, self.state, self.items = (*args, *kwargs.values()), None, []
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Keep an item of a list subclass."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Keep items of a list subclass."""
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __repr__(self) -> str:
        return f"<inert {self.module}.{self.name}>"

    @property
    def fields(self) -> dict[str, Any]:
        """The state where it is a dictionary, else nothing."""
        return self.state if isinstance(self.state, dict) else {}


class Called(Inert):
    """A record that may be called, as in networks pickled with their functions: that gives another record."""

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        return type(self)(*args, **kwargs)


class Chumpy(Inert):
    """A chumpy object: an array, or a choice of another one's numbers."""

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The array that it carries.

        Raises:
            DataError: There is none.
        """
        inner: Any = self
        choices: list[dict[str, Any]] = []
        for _ in range(16):
            if not isinstance(inner, Chumpy):
                break
            fields = inner.fields
            if "idxs" in fields:
                choices.append(fields)
            inner = next((fields[key] for key in ("x", "_x", "a") if key in fields), None)
        if not isinstance(inner, np.ndarray):
            raise DataError(f"a chumpy object ({self.name}) carries no array", hint=HINT)
        array: np.ndarray[Any, Any] = inner
        for fields in reversed(choices):
            array = self._chosen(array, fields)
        return array

    def _chosen(self, array: np.ndarray[Any, Any], fields: dict[str, Any]) -> np.ndarray[Any, Any]:
        try:
            index = np.asarray(fields["idxs"])
            chosen: np.ndarray[Any, Any] = array.ravel()[index.astype(np.int64, casting="same_kind")]
            shape = tuple(fields.get("preferred_shape", chosen.shape))
            reshaped: np.ndarray[Any, Any] = chosen.reshape(shape)
            return reshaped
        except (IndexError, TypeError, ValueError) as error:
            raise DataError(f"a chumpy object ({self.name}) chooses badly: {error}", hint=HINT) from error


class Csc(Inert):
    """A scipy matrix in compressed columns."""

    def toarray(self) -> np.ndarray[Any, Any]:
        """The dense matrix.

        Raises:
            DataError: A field is missing, or the fields do not describe a matrix.
        """
        try:
            fields = self.fields
            rows, columns = (int(size) for size in (fields.get("_shape") or fields["shape"]))
            data, indices, indptr = (np.asarray(fields[key]) for key in ("data", "indices", "indptr"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a sparse matrix lacks {error}", hint=HINT) from error
        sane = (
            rows >= 0 <= columns
            and rows * columns <= DENSE
            and data.ndim == indices.ndim == indptr.ndim == 1
            and data.dtype.kind in "biuf"
            and indices.dtype.kind == indptr.dtype.kind == "i"
            and len(indptr) == columns + 1
            and len(data) == len(indices) == indptr[-1]
            and indptr[0] == 0
            and bool((np.diff(indptr) >= 0).all())
            and bool(((indices >= 0) & (indices < rows)).all())
        )
        if not sane:
            raise DataError("a sparse matrix has numbers that describe no matrix", hint=HINT)
        dense = np.zeros((rows, columns), data.dtype)
        np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(indptr))), data)
        return dense


class Allowed:
    """A function of ours that a pickle may call, and cannot alter."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function is given a state")


class Dtype:
    """An array's number type, of which a pickle may set the byte order and nothing else.

    The state of numpy's own can name fields that overlap objects, which reads memory that is not the array's.
    """

    __slots__ = ("dtype",)

    def __init__(self, words: Any, *_: Any) -> None:
        if words == "O8":  # as old numpy wrote it
            words = "O"
        if not isinstance(words, str) or not _ARRAY_TYPES.fullmatch(words):
            raise pickle.UnpicklingError("an array type that is not a plain name")
        self.dtype = np.dtype(words)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class CheckedArray(np.ndarray[Any, Any]):
    """An array whose state is checked before it is taken."""

    charge: Callable[[int], None]

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, is_fortran, raw = state
        dtype = plain_dtype(dtype)
        if any(int(size) < 0 for size in shape):
            raise pickle.UnpicklingError("an array has a negative size")
        wanted = math.prod(int(size) for size in shape)
        if dtype.hasobject != isinstance(raw, list):
            raise pickle.UnpicklingError("an array has data of another type")
        held, rest = (len(raw), 0) if dtype.hasobject else divmod(len(raw), max(dtype.itemsize, 1))
        if wanted != held or rest:
            raise pickle.UnpicklingError(f"an array of {wanted} numbers has data for {held}")
        self.charge(held * dtype.itemsize)
        super().__setstate__((version, shape, dtype, is_fortran, raw))


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """The number type that a pickle was given for an array."""
    if not isinstance(dtype, Dtype):
        raise pickle.UnpicklingError("an array has no number type")
    return dtype.dtype
