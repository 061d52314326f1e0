"""What a checkpoint holds: networks, averages, optimisers, schedules, random streams, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from avatarctl.checkpoints import load_strict
from avatarctl.device.noise import Noise
from avatarctl.engine.ema import Ema
from avatarctl.errors import CheckpointError

Tensors = dict[str, Tensor]
Plain = dict[str, Any]


class State:
    """The named parts of a training; a network's name is its part of the weights file."""

    def __init__(self, **things: nn.Module | Optimizer | LRScheduler | Ema | Noise | None) -> None:
        def of(kind: type) -> dict[str, Any]:
            return {name: thing for name, thing in things.items() if isinstance(thing, kind)}

        self.modules: dict[str, nn.Module] = of(nn.Module)
        self.optimizers: dict[str, Optimizer] = of(Optimizer)
        self.schedules: dict[str, LRScheduler] = of(LRScheduler)
        self.averages: dict[str, Ema] = of(Ema)
        self.noises: dict[str, Noise] = of(Noise)
        wrong = [name for name, thing in things.items() if thing is not None and name not in self._names()]
        if wrong or any("." in name or name.startswith("#") for name in things):
            raise TypeError(f"State takes networks, optimisers, schedules, averages and noises, not {wrong}")

    def _names(self) -> set[str]:
        parts = (self.modules, self.optimizers, self.schedules, self.averages, self.noises)
        return {name for part in parts for name in part}

    def average(self, decay: float) -> None:
        """Keep averages of all networks that train, unless there are some."""
        if decay and not self.averages:
            trained = {n: m for n, m in self.modules.items() if any(p.requires_grad for p in m.parameters())}
            self.averages = {name: Ema(module, decay) for name, module in trained.items()}

    def averaged(self, name: str) -> nn.Module:
        """The averaged network of this name where there is one, else the network."""
        source = self.modules[name]
        return next((ema.model for ema in self.averages.values() if ema.source is source), source)

    def weights(self) -> Tensors:
        """The useful weights of each network (averaged ones where there are), named part.name."""
        return {
            f"{part}.{name}": tensor
            for part in self.modules
            for name, tensor in self.averaged(part).state_dict().items()
        }

    def pack(self) -> tuple[Tensors, Plain]:
        """Everything, as tensors and plain values; names that start with # are no weights."""
        tensors, plain = self.weights(), Plain()
        for part, module in self.modules.items():
            if self.averaged(part) is not module:
                tensors |= {f"#raw.{part}.{name}": tensor for name, tensor in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            packed = optimizer.state_dict()
            values: dict[str, dict[str, Any]] = {}
            for index, entries in packed["state"].items():
                for key, value in entries.items():
                    if isinstance(value, Tensor):
                        tensors[f"#optimizer.{name}.{index}.{key}"] = value
                    else:
                        values.setdefault(str(index), {})[key] = value
            plain[f"optimizer.{name}"] = {"groups": packed["param_groups"], "values": values}
        for name, schedule in self.schedules.items():
            plain[f"schedule.{name}"] = {k: v for k, v in schedule.state_dict().items() if _is_plain(v)}
        return tensors, plain

    def unpack(self, tensors: Tensors, plain: Plain, first: Plain, where: str) -> None:
        """Take everything back.

        Args:
            first: The plain values of the start of that run. Where this run starts with another one (a
                setting was changed), the new one holds.
            where: The checkpoint, for messages.
        """
        fresh = self.pack()[1]
        for part, module in self.modules.items():
            average = self.averaged(part)
            own = _below(tensors, f"{part}.")
            load_strict(average, own, f"{where}: {part}")
            if average is not module:
                load_strict(module, _below(tensors, f"#raw.{part}.") or own, f"{where}: {part}")
        for name, optimizer in self.optimizers.items():
            key = f"optimizer.{name}"
            if key not in plain:
                raise CheckpointError(f"{where}: holds no optimiser '{name}'", hint="start a new run")
            _load_optimizer(optimizer, _below(tensors, f"#{key}."), plain[key], first.get(key, {}), where)
        for name, schedule in self.schedules.items():
            key = f"schedule.{name}"
            saved, began, now = plain.get(key, {}), first.get(key, {}), fresh[key]
            changed = {k: now[k] for k in now if k in began and now[k] != began[k]}
            schedule.load_state_dict({**schedule.state_dict(), **saved, **changed})


def _load_optimizer(optimizer: Optimizer, tensors: Tensors, saved: Plain, first: Plain, where: str) -> None:
    now = [_scalars(group) for group in optimizer.state_dict()["param_groups"]]
    groups = [dict(group) for group in saved["groups"]]
    began = [_scalars(group) for group in first.get("groups", groups)]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    for index, values in saved["values"].items():
        state.setdefault(int(index), {}).update(values)
    for group, new, old in zip(groups, now, began, strict=False):
        for key, value in new.items():
            if key in old and old[key] != value:
                is_rate = key == "lr" and old[key]
                group[key] = group[key] * value / old[key] if is_rate else value
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise CheckpointError(
            f"{where}: the optimiser does not fit: {error}", hint="start a new run"
        ) from error
    for group in optimizer.param_groups:
        if isinstance(group.get("betas"), list):
            group["betas"] = tuple(group["betas"])


def _scalars(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's settings in JSON's types."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in group.items()
        if key != "params"
    }


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def pack_random(noises: Mapping[str, Noise], device: torch.device) -> Tensors:
    """Where this process's random streams stand, torch's own (dropout) among them."""
    found = {
        f"noise.{name}.{key}": value
        for name, noise in noises.items()
        for key, value in noise.state_dict().items()
    }
    found["torch"] = torch.get_rng_state()
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def unpack_random(tensors: Tensors, device: torch.device) -> dict[str, Tensors]:
    """Put torch's own stream back; returns the states of the named streams."""
    if "torch" in tensors:
        torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda"], device)
    states: dict[str, Tensors] = {}
    for name, tensor in _below(tensors, "noise.").items():
        stream, _, key = name.rpartition(".")
        states.setdefault(stream, {})[key] = tensor
    return states
