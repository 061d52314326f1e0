"""Settings from layers, later wins: defaults < resumed run < files < environment < --set < options.

Each leaf remembers its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as EnvError

from avatarctl.config import explain, presets
from avatarctl.config.settings import StageSettings, group_of, is_argument, parts
from avatarctl.errors import SettingsError, UsageError

DEFAULT, ENVIRONMENT, SET = "default", "environment", "--set"
Translate = Callable[[Path, Mapping[str, Any], str, str, type[StageSettings]], Mapping[str, Any] | None]
"""Of path, content, verb, stage and settings class."""


@dataclass(frozen=True)
class Given:
    """What the user gave for one target or stage."""

    verb: str
    target: str
    stage: str = ""
    stages: tuple[str, ...] = ()
    """All stages of the target; a key of a preset with such a name holds settings of that stage."""
    presets: Sequence[presets.Preset] = ()
    """The files of -c, in order."""
    sets: Sequence[str] = ()
    """KEY=VALUE of --set, in order."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields given as options or arguments: text, a list of texts, or a flag."""
    resumed: Mapping[str, Any] | None = None
    """Settings of the run that is resumed; the environment is left out then."""
    translate: Translate | None = None
    """Settings in a published file, None where it is none; asked when a file has keys that are no setting."""

    @property
    def command(self) -> str:
        """The words that name the target, for messages."""
        return " ".join([self.verb, self.target, *(["--stage", self.stage] if self.stage else [])])


@dataclass(frozen=True)
class Resolved:
    """Validated settings and the layer of each leaf, by dotted name."""

    settings: StageSettings
    origin: dict[str, str]


def resolve(cls: type[StageSettings], given: Given) -> Resolved:
    """The settings of a class with everything the user gave, later layers over earlier ones.

    `origin` has every leaf: "default", "run" (resumed), a preset's name, "environment", "--set", or the
    option's name.

    Raises:
        UsageError: A --set without `=`, or an argument that is missing.
        SettingsError: Values that the class does not take, all of them at once, each with its source.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, layer in _with_variants(cls, list(_layers(cls, given))):
        _merge(values, origin, layer, name)
    try:
        settings = cls(**values)
    except ValidationError as error:
        raise explain.failure(error, cls, origin, given.command) from error
    return Resolved(settings, {name: origin.get(name, DEFAULT) for name in leaves(settings)})


def _layers(cls: type[StageSettings], given: Given) -> Iterable[tuple[str, Mapping[str, Any]]]:
    yield DEFAULT, _defaults(cls)
    if given.resumed is not None:
        yield "run", given.resumed
    for preset in given.presets:
        for section in _sections(cls, given, preset):
            yield preset.name, section
    if given.resumed is None:
        yield ENVIRONMENT, _environment(cls, given)
    for words in given.sets:
        yield SET, _assignment(cls, words)
    for name, value in given.options.items():
        yield explain.option(name, cls), {name: _option_value(cls, name, value)}


def _sections(cls: type[StageSettings], given: Given, preset: presets.Preset) -> Iterable[Mapping[str, Any]]:
    """The settings in a file, which may be a published one."""
    found = presets.sections(preset.path, given.verb, given.stage, given.stages)
    is_ours = {str(key) for section in found for key in section} <= set(cls.model_fields)
    if given.translate is not None and not preset.owner and not is_ours:
        translated = given.translate(preset.path, presets.read(preset.path), given.verb, given.stage, cls)
        return found if translated is None else [translated]
    return found


Layer = tuple[str, Mapping[str, Any]]
"""Its name, and the settings that it gives."""


def _with_variants(cls: type[StageSettings], layers: list[Layer]) -> list[Layer]:
    """The layers, with the defaults that belong to what they choose over the other defaults."""
    found = [layers[0]]
    for name, cases in cls.variants.items():
        chosen = next((layer[name] for _, layer in reversed(layers) if name in layer), None)
        if isinstance(chosen, str) and chosen in cases:
            found.append((DEFAULT, cases[chosen]))
    return [*found, *layers[1:]]


def fits(cls: type[BaseModel], path: Path, verb: str, stage: str, stages: Sequence[str]) -> bool:
    """Whether a preset says something about a target or stage, and nothing that it does not have."""
    keys = {str(key) for section in presets.sections(path, verb, stage, stages) for key in section}
    return bool(keys) and keys <= set(cls.model_fields)


def suits(cls: type[BaseModel], path: Path, verb: str, stage: str, stages: Sequence[str]) -> bool:
    """Whether a preset says nothing that a target or stage does not have, and something of the verb's."""
    keys = {str(key) for section in presets.sections(path, verb, stage, stages) for key in section}
    return any(presets.sections(path, verb, "", ())) and keys <= set(cls.model_fields)


def _defaults(cls: type[BaseModel]) -> dict[str, Any]:
    """Defaults as nested mappings, so that a file that sets one key of a group keeps the others."""
    found = {}
    for name, info in cls.model_fields.items():
        if not info.is_required():
            found[name] = nested(info.get_default(call_default_factory=True, validated_data={}))
    return found


