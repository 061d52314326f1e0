"""Presets: files of differences from the defaults, found by name in checkout, wheel or a plugin.

A preset is a YAML mapping of settings. A top-level key that is a verb holds settings of that verb alone, and
a key that is the name of a stage, beside it or inside, settings of that stage. Its first comment lines: the
command that uses it, what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

import avatarctl
from avatarctl.errors import DataError, SettingsError, UsageError

SUFFIXES = (".yaml", ".yml")
LISTED = "avatarctl config list shows the presets"
Folders = Sequence[tuple[str, Path]]
"""Folders of presets that plugins bring, with the plugin's name (`Registry.presets()`)."""


@dataclass(frozen=True)
class Preset:
    """One file of differences."""

    owner: str
    """The plugin it belongs to; empty for a file named by its path."""
    name: str
    path: Path

    @property
    def summary(self) -> str:
        """What it is, from its first comment lines."""
        return " ".join(line for line in _comments(self.path) if not _is_command(line))

    @property
    def command(self) -> str:
        """The command that uses it, from its first comment lines."""
        return next((line for line in _comments(self.path) if _is_command(line)), "")


def own_folder() -> Path:
    """The presets of the first-party plugins: in the wheel, else beside the package in a checkout."""
    package = Path(avatarctl.__file__).resolve().parent
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


def listing(folders: Folders = ()) -> list[Preset]:
    """Every preset that can be named, by owner and name."""
    own = own_folder()
    every = [(entry.name, entry) for entry in sorted(own.iterdir()) if entry.is_dir()] if own.is_dir() else []
    found: dict[tuple[str, str], Preset] = {}
    for owner, folder in [*every, *folders]:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.suffix in SUFFIXES:
                name = path.relative_to(folder).with_suffix("").as_posix()
                found.setdefault((owner, name), Preset(owner, name, path))
    return sorted(found.values(), key=lambda preset: (preset.owner, preset.name))


def find(
    words: str, owner: str, folders: Folders = (), suits: Callable[[Preset], bool] = lambda _: True
) -> Preset:
    """The preset or file that `-c WORDS` means.

    Args:
        words: NAME, OWNER/NAME, or the path of a YAML file.
        owner: The target's plugin, whose presets come first.
        suits: Whether the target takes a preset; those of other plugins have to, and those that are proposed.

    Raises:
        UsageError: There is none, several, or one of another plugin that does not suit; the nearest name of
            those that suit is said.
    """
    path = Path(words).expanduser()
    if path.is_file():
        return Preset("", words, path)
    every = listing(folders)
    mine = [preset for preset in every if preset.owner == owner and preset.name == words]
    found = mine or [preset for preset in every if words in (preset.name, f"{preset.owner}/{preset.name}")]
    taken = [preset for preset in found if preset.owner == owner or suits(preset)]
    if len(taken) == 1:
        return taken[0]
    if taken:
        full = ", ".join(f"{preset.owner}/{preset.name}" for preset in taken)
        raise UsageError(f"-c {words}: several presets have this name", hint=f"say one of {full}")
    if found:
        owners = ", ".join(preset.owner for preset in found)
        raise UsageError(f"-c {words}: this is a preset of {owners}, and none for this target", hint=LISTED)
    if path.suffix in SUFFIXES:
        raise UsageError(f"-c {words}: no such file", hint=LISTED)
    own = [preset for preset in every if preset.owner == owner and suits(preset)]
    names = [name for preset in own for name in (f"{owner}/{preset.name}", preset.name)]
    near = get_close_matches(words, names, n=1, cutoff=0.5)
    remedy = f", did you mean {near[0]}?" if near else ""
    raise UsageError(f"-c {words}: no preset or file of this name{remedy}", hint=LISTED)


_TRUE_FALSE = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NUMBER = re.compile(
    r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's words: `no` and `off` are text, 1e-4 is a number, dates are text.

    A value that contains itself is refused.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # what is inside first: only so does yaml see that a value has no end


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in known
        if tag.rpartition(":")[2] not in ("bool", "float", "timestamp")
    ]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUE_FALSE, list("tTfF"))
# After the integers, which the pattern of numbers takes too.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def parse(text: str) -> Any:
    """What a YAML text says; may raise `yaml.YAMLError`, and `ValueError` for a number out of bounds."""
    return yaml.load(text, Loader=_Loader)


def read(path: Path) -> dict[str, Any]:
    """The settings in a preset file.

    Raises:
        DataError: It cannot be read, or is no YAML.
        SettingsError: It holds no mapping.
    """
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="check the path") from error
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}: " if where is not None else ""
        raise DataError(
            f"{path}: {line}{getattr(error, 'problem', None) or error}", hint="repair the file"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(
            f"{path}: found {type(content).__name__}, expected settings as KEY: VALUE",
            hint="avatarctl config show VERB TARGET --yaml writes a file to start from",
        )
    return {str(key): value for key, value in content.items()}


VERBS = ("prepare", "train", "infer", "eval", "export", "demo")
"""Keys of a preset that hold settings of a verb; the names are `avatarctl.plugin.target.VERBS`."""


def sections(path: Path, verb: str, stage: str, stages: Sequence[str]) -> list[Mapping[str, Any]]:
    """The settings in a preset file for a target or stage: the common ones, then those of its own sections.

    Args:
        stages: Every stage of the target; sections of the others are left out.

    Raises:
        DataError: The file cannot be read, or is no YAML.
        SettingsError: It holds no mapping, or a section does not.
    """

    def inside(content: Mapping[str, Any], names: Sequence[str], own: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = [{key: value for key, value in content.items() if key not in names}]
        section = content.get(own) if own in names else None
        if section is not None and not isinstance(section, Mapping):
            raise SettingsError(
                f"{path}: {own}: found {section!r}, expected settings of this name",
                hint=f"write them as KEY: VALUE below {own}:",
            )
        return found if section is None else [*found, section]

    every = [part for half in inside(read(path), VERBS, verb) for part in inside(half, stages, stage)]
    return [{str(key): value for key, value in part.items()} for part in every]


def _is_command(line: str) -> bool:
    return "avatarctl " in line and " -c " in line


def _comments(path: Path) -> list[str]:
    """The comment lines that a file opens with, without their mark."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        if not line.startswith("#"):
            break
        found.append(line.lstrip("# ").rstrip())
    return found
