"""One process per device under torchrun, or SLURM with the same variables; no-ops when alone."""

from __future__ import annotations

import gc
import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from avatarctl.errors import UsageError


def rank() -> int:
    """This process's number, 0 when alone."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """How many processes work together.

    Raises:
        UsageError: The launcher's variable is no number.
    """
    words = os.environ.get("WORLD_SIZE") or "1"
    if not words.isdigit():
        raise UsageError(
            f"WORLD_SIZE is '{words}', expected a number", hint="unset WORLD_SIZE, or use torchrun"
        )
    return int(words)


def init(device: torch.device) -> None:
    """Join the other processes: NCCL where each has its own CUDA device, gloo otherwise."""
    if world() == 1 or dist.is_initialized():
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        own = int(os.environ.get("LOCAL_WORLD_SIZE", world())) <= torch.cuda.device_count()
        backend = "cpu:gloo,cuda:nccl" if own else "gloo"
    dist.init_process_group(backend)


def finish() -> None:
    """Leave the group.

    What still holds it, a network wrapped for training above all, goes first: threads of the group that live
    on when Python ends take the process down with them.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()
        gc.collect()


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if not dist.is_initialized():
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world()


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        pieces = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(pieces, rows.contiguous())
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total[rank() * ctx.count : (rank() + 1) * ctx.count]


def all_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks in order [world * N, ...], each with as many [N, ...]; gradients go back."""
    if not dist.is_initialized():
        return rows
    gathered_rows: Tensor = _AllRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered_rows


def any_rank(flag: int) -> int:
    """The largest of the processes' flags."""
    if not dist.is_initialized():
        return flag
    largest = torch.tensor([flag])
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def from_first(value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def gathered(value: Any) -> list[Any]:
    """The values of all ranks in order, on every rank."""
    if not dist.is_initialized():
        return [value]
    boxes: list[Any] = [None] * world()
    dist.all_gather_object(boxes, value)
    return boxes
