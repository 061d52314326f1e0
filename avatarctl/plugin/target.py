"""What a plugin declares, as plain data: names of code, no code."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import Any

VERBS = {
    "prepare": "raw data to what trainings and evaluations read",
    "train": "a network, stage by stage",
    "infer": "results from new inputs",
    "eval": "scores beside the published ones",
    "export": "results in other formats",
    "demo": "the whole job on embedded open data",
}
"""The verbs with their one-line summaries, in the order of the listing page."""

ALL = "all"
"""The word that stands for every training of a chain."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REF = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def check_name(name: str, what: str) -> None:
    """Refuse a name that is no lower-case word with hyphens."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} '{name}': expected lower-case words joined by hyphens")


def check_ref(ref: str, what: str, *, is_required: bool = True) -> None:
    """Refuse what is no "package.module:name"."""
    if (ref or is_required) and not _REF.fullmatch(ref):
        raise ValueError(f"{what}: found {ref!r}, expected 'package.module:name'")


def resolve(ref: str) -> Any:
    """The object that a "package.module:name" names; importing it may raise anything."""
    module, _, name = ref.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a chain of trainings: a network or a step with settings of its own."""

    name: str
    summary: str
    run: str
    """Ref of `run(settings, run) -> None`."""
    settings: str
    """Ref of a `StageSettings` class."""
    needs: tuple[str, ...] = ()
    """Extras of the plugin's distribution."""

    def __post_init__(self) -> None:
        check_name(self.name, "stage")
        check_ref(self.run, f"stage '{self.name}': run")
        check_ref(self.settings, f"stage '{self.name}': settings")


@dataclass(frozen=True, kw_only=True)
class Link:
    """One training of a chain: a stage, some of its settings, and the weights that it takes from others."""

    name: str
    stage: str
    options: dict[str, str] = field(default_factory=dict)
    """Settings by name, as text."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Settings that name weights, each with the name of the earlier training that makes them."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something a verb can be used with: `avatarctl VERB NAME`."""

    verb: str
    name: str
    summary: str
    run: str = ""
    """Ref of `run(settings, run) -> None`, for no stage; may be left out where there are stages."""
    settings: str = ""
    """Ref of a `StageSettings` class; goes with `run`."""
    stages: tuple[Stage, ...] = ()
    """In the order in which they are run."""
    chain: tuple[Link, ...] = ()
    """The trainings of `--stage all`, in their order."""
    aliases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    """Whole commands that can be pasted."""
    needs: tuple[str, ...] = ()
    """Extras of the plugin's distribution, checked before a run starts."""
    preset_hint: str = ""
    """Which preset to begin with, in a few words."""
    translate: str = ""
    """Ref of `(path, content, verb, stage, cls) -> settings or None`, for published files given to -c."""

    def __post_init__(self) -> None:
        where = f"target '{self.verb} {self.name}'"
        if self.verb not in VERBS:
            raise ValueError(f"{where}: no such verb; one of {', '.join(VERBS)}")
        for name in (self.name, *self.aliases):
            check_name(name, "target")
        names = [*(stage.name for stage in self.stages), ALL]
        if len(set(names)) != len(names):
            raise ValueError(f"{where}: two stages have one name, or one is called '{ALL}'")
        check_ref(self.run, f"{where}: run", is_required=not self.stages)
        check_ref(self.settings, f"{where}: settings", is_required=bool(self.run))
        check_ref(self.translate, f"{where}: translate", is_required=False)
        self._check_chain(where)

    def _check_chain(self, where: str) -> None:
        """Each training of the chain has a stage, a name of its own, and takes weights from earlier ones."""
        earlier: set[str] = set()
        for link in self.chain:
            check_name(link.name, f"{where}: chain")
            if link.stage not in {stage.name for stage in self.stages}:
                raise ValueError(f"{where}: chain: '{link.name}': no stage '{link.stage}'")
            unknown = set(link.inputs.values()) - earlier
            if unknown or link.name in earlier:
                raise ValueError(f"{where}: chain: '{link.name}': comes twice, or before {sorted(unknown)}")
            earlier.add(link.name)

    @property
    def steps(self) -> tuple[Stage | Target, ...]:
        """Everything that can be run: the target itself, where it can, and its stages."""
        return (*((self,) if self.run else ()), *self.stages)


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A licensed file that users fetch themselves."""

    name: str
    summary: str
    patterns: tuple[str, ...]
    """Globs in each published layout."""
    register_at: str
    licence: str
    variable: str = ""
    """Environment variable that names its folder."""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What `avatarctl doctor NAME` looks at: the user's data, body models and weights for one system."""

    name: str
    summary: str
    run: str
    """Ref of `run(data, weights, body_models) -> Diagnosis`; each is a path, None where it was not given."""

    def __post_init__(self) -> None:
        check_name(self.name, "checkup")
        check_ref(self.run, f"checkup '{self.name}': run")


@dataclass
class Diagnosis:
    """What a checkup found, as plain values."""

    tables: dict[str, list[dict[str, str | int]]] = field(default_factory=dict)
    """Rows with equal keys, below their title."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """What is wrong, and what mends it."""
    next: list[str] = field(default_factory=list)
    """Commands that can be typed now."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A published layout of trained weights, or embedded weights that are found by their name."""

    name: str
    summary: str
    sniff: str = ""
    """Ref of `header -> bool`, or `-> names of the parts in the file`, so that folders are opened faster."""
    read: str = ""
    """Ref of `path -> dict of tensors and config`; left out: files that are known, and no networks."""
    write: str = ""
    """Ref of `(weights, folder) -> paths`, the writer of the published layout."""
    describe: str = ""
    """Ref of `weights -> (what, facts, commands) or None`: what `inspect` says of networks that it knows."""
    path: str = ""
    """File of embedded weights."""

    def __post_init__(self) -> None:
        for name in ("sniff", "read", "write", "describe"):
            check_ref(getattr(self, name), f"weights '{self.name}': {name}", is_required=False)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Data that `inspect` knows: a folder or a zip by files in it, or an .npz archive by its arrays."""

    name: str
    summary: str
    """What such data is, in the words of `inspect`."""
    describe: str
    """Ref of `path -> (facts, commands)`: facts in the order of the page, and the commands that take it."""
    files: tuple[str, ...] = ()
    """Paths from the top of the folder or zip that are all there; with `*`, names at any depth."""
    arrays: tuple[str, ...] = ()
    """Arrays that are all in the archive."""

    def __post_init__(self) -> None:
        check_name(self.name, "layout")
        check_ref(self.describe, f"layout '{self.name}': describe")
        if bool(self.files) == bool(self.arrays):
            raise ValueError(f"layout '{self.name}': expected files of a folder, or arrays of an archive")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format that results are written in."""

    kind: str
    """motion, mesh, video, ..."""
    name: str
    suffixes: tuple[str, ...]
    write: str
    """Ref of the writer."""
    read: str = ""
    """Ref of the reader."""

    def __post_init__(self) -> None:
        check_ref(self.write, f"format '{self.name}': write")
        check_ref(self.read, f"format '{self.name}': read", is_required=False)
