"""What a run function receives: a folder to write to, the device, random streams, services, results."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from avatarctl.device import parallel
from avatarctl.device.noise import Noise
from avatarctl.device.precision import precision as autocast
from avatarctl.errors import DataError
from avatarctl.runs import report, saving
from avatarctl.runs.events import Event, Kind, Observers
from avatarctl.runs.folder import SETTINGS
from avatarctl.runs.index import Accept
from avatarctl.runs.inputs import find_weights, of_chain, several
from avatarctl.runs.manifest import Manifest, now, plain
from avatarctl.runs.provenance import record
from avatarctl.runs.signals import StopRequest

if TYPE_CHECKING:
    from avatarctl.body import Bodies
    from avatarctl.checkpoints import Weights
    from avatarctl.render import Render

Item = TypeVar("Item")


@dataclass
class Run:
    """One execution of a target. Under torchrun every rank has one; only rank 0 writes."""

    folder: Path
    device: torch.device
    manifest: Manifest
    seed: int = 0
    precision: str = "fp32"
    resume: bool = False
    """Whether the run goes on from a checkpoint in its folder."""
    keeps_parts: bool = False
    """Said by a run function whose unfinished work another start takes up, such as the parts of a store."""
    as_json: bool = False
    quiet: bool = False
    declared_weights: tuple[Any, ...] = ()
    """The plugins' `Weights` declarations."""
    foreign_weights: Mapping[str, Any] = field(default_factory=dict)
    """Embedded weights that are of other plugins, by name, with the plugin."""
    declared_formats: tuple[Any, ...] = ()
    """The plugins' `Format` declarations."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("avatarctl.run"))
    observers: Observers | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    metrics: dict[str, Any] = field(default_factory=dict)
    noises: dict[str, Noise] = field(default_factory=dict)
    noise_states: dict[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    """States from a checkpoint, for streams that are asked for later."""

    @classmethod
    def standalone(cls, folder: str | Path, seed: int = 0, device: str = "cpu", settings: Any = None) -> Run:
        """A run for tests and notebooks: the same folder and services, without command line, lock and log."""
        folder = Path(folder)
        about = Manifest({"verb": "python", "target": "standalone", "stage": ""}, started=now(), seed=seed)
        about.settings = plain(settings) or {}
        run = cls(folder, torch.device(device), about, seed=seed, quiet=True)
        about.write(folder)
        saving.write(folder / SETTINGS, about.settings)
        torch.manual_seed(seed)
        return run

    @property
    def rank(self) -> int:
        """This process's number under torchrun, else 0."""
        return parallel.rank()

    @property
    def world(self) -> int:
        """Number of processes under torchrun, else 1."""
        return parallel.world()

    @property
    def is_writer(self) -> bool:
        """Whether this process owns folder, log and manifest."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """Kind and number, as `run:NAME` takes them."""
        return f"{self.manifest.kind}/{self.folder.name}"

    def path(self, name: str | Path) -> Path:
        """Where a file of this run goes; its folder is made."""
        path = self.folder / name
        if self.is_writer:
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, name: str, thing: Any, kind: str = "") -> Path:
        """Write a thing into the run folder, whole or not at all, and record it as an output.

        Args:
            name: File name; its suffix says how dictionaries, arrays, pictures, text and meshes are written.
            thing: Anything with `write(path)`, or one of those.
            kind: Its kind in the manifest; left out: from the thing or the suffix.
        """
        path = self.path(name)
        if self.is_writer:
            found = saving.write(path, thing)
            self.output(path, kind or found)
        return path

    def output(self, path: str | Path, kind: str) -> Path:
        """Record an output that was written by other means, here or elsewhere (a store)."""
        path = Path(path)
        if self.is_writer:
            whole, own = path.absolute(), self.folder.absolute()
            inside = whole.is_relative_to(own)
            shown = whole.relative_to(own) if inside else whole
            about = {**record(path), "path": str(shown), "kind": kind}
            if inside:  # the maker is this run
                about = {key: value for key, value in about.items() if key not in ("run", "manifest")}
            self.manifest.add("outputs", about)
            self.log.debug("wrote %s (%s)", path, kind)
            self.tell("saved", {"path": str(path), "kind": kind})
        return path

    def input(self, path: str | Path, setting: str = "") -> Path:
        """Record an input with its digest and the run that made it.

        Raises:
            DataError: It is not there or cannot be read.
        """
        path = Path(path)
        if not path.exists():
            raise DataError(f"{path}: not found", hint="check the path")
        if self.is_writer:
            try:
                about = record(path)
            except OSError as error:
                raise DataError(
                    f"{path}: cannot be read: {error.strerror}", hint="check its permissions"
                ) from error
            self.manifest.add("inputs", about | ({"setting": setting} if setting else {}))
        return path

    def weights(
        self, setting: str | Path, *, target: str = "", stage: str = "", accept: Accept | None = None
    ) -> Weights:
        """Tensors and configuration of trained weights, recorded as an input.

        Args:
            setting: A file or folder (native or official), run:NAME/N, latest, or a name of embedded weights;
                several are joined by commas, and each adds the parts that those before it lack.
            target: Trained target that `latest` looks for, and whose plugin's embedded weights are taken too;
                this one when left out.
            stage: Its stage that `latest` looks for.
            accept: Whether a run's settings will do, for `latest`.
        """
        from avatarctl.checkpoints import open_weights

        words = str(setting)
        target = target or self.manifest.what["target"]
        paths = []
        for one in several(words):
            found = of_chain(one) or [
                find_weights(one, target, stage, self.declared_weights, accept, self.foreign_weights)
            ]
            if one != str(found[0]):
                self.log.info("weights '%s': %s", one, ", ".join(map(str, found)))
            paths += [self.input(path, one) for path in found]
        return open_weights(paths, self.declared_weights)

    def report(self, table: Any = None, /, **numbers: Any) -> None:
        """Final numbers: a table on stdout (or the JSON object at the end) and metrics.json.

        Args:
            table: A rich table, or a list of equal-keyed rows, to show above the plain list of numbers.
            numbers: By name; groups of them (dictionaries) go to metrics.json alone.
        """
        if not self.is_writer:
            return
        rows: list[Mapping[str, Any]] | None = None
        if isinstance(table, list | tuple):
            rows = [dict(row) for row in table]
        self.metrics |= {name: plain(value) for name, value in numbers.items()}
        if rows is not None:
            self.metrics["rows"] = plain(rows)
        report.write_metrics(self.folder, self.metrics)
        if not self.as_json and not self.quiet:
            shown = report.rows_table(rows) if rows is not None else table
            self._print(shown if shown is not None else report.numbers_table(numbers))
            if shown is not None and any(not isinstance(value, dict) for value in numbers.values()):
                self._print(report.numbers_table(numbers))

    def step_metrics(self, step: int, split: str, numbers: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, told to observers too."""
        if self.is_writer:
            report.append_step(self.folder, step, split, numbers)
            self.tell("metrics", {"step": step, "split": split, **numbers})

    def progress(self, iterable: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
        """The items, with progress on stderr."""
        if self.quiet or not self.is_writer:
            return iter(iterable)
        from avatarctl import terminal

        return terminal.progress(iterable, what, total)

    def noise(self, name: str, *, per_rank: bool = False) -> Noise:
        """The named random stream of this run; the same draws on all ranks unless `per_rank`."""
        if name not in self.noises:
            self.noises[name] = Noise.seeded(self.seed, name, self.rank if per_rank else 0)
            if name in self.noise_states:
                self.noises[name].load_state_dict(self.noise_states[name])
        return self.noises[name]

    def autocast(self) -> AbstractContextManager[None]:
        """The run's precision around a network's forward pass; geometry stays outside."""
        return autocast(self.precision, self.device)

    def tell(self, kind: Kind, values: Mapping[str, Any]) -> None:
        """Tell observers."""
        if self.observers is not None:
            self.observers.tell(Event(kind, self.folder, self.manifest.what, values))

    def write_manifest(self) -> None:
        """Bring manifest.json up to date."""
        if self.is_writer:
            self.manifest.write(self.folder)

    @cached_property
    def bodies(self) -> Bodies:
        """Body models."""
        from avatarctl.body import Bodies

        return Bodies(self.log)

    @cached_property
    def render(self) -> Render:
        """Pictures and films."""
        from avatarctl.render import Render

        return Render(device=self.device, progress=self.progress)

    @property
    def assets(self) -> ModuleType:
        """Licensed files that users fetch themselves."""
        from avatarctl import assets

        return assets

    def _print(self, thing: Any) -> None:
        from avatarctl import terminal

        terminal.out().print(thing)
