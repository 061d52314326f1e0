"""Conformance of one plugin: what `avatarctl plugins check NAME` runs, in a fresh process.

A finding is a line of the page: what was looked at, and what is wrong with it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from avatarctl.errors import AvatarError, PluginError
from avatarctl.plugin.registry import OFF, Plugin, Registry, one_line
from avatarctl.plugin.spec import PROJECT
from avatarctl.plugin.target import Asset, Checkup, Format, Layout, Stage, Target, Weights

HEAVY = ("torch", "numpy", "pydantic", "typer", "scipy", "h5py", "trimesh", "matplotlib", "av", "numba")
"""Packages that an entry module must not import: it is loaded at every start."""
TENSORS = ("torch", "numpy")
"""Packages that a settings module must not import: help pages need it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    trouble: str = ""
    """What is wrong; empty where nothing is."""


def check(name: str, files: Sequence[Path] = ()) -> list[Finding]:
    """Every finding about a plugin, from a new process in which nothing else has been imported.

    Args:
        name: As `avatarctl plugins` lists it.
        files: The files given with --plugin (`Registry.files`).

    Raises:
        PluginError: The process died before it could answer.
        UsageError: There is no such plugin.
    """
    Registry.load(files).plugin(name)
    command = [sys.executable, "-m", __name__, name, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    try:
        return [Finding(**found) for found in json.loads(lines[-1])]
    except (IndexError, ValueError, TypeError) as error:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "it printed nothing")
        raise PluginError(
            f"plugin '{name}': the check ended with code {done.returncode}: {last}",
            hint=shlex.join(["python", *command[1:]]),
        ) from error


def findings(name: str, files: Sequence[Path] = ()) -> Iterator[Finding]:
    """All that can be found out in this process, cheap things first."""
    yield from _light(name, files)
    registry = Registry.load(files)
    plugin = registry.plugin(name)
    declared = [
        ref
        for item in [*registry.declared(plugin, Weights), *registry.declared(plugin, Format)]
        for field in ("sniff", "read", "write", "describe")
        if (ref := str(getattr(item, field, "")))
    ]
    declared += [item.run for item in registry.declared(plugin, Checkup)]
    declared += [item.describe for item in registry.declared(plugin, Layout)]
    registry.declared(plugin, Asset)
    for trouble in plugin.troubles:
        yield Finding(trouble.where, trouble.cause)
    steps = [(target, step) for target in plugin.targets for step in target.steps]
    for target, step in steps:
        yield from _settings(plugin, target, step)
    heavy = [module for module in TENSORS if module in sys.modules]
    if steps:
        cause = f"import {', '.join(heavy)}, so that help pages take seconds" if heavy else ""
        yield Finding("settings modules", cause)
    yield from _presets(registry, plugin, steps)
    yield from _examples(plugin, files)
    for _, step in steps:
        yield _ref(plugin, step.run, _is_run_function)
    for ref in [*declared, *(target.translate for target in plugin.targets if target.translate)]:
        yield _ref(plugin, ref, _is_callable)


def _light(name: str, files: Sequence[Path]) -> Iterator[Finding]:
    """Whether the entry module is fit to be loaded at every start; every other plugin stays out."""
    others = [entry.name for entry in metadata.entry_points(group=PROJECT) if entry.name != name]
    before, off = set(sys.modules), os.environ.get(OFF, "")
    os.environ[OFF] = ",".join(others)
    Registry.load(files)
    os.environ[OFF] = off
    heavy = [module for module in HEAVY if module in sys.modules and module not in before]
    yield Finding("entry module", f"imports {', '.join(heavy)}; name code by refs instead" if heavy else "")
    for path in files:
        sys.modules.pop(path.stem, None)


