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
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarctl.errors import AvatarError, PluginError
from avatarctl.plugin.registry import OFF, Plugin, Registry, one_line
from avatarctl.plugin.spec import PROJECT
from avatarctl.plugin.target import Asset, Checkup, Format, Layout, Stage, Target, Weights

if TYPE_CHECKING:
    from avatarctl.config import StageSettings
    from avatarctl.config.layers import Given

Step = tuple[Target, "Target | Stage", "type[StageSettings]"]
"""A target, what of it is run, and the settings of that."""
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
    registry.presets()
    for trouble in plugin.troubles:
        yield Finding(trouble.where, trouble.cause)
    steps: list[Step] = []
    broken: list[str] = []  # causes that are said once, not again for each preset, example and run function
    declared_steps = [(target, step) for target in plugin.targets for step in target.steps]
    for target, step in declared_steps:
        try:
            cls = plugin.settings(step.settings)
        except PluginError as error:
            broken.append(_cause(error, step.settings))
            yield Finding(f"settings {step.settings}", broken[-1])
        else:
            steps.append((target, step, cls))
            yield from _settings(step.settings, cls)
    heavy = [module for module in TENSORS if module in sys.modules]
    if declared_steps:
        cause = f"import {', '.join(heavy)}, so that help pages take seconds" if heavy else ""
        yield Finding("settings modules", cause)
    yield from _presets(registry, plugin, steps, is_whole=not (broken or plugin.troubles))
    yield from _examples(registry, plugin, broken)
    runs = (_ref(plugin, step.run, _is_run_function) for _, step in declared_steps)
    yield from (found for found in runs if found.trouble not in broken)
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


def _cause(error: AvatarError, ref: str) -> str:
    """What is wrong with a ref, without the words that name plugin and ref."""
    return error.message.splitlines()[-1].removeprefix(f"{ref}: ")


def _settings(ref: str, cls: type[StageSettings]) -> Iterator[Finding]:
    """Whether a settings class explains every setting, and has valid defaults."""
    from pydantic import ValidationError

    where = f"settings {ref}"
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
    registry: Registry, plugin: Plugin, steps: Sequence[Step], *, is_whole: bool
) -> Iterator[Finding]:
    """Whether each preset of the plugin fits a target at least, and is valid wherever it fits.

    Args:
        is_whole: Whether `steps` are all; else what fits none of them may fit one that is broken.
    """
    from avatarctl.config import layers, presets

    for preset in presets.listing(registry.presets()):
        if preset.owner != plugin.name:
            continue
        complaints: list[str] = []
        misfits: list[list[str]] = []
        is_fitting = False
        for target, step, cls in steps:
            stages = tuple(stage.name for stage in target.stages)
            stage = step.name if isinstance(step, Stage) else ""
            wanted = {name: name for name, info in cls.model_fields.items() if info.is_required()}
            given = layers.Given(target.verb, target.name, stage, stages, options=wanted)
            own = _mistakes(cls, given)  # such as a wrong default
            mistakes = [one for one in _mistakes(cls, replace(given, presets=[preset])) if one not in own]
            try:
                fits = layers.fits(cls, preset.path, target.verb, stage, stages)
            except AvatarError:  # no file of settings; it is among the mistakes
                fits = True
            is_fitting = is_fitting or fits
            if fits:
                complaints += mistakes
            elif mistakes:
                misfits.append(mistakes)
        if not is_fitting:
            if not is_whole:
                continue
            complaints = min(misfits, key=_distance, default=["fits no target of the plugin"])
        yield Finding(f"preset {preset.owner}/{preset.name}", "\n".join(dict.fromkeys(complaints)))


def _mistakes(cls: type[StageSettings], given: Given) -> list[str]:
    """What is wrong with settings, one line each."""
    from avatarctl.config import layers

    try:
        layers.resolve(cls, given)
    except AvatarError as error:
        return error.message.splitlines()
    return []


def _distance(mistakes: Sequence[str]) -> tuple[int, int]:
    """How far a preset is from a target: by its mistakes, then by those that resemble no setting."""
    return len(mistakes), sum("did you mean" not in one for one in mistakes)


def _examples(registry: Registry, plugin: Plugin, broken: Sequence[str]) -> Iterator[Finding]:
    """Whether the command takes each example, as one of this plugin; nothing is run."""
    start = [word for path in registry.files for word in ("--plugin", str(path))]
    for target in plugin.targets:
        for example in target.examples:
            words = shlex.split(example)
            if words[:2] != ["avatarctl", target.verb]:
                yield Finding(
                    example, f"an example of {target.verb} {target.name} begins with avatarctl {target.verb}"
                )
                continue
            owner = registry.find(target.verb, words[2]) if len(words) > 2 else None
            if owner is not None and owner[0] is not plugin:
                right = f"avatarctl {target.verb} {plugin.name}:{target.name}"
                yield Finding(example, f"runs a target of '{owner[0].name}'; write {right}")
                continue
            command = [sys.executable, "-m", "avatarctl", *start, *words[1:], "--dry-run"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if any(cause in done.stderr for cause in broken):
                continue
            lines = done.stderr.strip().splitlines() or [f"ends with code {done.returncode}"]
            yield Finding(example, lines[0].removeprefix("error").strip() if done.returncode else "")


def _ref(plugin: Plugin, ref: str, fits: Callable[[Any], str]) -> Finding:
    try:
        return Finding(f"code {ref}", fits(plugin.resolve(ref)))
    except AvatarError as error:
        return Finding(f"code {ref}", _cause(error, ref))


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
    lines = [replace(one, trouble="; ".join(one.trouble.split("\n"))) for one in found]
    sys.stdout.write("\n" + json.dumps([asdict(one) for one in lines]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
