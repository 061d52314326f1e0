"""The help page of one target or stage, drawn from its settings class."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from avatarctl import terminal
from avatarctl.cli.pages import NAME, rows, say, stage_rows, width, wrapped
from avatarctl.plugin.registry import Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

    from avatarctl.cli.target import Command

RUN_OPTIONS = (
    ("-c, --config NAME", "Preset or YAML file; can be repeated, later ones win."),
    ("-s, --set KEY=VALUE", "One setting by its dotted name; can be repeated."),
    ("-o, --out FOLDER", "Run folder, instead of the next number in runs/."),
    ("--resume RUN", "Go on with a run: a folder, NAME/N, or last."),
    ("--device NAME", "auto, cpu, cuda, cuda:1, mps."),
    ("--precision NAME", "fp32 (default), tf32, bf16."),
    ("--seed N", "Seed of every random stream (default 0)."),
    ("--dry-run", "Show the settings and where each comes from, then stop."),
    ("--json", "One JSON object on stdout instead of tables."),
    ("-q, -v", "Say less; say more, with tracebacks."),
)
"""The options that every target has."""
RUN_WORDS = tuple(word for words, _ in RUN_OPTIONS for word in re.findall(r"--[a-z-]+", words))
"""Their long names."""
NARROW = 14
"""Columns of types and defaults."""
Row = tuple[str, str, str, str]
"""Name, type, default, help."""


def show(command: Command, registry: Registry) -> None:
    """Print the page of a target or stage; of a target with several stages, the list of them."""
    target = command.target
    if target.stages and command.stage is None and not target.run:
        say(f"usage  avatarctl {command.words} --stage NAME [OPTIONS]")
        _paragraph(f"{target.summary}.")
        _head("stages, in this order")
        rows(stage_rows(target), indent=2)
        _examples(command)
        say("")
        say(f"try    avatarctl {command.words} --stage {target.stages[0].name} --help")
        return
    cls = command.settings()
    arguments, options, groups = _fields(cls)
    words = command.words if target.verb != "demo" else "demo [TARGET]"
    say(f"usage  avatarctl {' '.join([words, *(name for name, *_ in arguments), '[OPTIONS]'])}")
    _paragraph((cls.__doc__ or command.step.summary).strip().split("\n\n")[0])
    _table("arguments", arguments)
    _table("options", options)
    _table("settings, by --set NAME=VALUE", groups)
    _head("run options")
    rows(RUN_OPTIONS, indent=2)
    if target.stages and command.stage is None:
        _head("stages, by --stage NAME")
        rows(stage_rows(target), indent=2)
    _presets(command, cls, registry)
    _examples(command)
    if target.verb == "demo":
        _head("demos")
        rows([(other.name, other.summary) for _, other in registry.targets("demo")], indent=2)


def _fields(cls: type[BaseModel]) -> tuple[list[Row], list[Row], list[Row]]:
    """Arguments, options, and the settings inside groups."""
    from avatarctl.config import explain, layers
    from avatarctl.config.settings import group_of, is_argument, parts

    arguments, options, groups = [], [], []
    for name, info in cls.model_fields.items():
        default = "" if info.is_required() else explain.shown(info.get_default(call_default_factory=True))
        row = (explain.type_name(info.annotation, info.metadata), default, info.description or "")
        group = group_of(info.annotation)
        if group is not None:
            held = info.get_default(call_default_factory=True)
            groups += _group_rows(group, {} if held is None else layers.leaves(held, f"{name}."), f"{name}.")
        elif is_argument(info.metadata):
            arguments.append((name.upper() + (" ..." if "..." in row[0] else ""), *row))
        else:
            dashed = name.replace("_", "-")
            options.append((f"--[no-]{dashed}" if bool in parts(info.annotation) else f"--{dashed}", *row))
    return arguments, options, groups


def _group_rows(group: type[BaseModel], defaults: dict[str, Any], at: str) -> list[Row]:
    """The settings of a group under their dotted names, with the defaults that the outer class gives."""
    from avatarctl.config import explain
    from avatarctl.config.settings import group_of

    found: list[Row] = []
    for name, info in group.model_fields.items():
        inner = group_of(info.annotation)
        if inner is not None:
            found += _group_rows(inner, defaults, f"{at}{name}.")
        else:
            value = defaults.get(at + name, info.get_default(call_default_factory=True))
            kind = explain.type_name(info.annotation, info.metadata)
            found.append((at + name, kind, explain.shown(value), info.description or ""))
    return found


def _table(title: str, items: list[Row]) -> None:
    if not items:
        return
    _head(title)
    cells = [(wrapped(kind, NARROW), wrapped(default, NARROW)) for _, kind, default, _ in items]
    name = max(len(row[0]) for row in items)
    kind, default = (max(len(line) for cell in cells for line in cell[at]) for at in (0, 1))
    for row, (kinds, defaults) in zip(items, cells, strict=True):
        about = wrapped(row[3], width() - name - kind - default - 8)
        for index, (first, second, third) in enumerate(zip_longest(kinds, defaults, about, fillvalue="")):
            rest = f"{first:{kind}}  {second:{default}}  {third}".rstrip()
            terminal.line(("  ", ""), (f"{row[0] if index == 0 else '':{name}}  ", NAME), (rest, ""))


def _presets(command: Command, cls: type[BaseModel], registry: Registry) -> None:
    """The plugin's presets that say something about this target."""
    from avatarctl.config import layers, presets

    stages = [stage.name for stage in command.target.stages]
    found = [
        (preset.name, preset.summary)
        for preset in presets.listing(registry.presets())
        if preset.owner == command.plugin.name
        and layers.fits(cls, preset.path, command.target.verb, command.stage_name, stages)
    ]
    if found or command.target.preset_hint:
        _head("presets, by -c NAME")
        rows(found, indent=2)
        if command.target.preset_hint:
            _paragraph(command.target.preset_hint)


def _examples(command: Command) -> None:
    stage = command.stage_name
    examples = [line for line in command.target.examples if not stage or f"--stage {stage}" in line]
    if examples:
        _head("examples")
        for line in examples:
            say(f"  {line}")


def _head(title: str) -> None:
    say("")
    say(title, "bold")


def _paragraph(text: str) -> None:
    say("")
    for line in wrapped(" ".join(text.split()), width()):
        say(line)
