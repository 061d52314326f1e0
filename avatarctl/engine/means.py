"""Means of a training's terms between two log lines."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avatarctl.device import parallel


class Means:
    """The mean of each term over the steps that have it, and over all processes."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    @torch.no_grad()
    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count the scalars of a step; nothing waits for the device here."""
        for name, term in terms.items():
            value = term.detach() if isinstance(term, Tensor) else torch.as_tensor(float(term))
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._steps[name] = self._steps.get(name, 0) + 1

    def taken(self) -> dict[str, float]:
        """The means since the last call; all processes call it, with the same terms."""
        if not self._sums:
            return {}
        own = [total.float().reshape(()) / self._steps[name] for name, total in self._sums.items()]
        means = parallel.all_reduce_mean(torch.stack(own)).tolist()
        found = dict(zip(self._sums, means, strict=True))
        self._sums, self._steps = {}, {}
        return found