def _settings(plugin: Plugin, target: Target, step: Target | Stage) -> Iterator[Finding]:
    """Whether a settings class resolves, explains every setting, and has valid defaults."""
    from pydantic import ValidationError

    from avatarctl.config import StageSettings

    where = f"settings {step.settings}"
    try:
        cls = plugin.resolve(step.settings)
    except AvatarError as error:
        yield Finding(where, error.message.splitlines()[-1].removeprefix(f"{step.settings}: "))
        return
    if not (isinstance(cls, type) and issubclass(cls, StageSettings)):
        yield Finding(where, "is no class of settings (avatarctl.config.StageSettings)")
        return
    bare = _undescribed(cls)
    yield Finding(where, f"no description under {', '.join(bare)}" if bare else "")
    try:
        cls()
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["type"] != "missing"]
        for one in wrong:
            yield Finding(where, f"default of {'.'.join(map(str, one['loc']))}: {one['msg']}")


def _undescribed(cls: Any, at: str = "") -> list[str]:
    from avatarctl.config.settings import group_of

    found = []
    for name, info in cls.model_fields.items():
        if not info.description:
            found.append(at + name)
        group = group_of(info.annotation)
        if group is not None:
            found += _undescribed(group, f"{at}{name}.")
    return found


def _presets(
    registry: Registry, plugin: Plugin, steps: Sequence[tuple[Target, Target | Stage]]
) -> Iterator[Finding]:
    """Whether each preset of the plugin fits a target at least, and is valid wherever it fits."""
    from avatarctl.config import layers, presets

    for preset in presets.listing(registry.presets()):
        if preset.owner != plugin.name:
            continue
        complaints, is_fitting = [], False
        for target, step in steps:
            try:
                cls = plugin.resolve(step.settings)
                stages = tuple(stage.name for stage in target.stages)
                stage = step.name if isinstance(step, Stage) else ""
                if layers.fits(cls, preset.path, target.verb, stage, stages):
                    is_fitting = True
                    wanted = {name: name for name, info in cls.model_fields.items() if info.is_required()}
                    layers.resolve(
                        cls, layers.Given(target.verb, target.name, stage, stages, [preset], options=wanted)
                    )
            except AvatarError as error:
                complaints.append(error.message)
        if not is_fitting and not complaints:
            complaints = ["fits no target of the plugin"]
        yield Finding(f"preset {preset.owner}/{preset.name}", "; ".join(dict.fromkeys(complaints)))


def _examples(plugin: Plugin, files: Sequence[Path]) -> Iterator[Finding]:
    """Whether the command takes each example; nothing is run."""
    start = [word for path in files for word in ("--plugin", str(path))]
    for target in plugin.targets:
        for example in target.examples:
            words = shlex.split(example)
            if words[:2] != ["avatarctl", target.verb]:
                yield Finding(
                    example, f"an example of {target.verb} {target.name} begins with avatarctl {target.verb}"
                )
                continue
            command = [sys.executable, "-m", "avatarctl", *start, *words[1:], "--dry-run"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = done.stderr.strip().splitlines() or [f"ends with code {done.returncode}"]
            yield Finding(example, lines[0].removeprefix("error").strip() if done.returncode else "")


def _ref(plugin: Plugin, ref: str, fits: Callable[[Any], str]) -> Finding:
    try:
        return Finding(f"code {ref}", fits(plugin.resolve(ref)))
    except AvatarError as error:
        return Finding(f"code {ref}", error.message.splitlines()[-1].removeprefix(f"{ref}: "))


def _is_callable(found: Any) -> str:
    return "" if callable(found) else "cannot be called"


def _is_run_function(found: Any) -> str:
    import inspect

    if not callable(found):
        return "cannot be called"
    try:
        inspect.signature(found).bind(None, None)
    except TypeError:
        return "cannot be called as run(settings, run)"
    return ""


def main(words: Sequence[str]) -> None:
    """Print the findings as one line of JSON."""
    name, files = words[0], [Path(word) for word in words[1:]]
    found: list[Finding] = []
    try:
        found += findings(name, files)
    except Exception as error:
        found.append(Finding("check", one_line(error)))
    sys.stdout.write("\n" + json.dumps([asdict(one) for one in found]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
