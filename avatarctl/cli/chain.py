"""`--stage all`: the trainings of a chain, one after the other, each a run in the chain's folder."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatarctl import terminal
from avatarctl.cli import target as one
from avatarctl.cli.options import RunOptions, parse
from avatarctl.config import user
from avatarctl.config.layers import annotation_of
from avatarctl.errors import CheckpointError, DataError, SettingsError, Stopped, UsageError
from avatarctl.plugin.registry import Plugin, Registry, did_you_mean, nearest
from avatarctl.plugin.target import ALL, Link, Target
from avatarctl.runs import chain as chains
from avatarctl.runs import manifest
from avatarctl.runs.folder import CHECKPOINTS, is_run
from avatarctl.runs.resume import refuse_elsewhere

log = logging.getLogger("avatarctl.run")
Training = tuple[Link, one.Command, one.Asked]


def run(plugin: Plugin, target: Target, words: list[str], argv: Sequence[str], registry: Registry) -> None:
    """Run or resume every training of a target's chain; all settings are checked before the first begins.

    Args:
        words: The words after the target, without --stage.
        argv: All words, for the manifests.
    """
    _, options = _parsed(_command(plugin, target, target.chain[0]), target.chain[0], words)
    terminal.setup(quiet=options.quiet or not terminal.is_first_process(), verbose=options.verbose)
    user.apply()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--stage all runs in one process", hint="start the stages one by one under torchrun")
    known = chains.resumed(options.resume, target.verb, target.name) if options.resume is not None else None
    if known is not None:
        refuse_elsewhere(options.out, known.folder)
    _check_names(plugin, target, options.sets, _left(target, known))
    if options.dry_run:
        place = known.folder if known else Path(options.out or "CHAIN")
        for link, _, asked in _trainings(plugin, target, words, place, registry, known):
            one.say(f"# {link.name}\n{one.as_yaml(asked.resolved)}\n")
        return
    if known is None:  # the settings first, so that a wrong word leaves no folder
        _trainings(plugin, target, words, Path(options.out or "CHAIN"), registry, None)
        names = [link.name for link in target.chain]
        known = chains.create(target.verb, target.name, names, words, options.out)
        trainings = _trainings(plugin, target, words, known.folder, registry, None)
    else:
        trainings = _trainings(plugin, target, words, known.folder, registry, known)
    try:
        _run_all(target, known, trainings, argv, registry)
    except (DataError, CheckpointError):  # such as a store that is not there
        if not any(known.folder.glob(f"*/{CHECKPOINTS}/*")):
            shutil.rmtree(known.folder)  # it never began, and is in the way of --resume last
        raise


def _run_all(
    target: Target, chain: chains.Chain, trainings: list[Training], argv: Sequence[str], registry: Registry
) -> None:
    go_on = f"avatarctl {target.verb} {target.name} --stage {ALL} --resume {shlex.quote(str(chain.folder))}"
    if not trainings:
        raise UsageError(f"{chain.folder}: every training of this chain is finished", hint="start a new one")
    log.info("chain in %s; if it is stopped: %s", chain.folder, go_on)
    for link, command, asked in trainings:
        log.info("training %d of %d: %s", chain.links.index(link.name) + 1, len(chain.links), link.name)
        is_last = link.name == chain.links[-1]
        place = chain.folder / link.name
        if place.exists() and not is_run(place):
            shutil.rmtree(place)  # stopped before its first record was written
        if not is_last:
            options = replace(asked.options, json=False, quiet=asked.options.quiet or asked.options.json)
            asked = replace(asked, options=options)
        try:
            one.execute(command, asked, argv, registry)
        except Stopped as error:
            raise Stopped(error.message, hint=go_on, preempted=error.exit_code == 75) from error


def _command(plugin: Plugin, target: Target, link: Link) -> one.Command:
    return one.Command(plugin, target, next(stage for stage in target.stages if stage.name == link.stage))


def _parsed(command: one.Command, link: Link, words: Sequence[str]) -> tuple[dict[str, Any], RunOptions]:
    """The fields and options that the words give to a training; each must be known to all of them."""
    try:
        return parse(command.settings(), words, command.words)
    except UsageError as error:
        hint = f"--set {link.name}.NAME=VALUE is for this training alone; {error.hint}"
        raise UsageError(f"--stage {ALL}: {link.name}: {error.message}", hint=hint) from error


def _trainings(
    plugin: Plugin,
    target: Target,
    words: list[str],
    folder: Path,
    registry: Registry,
    known: chains.Chain | None,
) -> list[Training]:
    """What is to be run: every training, or those that a known chain has not finished."""
    found: list[Training] = []
    for link in _left(target, known):
        command, place = _command(plugin, target, link), folder / link.name
        is_begun = known is not None and is_run(place)
        # What is resumed has its settings in its folder; the words of today are changes.
        every = words if known is None or is_begun else [*known.words, *words]
        fields, options = _parsed(command, link, every)
        own = replace(
            options,
            sets=_sets_of(options, link, target),
            out=None if is_begun else str(place),
            resume=str(place) if is_begun else None,
        )
        if not is_begun:
            fields |= link.options | {name: str(folder / made) for name, made in link.inputs.items()}
        resolved = one.resolve(command, command.settings(), registry, fields, own)
        one.check_needs(command, resolved.settings)
        found.append((link, command, one.Asked(own, resolved, plugin.resolve(command.step.run))))
    return found


def _left(target: Target, known: chains.Chain | None) -> list[Link]:
    """The trainings that a known chain has not finished; all of them without one."""
    found = []
    for link in target.chain:
        place = known.folder / link.name if known is not None else None
        if place is None or not is_run(place) or manifest.read(place).status != "finished":
            found.append(link)
    return found


def _check_names(plugin: Plugin, target: Target, sets: Sequence[str], left: Sequence[Link]) -> None:
    """Stop where --set without a prefix names a setting that not all of the trainings left have.

    Values, and names behind a prefix, are left to the checks of each training.

    Raises:
        SettingsError: All such names at once, each with what to type instead.
    """
    classes = {link.stage: _command(plugin, target, link).settings() for link in target.chain}
    prefixes = _prefixes(target)
    fields = [field for cls in classes.values() for field in cls.model_fields]
    lines, better = [], []
    for words in sets:
        name, sign, value = words.partition("=")
        name = name.strip()
        first, dot, _ = name.partition(".")
        if not (sign and first) or (dot and first in prefixes):
            continue
        names = name.replace("-", "_").split(".")
        having = [stage for stage, cls in classes.items() if annotation_of(cls, names) is not None]
        lacking = [link.name for link in left if link.stage not in having]
        if having and lacking:
            lines.append(
                f"{name}: the training '{lacking[0]}' of the chain has no such setting; "
                f"{', '.join(having)} {'have' if len(having) > 1 else 'has'} it  (--set)"
            )
            better += ["--set", f"{having[0]}.{name}={value}"]
        elif names[0] not in fields:
            offered = [*prefixes, *fields]
            near = nearest(first, offered)
            lines.append(
                f"{first}: no such setting or training of the chain{did_you_mean(first, offered)}  (--set)"
            )
            better += ["--set", f"{near}{name.removeprefix(first)}={value}"] if near else []
    if lines:
        show = f"avatarctl {target.verb} {target.name} --stage {ALL} --dry-run"
        raise SettingsError("\n".join(lines), hint=shlex.join(better) or show)


def _prefixes(target: Target) -> list[str]:
    """What a --set word that is not for all trainings begins with: names of trainings and of stages."""
    return [name for each in target.chain for name in (each.name, each.stage)]


def _sets_of(options: RunOptions, link: Link, target: Target) -> tuple[str, ...]:
    """The --set words that are for a training: without a prefix, or with its own name or its stage's."""
    names = _prefixes(target)
    found = []
    for words in options.sets:
        first, dot, rest = words.partition(".")
        if not dot or first not in names:
            found.append(words)
        elif first in (link.name, link.stage):
            found.append(rest)
    return tuple(found)
