"""Named values in the nested dictionaries of a person, checked where they are read (spec 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.geometry.shapes import expect

HINT = "use the person's files as published"


@dataclass(frozen=True)
class Fields:
    """The content of a file as dotted names, numbers in lists; `source` is the file, for messages."""

    content: Mapping[str, Any]
    source: str

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def value(self, name: str) -> Any:
        """Whatever stands under a dotted name.

        Raises:
            DataError: Nothing does.
        """
        found = self._find(name)
        if found is None:
            raise DataError(f"{self.source}: '{name}' is missing", hint=HINT)
        return found

    def array(self, name: str, shape: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor of a wanted shape, written as for `expect`, such as "N 3".

        Raises:
            DataError: It is missing, has another shape, or numbers that are not finite.
        """
        value = self.value(name)
        try:
            tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))
            tensor = tensor.detach().to(dtype)
            expect(tensor, shape, f"'{name}'")
        except (TypeError, ValueError) as error:
            why = str(error) if str(error).startswith("'") else f"'{name}' is no array of numbers [{shape}]"
            raise DataError(f"{self.source}: {why}", hint=HINT) from error
        if not torch.isfinite(tensor).all():
            raise DataError(f"{self.source}: '{name}' holds NaN or infinity", hint=HINT)
        return tensor

    def number(self, name: str) -> float:
        """A single number, also where it stands in an array of one.

        Raises:
            DataError: It is missing or more than one number.
        """
        value = np.asarray(self.value(name))
        if value.size != 1 or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise DataError(f"{self.source}: '{name}' is {str(value)[:60]}, expected one number", hint=HINT)
        return float(value.reshape(()))

    def count(self, name: str) -> int:
        """A whole number above zero.

        Raises:
            DataError: It is missing or something else.
        """
        number = self.number(name)
        if number < 1 or number != int(number):
            raise DataError(
                f"{self.source}: '{name}' is {number:g}, expected a whole number from 1", hint=HINT
            )
        return int(number)

    def _find(self, name: str) -> Any:
        found: Any = self.content
        for word in name.split("."):
            if isinstance(found, list | tuple):
                found = found[int(word)] if word.isdigit() and int(word) < len(found) else None
            else:
                found = found.get(word) if isinstance(found, Mapping) else None
        return found