def nested(value: Any) -> Any:
    """A group as a mapping, all the way down; anything else as it is."""
    if isinstance(value, BaseModel):
        return {name: nested(getattr(value, name)) for name in type(value).model_fields}
    return value


def _merge(
    values: dict[str, Any], origin: dict[str, str], layer: Mapping[str, Any], name: str, at: str = ""
) -> None:
    """Put a layer over `values`, mappings deep and lists whole, and note it in `origin`."""
    for raw, value in layer.items():
        key = str(raw)
        path = at + key
        if isinstance(value, Mapping):
            if not isinstance(values.get(key), dict):
                values[key] = {}
                origin.pop(path, None)
            _merge(values[key], origin, value, name, f"{path}.")
        else:
            values[key] = value
            for below in [known for known in origin if known.startswith(f"{path}.")]:
                del origin[below]
            origin[path] = name


def _environment(cls: type[StageSettings], given: Given) -> dict[str, Any]:
    """AVATARCTL_VERB_TARGET__GROUP__KEY; lists are JSON."""
    prefix = prefix_of(given.verb, given.target)
    try:
        return EnvSettingsSource(cls, env_prefix=prefix, env_nested_delimiter="__", case_sensitive=False)()
    except EnvError as error:
        raise SettingsError(
            f"{prefix}...: {error}", hint=f'lists are written as JSON: {prefix}NAME=\'["one", "two"]\''
        ) from error


def prefix_of(verb: str, target: str) -> str:
    """What names of environment variables for a target's settings begin with."""
    return f"AVATARCTL_{verb}_{target}__".upper().replace("-", "_")


def _assignment(cls: type[StageSettings], words: str) -> dict[str, Any]:
    """KEY=VALUE as a nested mapping."""
    name, sign, text = words.partition("=")
    names = [part.replace("-", "_") for part in name.strip().split(".")]
    if not sign or not all(names):
        raise UsageError(f"--set {words}: expected KEY=VALUE", hint="for example --set optim.lr=1e-4")
    value = from_text(annotation_of(cls, names), text)
    for part in reversed(names):
        value = {part: value}
    return dict(value)


def _option_value(cls: type[StageSettings], name: str, value: Any) -> Any:
    annotation = annotation_of(cls, [name])
    if isinstance(value, str):
        return from_text(annotation, value)
    if isinstance(value, list | tuple):
        if len(value) == 1 and str(value[0]).startswith("["):
            return from_text(annotation, str(value[0]))
        if is_argument(cls.model_fields[name].metadata) or _holds_paths(annotation):
            return list(value)  # words by their place, and names of files, may hold commas
        return [part for text in value for part in split(str(text))]
    return value


def annotation_of(cls: type[BaseModel], names: Sequence[str]) -> Any:
    """The type of the setting under a dotted name; None where there is no such setting."""
    info = cls.model_fields.get(names[0])
    if info is None:
        return None
    if len(names) == 1:
        return info.annotation
    group = group_of(info.annotation)
    return annotation_of(group, names[1:]) if group else None


def from_text(annotation: Any, text: str) -> Any:
    """What a text typed by the user says, given the type it is for; what does not fit is left to validation.

    A number, switch or path stays text, which pydantic converts: YAML would make `no` a switch and `007` a 7.
    """
    kinds = parts(annotation)
    for kind in kinds:
        if get_origin(kind) is Literal:
            for choice in get_args(kind):
                if str(choice) == text:
                    return choice
    if text == "null" and type(None) in kinds:
        return None
    if text[:1] in ("[", "{") or annotation is None:
        try:
            return presets.parse(text)
        except (yaml.YAMLError, ValueError):
            return text
    if any(get_origin(kind) in (list, tuple, set) for kind in kinds):
        return split(text)
    return text


def split(text: str) -> list[str]:
    """The values of a list that is typed as one word: 2,2."""
    return [part.strip() for part in text.split(",")]


def _holds_paths(annotation: Any) -> bool:
    """Whether a field holds a list of paths."""
    return any(Path in parts(item) for kind in parts(annotation) for item in get_args(kind)[:1])


def leaves(settings: BaseModel, at: str = "") -> dict[str, Any]:
    """Every setting that is no group, by dotted name."""
    found: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found |= leaves(value, f"{at}{name}.")
        else:
            found[at + name] = value
    return found


def leaf_names(cls: type[BaseModel], at: str = "") -> list[str]:
    """The dotted name of every setting of a class that is no group."""
    found: list[str] = []
    for name, info in cls.model_fields.items():
        group = group_of(info.annotation)
        found += leaf_names(group, f"{at}{name}.") if group else [at + name]
    return found


def as_plain(value: Any) -> Any:
    """A setting's value in YAML's and JSON's types."""
    if isinstance(value, Enum):
        return as_plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [as_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
