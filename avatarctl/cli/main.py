"""The way in: listing page, target, own command, or an unknown word."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from avatarctl import __version__
from avatarctl.errors import AvatarError, PluginError, UsageError
from avatarctl.files import long_name
from avatarctl.plugin.registry import Plugin, Registry, did_you_mean
from avatarctl.plugin.target import VERBS, Target

OWN = {
    "plugins": "what is installed; check NAME tests a plugin",
    "doctor": "versions, devices, extras, assets, disk",
    "config": "show VERB TARGET: every setting; list: presets",
    "assets": "licensed files: found where; add FOLDER",
    "runs": "what was run; show RUN",
    "inspect": "what a checkpoint, store or motion file is",
    "new-plugin": "a package of your own that adds a target",
    "completion": "completion script for bash, zsh or fish",
}
"""The core's own commands with their one-line summaries."""
HELP = ("--help", "-h", "help")
DEMO = "sparse-tracking"
"""What `avatarctl demo` alone shows."""
COMPLETE = "--complete"
"""The hidden word that the completion scripts call."""


def script() -> None:
    """The console script."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; nothing is raised."""
    from avatarctl import terminal
    from avatarctl.cli import pages

    words = list(sys.argv[1:] if argv is None else argv)
    terminal.setup()
    try:
        return _dispatch(words)
    except AvatarError as error:
        pages.failure(error, with_trace=True)
        return error.exit_code
    except KeyboardInterrupt:
        pages.failure(AvatarError("stopped by the user"))
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone: nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if isinstance(error, OSError) and (known := long_name(error)):
            pages.failure(known, with_trace=True)
            return known.exit_code
        return pages.bug(error)


def _dispatch(words: list[str]) -> int:
    typed = words
    files, words = _plugin_files(words)
    if words[:1] == ["--version"]:
        return _version()
    registry = Registry.load(files)
    if words[:1] == [COMPLETE]:
        from avatarctl.cli import completion

        return completion.answer(words[1:], registry)
    if not words or words[0] in HELP:
        from avatarctl.cli import pages

        pages.root(registry, OWN)
        return 0
    first, rest = words[0], words[1:]
    if first in VERBS:
        return _verb(first, rest, typed, registry)
    if first in OWN:
        from avatarctl.cli.own import run

        return run(words, registry)
    raise _unknown(first, registry)


def _plugin_files(words: list[str]) -> tuple[list[str], list[str]]:
    """The files of `--plugin FILE` before the first word, and the rest."""
    files = []
    while words and (words[0] == "--plugin" or words[0].startswith("--plugin=")):
        _, sign, file = words[0].partition("=")
        if not sign and len(words) < 2:
            raise UsageError(
                "--plugin: expected a file", hint="avatarctl --plugin ./my_plugin.py VERB TARGET"
            )
        files.append(file if sign else words[1])
        words = words[1:] if sign else words[2:]
    return files, words


def _version() -> int:
    from avatarctl import terminal

    terminal.out().out(f"avatarctl {__version__}", highlight=False)
    return 0


def _verb(verb: str, rest: list[str], typed: list[str], registry: Registry) -> int:
    """The verb's page, or one of its targets; `demo` alone means the main one."""
    from avatarctl.cli import pages

    targets = registry.targets(verb)
    if verb == "demo" and targets and (not rest or rest[0].startswith("-")):
        rest = [DEMO if registry.find(verb, DEMO) else targets[0][1].name, *rest]
    if not rest or rest[0] in HELP:
        pages.verb(verb, registry)
        return 0
    name = rest[0]
    if name.startswith("-"):
        raise UsageError(f"{verb}: name a target before the options", hint=f"avatarctl {verb} --help")
    plugin, target = find_target(verb, name, registry)
    from avatarctl.cli import target as command

    return command.run(plugin, target, rest[1:], typed, registry)


def find_target(verb: str, name: str, registry: Registry) -> tuple[Plugin, Target]:
    """The owner of a target.

    Raises:
        UsageError: There is none; what the word fits better is said.
        PluginError: It may belong to a plugin that did not load.
    """
    found = registry.find(verb, name)
    if found is not None:
        return found
    for plugin in registry.plugins:
        if plugin.is_off and plugin.name in (name, name.partition(":")[0]):
            raise PluginError(
                f"plugin '{plugin.name}' is switched off", hint="take it out of AVATARCTL_PLUGINS_OFF"
            )
        if plugin.troubles and plugin.name in (name, name.partition(":")[0]):
            raise plugin.error(plugin.troubles[0].where, plugin.troubles[0].cause)
    others = list(dict.fromkeys(registry.verbs_of(name)))
    if others:
        raise UsageError(
            f"'{name}' cannot be used with {verb}; it offers {', '.join(others)}",
            hint=f"avatarctl {others[0]} {name} --help",
        )
    near = did_you_mean(name, registry.names(verb))
    note = "".join(f"\nthe plugin '{plugin.name}' did not load" for plugin in registry.broken())
    raise UsageError(f"{verb} has no target '{name}'{near}{note}", hint=f"avatarctl {verb} --help")


def _unknown(word: str, registry: Registry) -> UsageError:
    """The failure for a first word that is nothing, with what comes nearest."""
    if word.startswith("-"):
        return UsageError(f"no such option {word}", hint="avatarctl --help")
    verbs = list(dict.fromkeys(registry.verbs_of(word)))
    if verbs:
        return UsageError(
            f"'{word}' is a target; say first what to do with it: {', '.join(verbs)}",
            hint=f"avatarctl {verbs[0]} {word} --help",
        )
    near = did_you_mean(word, [*VERBS, *OWN])
    return UsageError(f"no such command '{word}'{near}", hint="avatarctl --help")
