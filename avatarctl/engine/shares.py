"""Several processes, one training: each rank's share of a batch, equal starts, averaged gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avatarctl.device import parallel
from avatarctl.errors import UsageError


def share(batch: Any, device: torch.device) -> Any:
    """This rank's equal share of each tensor's first dimension, on the device; other values stay."""
    if isinstance(batch, Tensor):
        return _slice(batch).to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: share(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(share(value, device) for value in batch))
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: share(getattr(batch, f.name), device) for f in fields(batch)})
    if isinstance(batch, list | tuple):
        return type(batch)(share(value, device) for value in batch)
    return batch


def _slice(tensor: Tensor) -> Tensor:
    world = parallel.world()
    if world == 1 or tensor.dim() == 0:
        return tensor
    if tensor.shape[0] % world:
        raise UsageError(
            f"a batch of {tensor.shape[0]} cannot be shared equally by {world} processes",
            hint=f"choose a batch size that {world} divides",
        )
    size = tensor.shape[0] // world
    return tensor[parallel.rank() * size : (parallel.rank() + 1) * size]


@torch.no_grad()
def same_start(modules: Iterable[nn.Module]) -> None:
    """Give every rank rank 0's parameters and buffers."""
    if not dist.is_initialized():
        return
    for module in modules:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def average_gradients(params: Iterable[nn.Parameter]) -> None:
    """Average gradients over ranks in one message; one that a rank lacks counts as zero there."""
    if not dist.is_initialized():
        return
    params = list(params)
    if not params:
        return
    device = params[0].device
    present = torch.tensor([float(p.grad is not None) for p in params], device=device)
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
    flat = torch.cat([*(grad.reshape(-1).float() for grad in grads), present])
    flat = parallel.all_reduce_mean(flat)
    present = flat[-len(params) :]
    pieces = torch.split(flat[: -len(params)], [p.numel() for p in params])
    for param, piece, share_present in zip(params, pieces, present.tolist(), strict=True):
        param.grad = piece.reshape(param.shape).to(param.dtype) if share_present else None
