"""Completion for bash, zsh and fish, from the registry; settings are imported once a target is typed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, get_args, get_origin

from avatarctl.cli.main import COMPLETE, OWN
from avatarctl.cli.pages import stage_rows
from avatarctl.cli.target import Command, take_stage
from avatarctl.cli.target_page import RUN_WORDS
from avatarctl.errors import AvatarError, UsageError
from avatarctl.plugin.registry import Plugin, Registry, did_you_mean
from avatarctl.plugin.target import VERBS, Target

SCRIPTS = {
    "bash": f"""\
_avatarctl() {{
  local IFS=$'\\n'
  COMPREPLY=($(avatarctl {COMPLETE} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && compopt -o default
}}
complete -F _avatarctl avatarctl
""",
    "zsh": f"""\
#compdef avatarctl
_avatarctl() {{
  local -a found
  found=("${{(@f)$(avatarctl {COMPLETE} "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
  if [[ -n "${{found[1]}}" ]]; then compadd -- "${{found[@]}}"; else _files; fi
}}
compdef _avatarctl avatarctl
""",
    "fish": f"""\
complete -c avatarctl -a '(avatarctl {COMPLETE} (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}
"""What each shell has to evaluate."""
SECOND = {
    "plugins": ("check",),
    "config": ("show", "list"),
    "assets": ("add",),
    "runs": ("show",),
    "completion": tuple(SCRIPTS),
}
"""Second words of the own commands."""


def script(shell: str) -> str:
    """The completion script of a shell.

    Raises:
        UsageError: There is none for it.
    """
    if shell not in SCRIPTS:
        raise UsageError(
            f"no completion for '{shell}'{did_you_mean(shell, SCRIPTS)}",
            hint=f"avatarctl completion {next(iter(SCRIPTS))}",
        )
    return SCRIPTS[shell]


def answer(words: Sequence[str], registry: Registry) -> int:
    """Print the words that may stand where the last of `words` is being typed."""
    *before, last = words or [""]
    with suppress(AvatarError):
        for word in dict.fromkeys(candidates(before, last, registry)):
            if word.startswith(last):
                sys.stdout.write(word + "\n")
    return 0


def candidates(before: Sequence[str], last: str, registry: Registry) -> Iterator[str]:
    """What may follow the words `before`.

    Args:
        last: What is typed of the next word.
    """
    if not before:
        yield from (*VERBS, *OWN, "--help", "--version", "--plugin")
    elif before[0] in OWN:
        if list(before) == ["doctor"]:
            yield from (item.name for _, item in registry.checkups())
        elif len(before) == 1:
            yield from SECOND.get(before[0], ())
        elif list(before[:2]) == ["config", "show"]:
            rest = before[2:]
            yield from (
                VERBS if not rest else registry.names(rest[0]) if len(rest) == 1 else ("--stage", "--yaml")
            )
        elif before[0] == "doctor":
            yield from ("--data", "--weights", "--body-models", "--json")
        elif list(before[:2]) == ["plugins", "check"]:
            yield from (plugin.name for plugin in registry.plugins)
    elif before[0] in VERBS and len(before) == 1:
        yield from registry.names(before[0])
    elif before[0] in VERBS:
        found = registry.find(before[0], before[1])
        if found is not None:
            yield from _after_target(*found, before[2:], registry)


def _after_target(plugin: Plugin, target: Target, before: Sequence[str], registry: Registry) -> Iterator[str]:
    """Option names, or the values of the option that was typed last."""
    if before and before[-1] == "--stage":
        yield from (name for name, _ in stage_rows(target))
        return
    stage, rest = take_stage(target, before, is_needed=False)
    if rest and rest[-1] in ("-c", "--config"):
        from avatarctl.config import presets

        every = presets.listing(registry.presets())
        yield from (preset.name for preset in every if preset.owner == plugin.name)
        return
    if target.stages and stage is None:
        yield "--stage"
        if not target.run:
            return
    from avatarctl.config.settings import group_of, is_argument, parts

    fields = Command(plugin, target, stage).settings().model_fields
    options = {
        f"--{name.replace('_', '-')}": info for name, info in fields.items() if not is_argument(info.metadata)
    }
    typed = options.get(rest[-1]) if rest else None
    if typed is not None and bool not in parts(typed.annotation):
        for part in parts(typed.annotation):
            inner = get_args(part)[0] if get_origin(part) is list else part
            if get_origin(inner) is Literal:
                yield from map(str, get_args(inner))
        return
    yield from (name for name, info in options.items() if not group_of(info.annotation))
    yield from (*RUN_WORDS, "--help")
