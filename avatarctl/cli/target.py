"""One target: settings class -> options -> resolved settings -> run -> run function."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarctl.cli.pages import Crash, stage_rows
from avatarctl.errors import AvatarError, DependencyError, DeviceError, UsageError
from avatarctl.plugin.registry import Plugin, Registry, did_you_mean
from avatarctl.plugin.target import ALL, Stage, Target

if TYPE_CHECKING:
    from avatarctl.cli.options import RunOptions
    from avatarctl.config import StageSettings
    from avatarctl.config.layers import Resolved, Translate

HELP = ("--help", "-h")


@dataclass(frozen=True)
class Command:
    """What is to be run: a target, or one of its stages."""

    plugin: Plugin
    target: Target
    stage: Stage | None = None

    @property
    def step(self) -> Target | Stage:
        """The one that names code."""
        return self.stage or self.target

    @property
    def stage_name(self) -> str:
        """The stage's name; empty without stages."""
        return self.stage.name if self.stage else ""

    @property
    def words(self) -> str:
        """Verb, target and stage, as they are typed."""
        stage = [f"--stage {self.stage.name}"] if self.stage and len(self.target.stages) > 1 else []
        return " ".join([self.target.verb, self.target.name, *stage])

    def settings(self) -> type[StageSettings]:
        """The settings class.

        Raises:
            PluginError: It cannot be imported, or is none.
        """
        return self.plugin.settings(self.step.settings)


@dataclass(frozen=True)
class Asked:
    """A command line that is ready to run."""

    options: RunOptions
    resolved: Resolved
    function: Any
    """The run function; None for --dry-run."""


def run(plugin: Plugin, target: Target, rest: list[str], argv: Sequence[str], registry: Registry) -> int:
    """Show the page of a target, or resolve its settings and run it.

    Args:
        rest: The words after the target.
        argv: All words, for the manifest.
    """
    before = _before_dashes(rest)
    if any(word in HELP for word in before):
        from avatarctl.cli import target_page

        stage, _ = take_stage(target, rest, is_needed=False)
        target_page.show(Command(plugin, target, stage), registry)
        return 0
    name, others = stage_word(rest)
    if name == ALL and target.chain:
        from avatarctl.cli import chain

        chain.run(plugin, target, others, argv, registry)
        return 0
    try:
        command, asked = prepare(plugin, target, rest, registry)
    except AvatarError as error:
        if "--json" in before:
            answer: dict[str, Any] = {
                "run": None,
                "status": "failed",
                "error": error.message,
                "outputs": [],
                "metrics": {},
            }
            say(json.dumps(answer, indent=2))
        raise
    if asked.options.dry_run:
        say(_as_json(asked.resolved) if asked.options.json else as_yaml(asked.resolved))
    else:
        execute(command, asked, argv, registry)
    return 0


def prepare(plugin: Plugin, target: Target, rest: Sequence[str], registry: Registry) -> tuple[Command, Asked]:
    """Everything before the run folder is made: stage, options, settings, extras, the run function.

    Raises:
        AvatarError: Something of it is not as it should be.
    """
    from avatarctl import terminal
    from avatarctl.cli.options import parse
    from avatarctl.config import user

    stage, rest = take_stage(target, rest)
    command = Command(plugin, target, stage)
    cls = command.settings()
    fields, options = parse(cls, rest, command.words)
    is_quiet = options.quiet or not terminal.is_first_process()
    package = re.split(r"[.:]", command.step.run)[0]
    terminal.setup(quiet=is_quiet, verbose=options.verbose, package=package)
    user.apply()
    resolved = resolve(command, cls, registry, fields, options)
    if options.dry_run:
        return command, Asked(options, resolved, None)
    check_needs(command, resolved.settings)
    return command, Asked(options, resolved, plugin.resolve(command.step.run))


def resolve(
    command: Command,
    cls: type[StageSettings],
    registry: Registry,
    fields: Mapping[str, Any],
    options: RunOptions,
) -> Resolved:
    """The settings of a target or stage from all layers, with the origin of each leaf.

    Args:
        fields: Fields given on the command line.
        options: The run options; of them -c, --set and --resume say settings.
    """
    from avatarctl.config import layers, presets

    target, resumed = command.target, None
    if options.resume is not None:
        from avatarctl.runs import resume_point

        resumed = resume_point(options.resume, target.verb, target.name, command.stage_name).settings
    folders = registry.presets() if options.config else []
    stages = tuple(stage.name for stage in target.stages)

    def suits(preset: presets.Preset) -> bool:
        try:
            return layers.suits(cls, preset.path, target.verb, command.stage_name, stages)
        except AvatarError:  # a broken file, which is read once it is chosen
            return True

    given = layers.Given(
        verb=target.verb,
        target=target.name,
        stage=command.stage_name,
        stages=stages,
        presets=[presets.find(name, command.plugin.name, folders, suits) for name in options.config],
        sets=options.sets,
        options=fields,
        resumed=resumed,
        translate=_translator(command),
    )
    return layers.resolve(cls, given)


def _translator(command: Command) -> Translate | None:
    """What makes settings of published files, imported when it is called; none where the target has none."""
    ref = command.target.translate

    def translate(*words: Any) -> Any:
        return command.plugin.resolve(ref)(*words)

    return translate if ref else None


def say(text: str) -> None:
    """Print a text on stdout as it is."""
    from avatarctl import terminal

    terminal.out().out(text.rstrip("\n"), highlight=False)


