"""Running means: every sequence counts once, and numbers that are not finite are counted apart."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Tally:
    """The unweighted mean of each named number over the sequences added so far."""

    def __init__(self) -> None:
        self.sequences = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Count one sequence."""
        self.sequences += 1
        for name, value in numbers.items():
            is_known = math.isfinite(value)
            self._sums[name] = self._sums.get(name, 0.0) + (float(value) if is_known else 0.0)
            self._counts[name] = self._counts.get(name, 0) + int(is_known)

    def means(self) -> dict[str, float]:
        """The mean of each number; NaN where no sequence had one."""
        return {name: self._sums[name] / count if count else math.nan for name, count in self._counts.items()}

    def skipped(self) -> dict[str, int]:
        """How many sequences had no finite value, for the numbers where there were any."""
        return {
            name: self.sequences - count for name, count in self._counts.items() if count < self.sequences
        }
