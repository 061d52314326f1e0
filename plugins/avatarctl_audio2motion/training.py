"""What the training stages share: the store, held-out pieces, the statistics that go into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avatarctl.checkpoints import Weights, load_strict
from avatarctl.errors import CheckpointError, DataError
from avatarctl_audio2motion.conversations.dataset import Batch, Chunks, Conversations, open_conversations
from avatarctl_audio2motion.conversations.stats import Kind, Statistics
from avatarctl_audio2motion.model import UNUSED

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings_train import Train

HELD_OUT = "val"
"""Split that is scored while training."""
MODULES = {"front_end": ("audio", "log_compression"), "lip": ("lip",)}
"""Frozen modules of the networks, and the sizes that are theirs."""


class StatisticsPart(nn.Module):
    """A person's statistics as the part "stats" of the weights; it has nothing to learn."""

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        for name, tensor in statistics.to_tensors().items():
            self.register_buffer(name, tensor)


@dataclass(frozen=True)
class Setup:
    """What a stage starts from: the store, and held-out pieces of one kind of motion."""

    conversations: Conversations
    chunks: Chunks | None
    held_out: tuple[int, ...]
    """Numbers of the chunks that are scored; none where there is no validation."""

    @staticmethod
    def of(settings: Train, run: Run, kind: Kind) -> Setup:
        """From a prepared store.

        Raises:
            DataError: No held-out scene is long enough.
        """
        conversations = open_conversations(settings.store)
        run.input(settings.store, "store")
        if not settings.validate_items:
            return Setup(conversations, None, ())
        try:
            chunks = conversations.chunks(HELD_OUT, kind, settings.frames, keep_last=True)
        except DataError as error:
            raise DataError(error.message, hint=f"{error.hint}, or --validate-items 0") from error
        count = min(settings.validate_items, len(chunks))
        every = np.linspace(0, len(chunks) - 1, count).round().astype(int)
        return Setup(conversations, chunks, tuple(every.tolist()))

    @property
    def part(self) -> StatisticsPart:
        """The statistics, as the weights hold them."""
        return StatisticsPart(self.conversations.statistics)

    def config(self, networks: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """What is stored with the weights.

        Args:
            networks: The sizes of each part.
        """
        return {"networks": dict(networks), "person": self.conversations.person}

    def validation(self, batch_size: int) -> Iterator[Batch]:
        """The held-out pieces; one in which the motion is known nowhere is left out."""
        for first in range(0, len(self.held_out), batch_size):
            assert self.chunks is not None
            found = self.chunks.batch(self.held_out[first : first + batch_size])
            known = found.seen.any(dim=1)
            if known.any():
                yield Batch(*(tensor[known] for tensor in found))


def falling(optimizer: Optimizer, steps: int) -> LambdaLR:
    """The learning rate, falling evenly to 0 over so many steps; 0 keeps it."""
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) if steps else 1.0)


@dataclass(frozen=True)
class AudioNetworks:
    """The frozen networks that listen, found in weights of any kind."""

    path: Path
    sizes: dict[str, Any]
    """What they say of the sizes of a network that holds them."""
    tensors: dict[str, dict[str, Tensor]]
    """By the name of the module: front_end, and lip where there is one."""

    @staticmethod
    def of(weights: Weights) -> AudioNetworks:
        """Those inside the first network that listens, or those that are parts of their own.

        Raises:
            CheckpointError: There is no audio front end.
        """
        sizes, tensors = dict[str, Any](), dict[str, dict[str, Tensor]]()
        networks = weights.config.get("networks", {})
        for part, held in weights.parts.items():
            # The lip regressor has a front end of its own, which is not the one wanted.
            inside = {name: _below(held, f"{name}.") for name in MODULES} if part != "lip" else {"lip": held}
            for module, own in inside.items():
                if own and module not in tensors:
                    tensors[module] = {
                        name: tensor for name, tensor in own.items() if not name.startswith(UNUSED)
                    }
                    said = networks.get(part, {})
                    sizes |= {name: said[name] for name in MODULES[module] if name in said}
        if "front_end" not in tensors:
            raise CheckpointError(
                f"{weights.path}: no audio front end in it; it holds {', '.join(weights.parts)}",
                hint="name vq-wav2vec.pt, a folder that holds it, or a face, body or guide network",
            )
        return AudioNetworks(weights.path, sizes, tensors)

    def give_to(self, network: nn.Module) -> None:
        """Load them into a network that holds such modules.

        Raises:
            CheckpointError: One that the network needs is missing, or of other sizes.
        """
        for name, module in network.named_children():
            if name in MODULES:
                if name not in self.tensors:
                    raise CheckpointError(
                        f"{self.path}: no lip regressor in it",
                        hint="name the folder that also holds iter-0200000.pt, or a face network",
                    )
                load_strict(module, self.tensors[name], f"{self.path}: {name}")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
