"""Networks in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[tuple[nn.Module, ...]]:
    """Networks in evaluation mode, without gradients, until the block ends; every submodule goes back."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        with torch.no_grad():
            yield tuple(model.eval() for model in models)
    finally:
        for module, mode in modes:
            module.training = mode
