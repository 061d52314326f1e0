"""Going on with a run: its settings from the folder, and what the user may change on the way."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from avatarctl.config import StageSettings
from avatarctl.config.presets import parse
from avatarctl.errors import DataError, SettingsError, UsageError
from avatarctl.runs import index, manifest, saving
from avatarctl.runs.folder import PAPERS, SETTINGS, STEPS, kind, require_run
from avatarctl.runs.manifest import Manifest, leaves, plain


@dataclass(frozen=True)
class ResumePoint:
    """A run to go on with."""

    folder: Path
    settings: dict[str, Any]
    """As in settings.yaml: the lowest layer of the resumed run's settings."""
    manifest: Manifest


@dataclass(frozen=True)
class Earlier:
    """What a run folder stored before it was resumed."""

    settings: bytes
    """settings.yaml."""
    manifest: Manifest
    files: dict[str, tuple[int, int]]
    """Size and time of each file that is work of the run."""

    @classmethod
    def of(cls, point: ResumePoint) -> Earlier:
        """What is stored now."""
        settings = (point.folder / SETTINGS).read_bytes()
        return cls(settings, deepcopy(point.manifest), _work(point.folder))

    def still_holds(self, folder: Path, about: Manifest) -> bool:
        """Whether the resumed run has saved nothing new; steps after the last checkpoint do not count."""
        return about.outputs == self.manifest.outputs and _work(folder) == self.files

    def put_back(self, folder: Path, failed: Manifest) -> None:
        """Store the earlier settings and manifest again; of the failed run its words and error are kept."""
        about = deepcopy(self.manifest)
        about.resumed = [*failed.resumed[:-1], {**failed.resumed[-1], "error": failed.error}]
        if about.status == "running":  # it was killed, and nobody works on it now
            about.status, about.error, about.ended = failed.status, failed.error, failed.ended
        saving.write(folder / SETTINGS, self.settings)
        about.write(folder)


def _work(folder: Path) -> dict[str, tuple[int, int]]:
    papers = {folder / name for name in (*PAPERS, STEPS)}
    files = [path for path in folder.rglob("*") if path not in papers and path.is_file()]
    return {
        str(path.relative_to(folder)): (about.st_size, about.st_mtime_ns)
        for path, about in ((path, path.stat()) for path in files)
    }


def resume_point(what: str | Path, verb: str, target: str, stage: str = "") -> ResumePoint:
    """The run meant by `--resume RUN|last`.

    Raises:
        UsageError: It is a run of something else.
        DataError: There is none, or its files are broken.
    """
    folder = index.newest(verb, target, stage) if str(what) == "last" else index.find(what)
    about = manifest.read(require_run(folder))
    wanted = {"verb": verb, "target": target, "stage": stage}
    if about.what != wanted:
        raise UsageError(
            f"--resume {what}: {folder} is a run of {about.kind}, not of {kind(verb, target, stage)}",
            hint="avatarctl runs lists them",
        )
    return ResumePoint(folder, read_settings(folder), about)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings.yaml of a run folder."""
    path = folder / SETTINGS
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="restore it from a copy") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: found {type(content).__name__}, expected settings", hint="restore it from a copy"
        )
    return content


def refuse_elsewhere(out: str | Path | None, folder: Path) -> None:
    """Refuse an --out beside --resume that names another folder than that of what is resumed."""
    if out is not None and Path(out).resolve() != folder.resolve():
        raise UsageError(
            f"--out {out}: what is resumed goes on in its own folder, {folder}", hint="leave --out out"
        )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Leaves that differ, by dotted name: [value before, value after]."""
    old, new = leaves(plain(before)), leaves(plain(after))
    return {
        name: [old.get(name), new.get(name)]
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    }


def refuse_network_changes(changed: Mapping[str, list[Any]], settings: Any) -> None:
    """Stop when a change would alter the network whose weights are to be loaded.

    Raises:
        SettingsError: With every such setting, the run's value and the one asked for.
    """
    names = tuple(getattr(type(settings), "network_fields", StageSettings.network_fields))
    refused = [
        name for name in changed if name in names or name.startswith(tuple(f"{name}." for name in names))
    ]
    if refused:
        lines = [f"{name}: {changed[name][1]!r}, the run has {changed[name][0]!r}" for name in refused]
        raise SettingsError(
            "\n".join(["these settings alter the network and cannot change in a resumed run", *lines]),
            hint="leave them out, or start a new run without --resume",
        )