def _as_json(resolved: Resolved) -> str:
    from avatarctl.config.layers import as_plain, nested

    return json.dumps({"settings": as_plain(nested(resolved.settings)), "origin": resolved.origin}, indent=2)


def as_yaml(resolved: Resolved) -> str:
    """The settings as a file that `-c` takes; what is no default has its layer as a comment."""
    import yaml

    from avatarctl.config.layers import DEFAULT, as_plain, leaves

    lines: list[str] = []
    groups: tuple[str, ...] = ()
    for name, value in leaves(resolved.settings).items():
        *above, key = name.split(".")
        for depth, group in enumerate(above):
            if groups[: depth + 1] != tuple(above[: depth + 1]):
                lines.append(f"{'  ' * depth}{group}:")
        groups = tuple(above)
        text = yaml.safe_dump(as_plain(value), default_flow_style=True, allow_unicode=True, width=10_000)
        layer = resolved.origin[name]
        comment = f"  # {layer}" if layer != DEFAULT else ""
        lines.append(f"{'  ' * len(above)}{key}: {text.removesuffix('...' + chr(10)).strip()}{comment}")
    return "\n".join(lines)


def check_needs(command: Command, settings: StageSettings | None = None) -> None:
    """Stop when an extra that a target or a switch of its settings needs is not installed.

    Raises:
        DependencyError: With the command that installs it.
    """
    source = command.plugin.source
    needs = dict.fromkeys([*command.target.needs, *command.step.needs], command.words)
    for name, extra in type(settings).switch_extras.items() if settings is not None else ():
        if getattr(settings, name):
            needs.setdefault(extra, f"{command.words} --{name.replace('_', '-')}")
    for extra, words in needs.items():
        wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
        lines = [line for line in (source.requires or [] if source else []) if wanted.search(line)]
        missing = [name for line in lines if not _is_installed(name := re.split(r"[\s\[<>=!~;(]", line)[0])]
        if missing:
            raise DependencyError(
                f"{words} needs {', '.join(missing)}, which is not installed",
                hint=f'pip install "{command.plugin.distribution}[{extra}]"',
            )


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _before_dashes(words: Sequence[str]) -> list[str]:
    return list(words[: words.index("--")] if "--" in words else words)


def stage_word(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """What is said after `--stage`, None where it is not there, and the other words."""
    for index, word in enumerate(_before_dashes(words)):
        if word == "--stage" or word.startswith("--stage="):
            sign, name = word.partition("=")[1:]
            following = words[index + 1] if len(words) > index + 1 else ""
            rest = [*words[:index], *words[index + (1 if sign else 2) :]]
            return (name if sign else following), rest
    return None, list(words)


def take_stage(
    target: Target, words: Sequence[str], *, is_needed: bool = True
) -> tuple[Stage | None, list[str]]:
    """The stage that `--stage NAME` among the words means, and the other words.

    Raises:
        UsageError: The target has no such stage, or none is named where one is needed.
    """
    name, rest = stage_word(words)
    names = [stage.name for stage in target.stages]
    listed = "\n".join(f"{stage:10}  {summary}" for stage, summary in stage_rows(target))
    where = f"avatarctl {target.verb} {target.name}"
    if name is None or (name == ALL and target.chain and not is_needed):
        if len(names) > 1 and is_needed and not target.run:
            raise UsageError(
                f"{target.name} has these stages, in this order\n{listed}", f"{where} --stage {names[0]}"
            )
        return (target.stages[0] if len(names) == 1 and not target.run else None), rest
    if name == ALL and target.chain:
        raise UsageError(
            f"--stage {ALL}: each training has settings of its own", hint=f"{where} --stage {ALL} --dry-run"
        )
    if not names:
        raise UsageError(f"{target.verb} {target.name} has no stages", hint=f"{where} --help")
    if name not in names:
        near = did_you_mean(name, names)
        raise UsageError(f"--stage {name}: no such stage{near}\n{listed}", hint=f"{where} --stage {names[0]}")
    return target.stages[names.index(name)], rest


def execute(command: Command, asked: Asked, argv: Sequence[str], registry: Registry) -> None:
    """Open the run and call the run function; what it raises that is no `AvatarError` is the plugin's bug."""
    from avatarctl.runs import open_run
    from avatarctl.runs.folder import LOG

    plugin, options = command.plugin, asked.options
    folder = Path()
    try:
        with open_run(
            verb=command.target.verb,
            target=command.target.name,
            stage=command.stage_name,
            settings=asked.resolved.settings,
            origin=asked.resolved.origin,
            plugin=(plugin.name, plugin.distribution, plugin.version),
            argv=["avatarctl", *argv],
            out=options.out,
            resume=options.resume,
            device=options.device or os.environ.get("AVATARCTL_DEVICE"),
            precision=options.precision,
            seed=options.seed,
            json=options.json,
            quiet=options.quiet,
            registry=registry,
        ) as run:
            folder = run.folder
            asked.function(asked.resolved.settings, run)
    except AvatarError:
        raise
    except Exception as error:
        if "OutOfMemory" in type(error).__name__ or isinstance(error, MemoryError):
            raise DeviceError(f"out of memory: {error}", hint=_smaller(asked.resolved)) from error
        if folder == Path():
            raise
        raise Crash(plugin.about, plugin.issues, str(folder / LOG)) from error


def _smaller(resolved: Resolved) -> str:
    """What to lower when memory runs out."""
    sizes = [
        name
        for name in resolved.origin
        if name.rpartition(".")[2] in ("batch_size", "size", "samples", "workers")
    ]
    return f"lower {', '.join(sizes)}, or take another --device" if sizes else "take another --device"
