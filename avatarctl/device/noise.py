"""Randomness as an argument: named streams from a seed, a given generator, or stored draws played back.

Draws are made on the CPU and moved, so that results do not depend on the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avatarctl.errors import CheckpointError, DataError


def stream_seed(seed: int, name: str, rank: int = 0) -> int:
    """The seed of a named stream: a hash, so that adding a stream never shifts another's draws."""
    text = f"{seed}\0{name}\0{rank}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


class Noise:
    """A stream of random draws; make one with `seeded`, `wrap` or `replay`."""

    def __init__(self, generator: torch.Generator | None, stored: Iterable[tuple[str, Any]] = ()) -> None:
        self.generator = generator
        self.stored = list(stored)
        self.position = 0

    @classmethod
    def seeded(cls, seed: int, name: str, rank: int = 0) -> Noise:
        """An independent stream for each (seed, name, rank)."""
        return cls(torch.Generator().manual_seed(stream_seed(seed, name, rank)))

    @classmethod
    def wrap(cls, generator: torch.Generator) -> Noise:
        """The draws of a torch CPU generator, call for call."""
        if generator.device.type != "cpu":
            raise ValueError(f"generator is on {generator.device}, expected a CPU generator")
        return cls(generator)

    @classmethod
    def replay(cls, arrays: Mapping[str, Any] | Sequence[Any]) -> Noise:
        """Stored draws, handed out in their order; each request must ask for the stored shape."""
        named = arrays.items() if isinstance(arrays, Mapping) else ((str(i), a) for i, a in enumerate(arrays))
        return cls(None, named)

    def normal(
        self,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Standard normal draws [*shape]."""
        if self.generator is None:
            return self._next(shape).to(device=device, dtype=dtype)
        return torch.randn(tuple(shape), generator=self.generator, dtype=dtype).to(device)

    def uniform(
        self,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Uniform draws from [0, 1) [*shape]."""
        if self.generator is None:
            return self._next(shape).to(device=device, dtype=dtype)
        return torch.rand(tuple(shape), generator=self.generator, dtype=dtype).to(device)

    def integers(
        self, low: int, high: int, shape: Sequence[int], device: torch.device | str | None = None
    ) -> Tensor:
        """Integers from low to high - 1, int64 [*shape]."""
        if self.generator is None:
            return self._next(shape).to(device=device, dtype=torch.int64)
        return torch.randint(low, high, tuple(shape), generator=self.generator).to(device)

    def permutation(self, n: int, device: torch.device | str | None = None) -> Tensor:
        """The numbers 0 to n - 1 in random order, int64 [n]."""
        if self.generator is None:
            return self._next((n,)).to(device=device, dtype=torch.int64)
        return torch.randperm(n, generator=self.generator).to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the stream stands."""
        if self.generator is None:
            return {"position": torch.tensor(self.position)}
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from where `state_dict` was taken."""
        key = "position" if self.generator is None else "generator"
        if key not in state:
            raise CheckpointError(
                f"noise state: found {sorted(state)}, expected '{key}'", hint="start a new run"
            )
        if self.generator is None:
            self.position = int(state["position"])
        else:
            self.generator.set_state(state["generator"].cpu())

    def _next(self, shape: Sequence[int]) -> Tensor:
        if self.position >= len(self.stored):
            raise DataError(
                f"stored noise: one more draw of shape {list(shape)} was asked for; "
                f"all {len(self.stored)} are used"
            )
        name, array = self.stored[self.position]
        draw = torch.as_tensor(array)
        if list(draw.shape) != list(shape):
            raise DataError(
                f"stored noise: draw '{name}' has shape {list(draw.shape)}, expected {list(shape)}"
            )
        self.position += 1
        return draw.clone()
