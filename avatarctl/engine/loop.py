"""The loop around a stage's own step: counting, gradients, logs, checkpoints, validation, resume, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from avatarctl.checkpoints import native
from avatarctl.config import groups
from avatarctl.device import parallel
from avatarctl.engine import keeping
from avatarctl.engine.means import Means
from avatarctl.engine.shares import average_gradients, same_start, share
from avatarctl.engine.state import State, pack_random, unpack_random
from avatarctl.errors import DataError, Stopped, UsageError
from avatarctl.runs import Run, report
from avatarctl.runs.folder import WEIGHTS
from avatarctl.runs.index import pointed
from avatarctl.terminal import LINE_SECONDS, duration

Batch = TypeVar("Batch")


class Loop:
    """Runs a stage's steps; use it as a context, iterate `over`, and call `step` once in each turn.

    A stage that moves its networks itself calls `count` instead.

    A checkpoint is written after the whole turn (validation included), so a resumed run repeats nothing and
    misses nothing: networks, averages, optimisers, schedules and every random stream go on bit for bit.
    """

    def __init__(
        self,
        run: Run,
        settings: groups.Loop,
        state: State,
        *,
        steps: int | None = None,
        steps_per_epoch: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            steps: Number of steps; left out: the group's.
            steps_per_epoch: For `epoch`; 0 means that there are no epochs.
            config: What is needed to build the networks again, stored with the weights.
        """
        self.run, self.settings, self.state = run, settings, state
        self.steps = int(settings.steps if steps is None else steps)
        self.steps_per_epoch = steps_per_epoch
        self.config = {**(config or {}), "settings": run.manifest.settings, "run": run.name}
        self.step_number = 0
        """Steps finished."""
        self.best: dict[str, Any] = {}
        self._validation: dict[str, Any] = {}
        self._terms = Means()
        self._is_best = False
        self._saved = -1
        self._clock = self._line = time.monotonic()
        self._since = 0
        self._wrapped: set[int] = set()

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step_number // self.steps_per_epoch if self.steps_per_epoch else 0

    def __enter__(self) -> Loop:
        same_start(self.state.modules.values())
        self.state.average(self.settings.ema)
        self._first = self.state.pack()[1]
        last = pointed(self.run.folder, "last") if self.run.resume else None
        if self.run.is_writer and self.run.resume:
            report.cut_steps(self.run.folder, 0 if last is None else _step_of(last))
        if last is not None:
            self._restore(str(last))
        elif parallel.world() > 1:  # other dropout on each rank, the same weights
            torch.manual_seed(torch.initial_seed() + parallel.rank())
        self.run.stop.is_deferred = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.stop.is_deferred = False
        if error is None:
            self._finish()

    def parallel(self, model: nn.Module) -> nn.Module:
        """The network for the forward pass: under torchrun in torch's DDP, else itself.

        Networks that are not wrapped have their gradients averaged after the backward pass.
        """
        if parallel.world() == 1:
            return model
        self._wrapped |= {id(p) for p in model.parameters()}
        devices = [self.run.device] if self.run.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def over(self, batch_fn: Callable[[int], Batch]) -> Iterator[Batch]:
        """The batches of the remaining steps, on the run's device.

        Args:
            batch_fn: From the step's number (from 0) to the whole batch, drawn alike on every rank from
                `run.noise`; each rank gets its share of the first dimension.

        Raises:
            Stopped: After SIGINT or SIGTERM, when the step is finished and its checkpoint written.
        """
        while self.step_number < self.steps:
            begun = self.step_number
            yield share(batch_fn(begun), self.run.device)
            if self.step_number == begun:
                raise RuntimeError("the loop's body must call loop.step or loop.count once in each turn")
            self._end_of_turn()

    def step(self, losses: Mapping[str, Tensor] | Tensor, optimizer: Optimizer | None = None) -> None:
        """Backward, average over ranks, clip, optimiser, schedule, averages.

        Args:
            losses: Scalars by name; "total" is the one that is minimised.
            optimizer: The one that steps; left out: all of the state's.
        """
        losses = {"total": losses} if isinstance(losses, Tensor) else losses
        stepping = [optimizer] if optimizer is not None else list(self.state.optimizers.values())
        torch.autograd.backward(losses["total"])
        params = [p for one in stepping for group in one.param_groups for p in group["params"]]
        average_gradients(p for p in params if id(p) not in self._wrapped)
        for one in stepping:
            for group in one.param_groups:
                if group.get("clip"):
                    nn.utils.clip_grad_norm_(group["params"], group["clip"])
            one.step()
            for schedule in self.state.schedules.values():
                if schedule.optimizer is one:
                    schedule.step()
        for module in self.state.modules.values():
            module.zero_grad(set_to_none=True)
        self.count(losses)

    def count(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step whose gradients and optimisers the stage has seen to itself.

        Args:
            losses: Scalars by name; "total" has to be there, others may be in some steps alone.
        """
        self.step_number += 1
        for average in self.state.averages.values():
            average.update(self.step_number)
        self._terms.add(losses)
        if self.due("log"):
            self._log()

    def due(self, what: str) -> bool:
        """Whether this step is one of every `<what>_every` (validate, save, log), or the last."""
        every = int(getattr(self.settings, f"{what}_every"))
        return self.step_number >= self.steps or (every > 0 and self.step_number % every == 0)

    def averaged(self, name: str = "model") -> nn.Module:
        """The network to validate and to keep: its average where there is one."""
        return self.state.averaged(name)

    def validated(self, numbers: Mapping[str, Any], best: str = "", lower: bool = True) -> None:
        """Log a validation; when `best` improved, this step's checkpoint becomes the best one.

        Args:
            best: Name of the number that decides.
            lower: Whether less is better.
        """
        found = {name: float(value) for name, value in numbers.items()}
        self._validation = {"step": self.step_number, **found}
        self.run.step_metrics(self.step_number, "valid", found)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in found.items())
        self.run.log.info("step %d/%d  validation  %s", self.step_number, self.steps, shown)
        if not best or not math.isfinite(found[best]):
            return
        before = self.best.get("value")
        if before is None or (found[best] < before if lower else found[best] > before):
            self.best = {"name": best, "value": found[best], "step": self.step_number}
            self._is_best = True

    def _log(self) -> None:
        means = self._terms.taken()
        if not means:
            return
        if not all(math.isfinite(value) for value in means.values()):
            found = ", ".join(f"{name} {value}" for name, value in means.items())
            raise self._not_finite(found)
        rates = {f"lr.{n}": o.param_groups[0]["lr"] for n, o in self.state.optimizers.items()}
        self.run.step_metrics(self.step_number, "train", {**means, **rates})
        self._progress(means["total"])

    def _not_finite(self, found: str) -> DataError:
        return DataError(
            f"the training is not finite at step {self.step_number}: {found}",
            hint="lower optim.lr or set optim.clip; --resume goes on from the last checkpoint",
        )

    def _progress(self, loss: float) -> None:
        """One line every ten seconds."""
        now = time.monotonic()
        if now - self._line < LINE_SECONDS and self.step_number < self.steps:
            return
        rate = (self.step_number - self._since) / max(now - self._clock, 1e-9)
        left = (self.steps - self.step_number) / max(rate, 1e-9)
        memory = ""
        if self.run.device.type == "cuda":
            memory = f"  mem {torch.cuda.max_memory_allocated(self.run.device) / 1e9:.1f} GB"
        self.run.log.info(
            "step %d/%d  loss %.4g  %.3g it/s  eta %s%s",
            self.step_number, self.steps, loss, rate, duration(left), memory,
        )  # fmt: skip
        self._line = self._clock = now
        self._since = self.step_number

    def _end_of_turn(self) -> None:
        stop = self.run.stop
        asked = parallel.any_rank(stop.signal)
        if self._is_best or asked or self.due("save"):
            self._save()
        if asked:
            stop.signal = asked
            words = "stopped by SIGTERM" if stop.is_preempted else "stopped by the user"
            raise Stopped(
                f"{words} after step {self.step_number} of {self.steps}", preempted=stop.is_preempted
            )

    def _save(self) -> None:
        self._log()
        tensors, plain = self.state.pack()
        bad = [n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if bad:
            raise self._not_finite(f"{len(bad)} tensors, {bad[0]} first")
        mine = pack_random({**self.run.noises, **self.state.noises}, self.run.device)
        for rank, found in enumerate(parallel.gathered(mine)):
            tensors |= {f"#random.{rank}.{name}": tensor for name, tensor in found.items()}
        if self.run.is_writer:
            about = {"step": self.step_number, "best": self.best, "validation": self._validation}
            config = {
                **self.config,
                "kind": self.run.manifest.kind,
                "parts": list(self.state.modules),
                "loop": {**about, "state": plain, "first": self._first, "world": parallel.world()},
            }
            keeping.save(self.run.folder, self.step_number, tensors, config, self._is_best)
            keeping.prune(self.run.folder, self.settings.keep, self.settings.keep_every)
            self.run.write_manifest()
        self._saved, self._is_best = self.step_number, False

    def _restore(self, path: str) -> None:
        tensors, config = native.load(path)
        about = config["loop"]
        if about["world"] != parallel.world():
            raise UsageError(
                f"{path}: trained by {about['world']} processes, this run has {parallel.world()}",
                hint=f"torchrun --nproc-per-node {about['world']} -m avatarctl ...",
            )
        self.state.unpack(tensors, about["state"], about["first"], path)
        prefix = f"#random.{parallel.rank()}."
        mine = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        states = unpack_random(mine, self.run.device)
        self.run.noise_states.update(states)
        for name, noise in {**self.run.noises, **self.state.noises}.items():
            if name in states:
                noise.load_state_dict(states[name])
        self.step_number = self._saved = self._since = int(about["step"])
        self.best, self._validation, self._first = about["best"], about["validation"], about["first"]
        last = pointed(self.run.folder, "last")
        if self.run.is_writer and last is not None and self.best.get("step") == self.step_number:
            keeping.point(self.run.folder, "best", last, self.step_number)
        self.run.log.info("going on after step %d of %d", self.step_number, self.steps)

    def _finish(self) -> None:
        """The last checkpoint, and the weights that later stages take: the best, else the last."""
        if self._saved != self.step_number or self._is_best:
            self._save()
        if not self.run.is_writer:
            return
        kept_file = pointed(self.run.folder, "best") or pointed(self.run.folder, "last")
        if kept_file is None:
            raise DataError(f"{self.run.folder}: its checkpoints are gone", hint="start a new run")
        tensors, config = native.load(kept_file)
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("#")}
        step = config.pop("loop")["step"]
        native.save(self.run.folder / WEIGHTS, kept, {**config, "step": step})
        self.run.output(self.run.folder / WEIGHTS, "weights")
        self.run.metrics |= self._validation
        report.write_metrics(self.run.folder, self.run.metrics)


def _step_of(checkpoint: Any) -> int:
    return int(checkpoint.stem.partition("-")[2])
