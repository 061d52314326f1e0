"""A validation error as lines to act on: setting, value, what is allowed, nearest name, source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from avatarctl.config.settings import Weights, group_of, is_argument, parts
from avatarctl.errors import AvatarError, SettingsError, UsageError


def failure(
    error: ValidationError,
    cls: type[BaseModel],
    origin: Mapping[str, str],
    command: str,
) -> AvatarError:
    """The failure that shows all mistakes at once, one line each.

    Args:
        origin: Layer of each leaf.
        command: Verb, target and stage, for the hint.
    """
    details = error.errors(include_url=False)
    wanted = [name for name in missing(error, cls) if is_argument(cls.model_fields[name].metadata)]
    if wanted and len(wanted) == len(details):
        lines = [f"{name.upper()} is missing: {cls.model_fields[name].description}" for name in wanted]
        return UsageError("\n".join(lines), hint=f"avatarctl {command} {' '.join(map(str.upper, wanted))}")
    lines = list(dict.fromkeys(_line(one, cls, origin) for one in details))
    return SettingsError("\n".join(lines), hint=f"avatarctl config show {command}")


def missing(error: BaseException | None, cls: type[BaseModel]) -> list[str]:
    """The fields that a failed validation asks for, in their order; none of another error."""
    details = error.errors(include_url=False) if isinstance(error, ValidationError) else []
    return [
        name
        for name in cls.model_fields
        if any(one["type"] == "missing" and one["loc"] == (name,) for one in details)
    ]


def option(name: str, cls: type[BaseModel]) -> str:
    """How a field is given on the command line: --name, or NAME for an argument."""
    info = cls.model_fields.get(name)
    if info is not None and is_argument(info.metadata):
        return name.upper()
    return "--" + name.replace("_", "-")


def type_name(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A field's type in words: `int`, `path`, `upper | lower`, `weights`, `text ...` for several."""
    if any(isinstance(item, Weights) for item in metadata):
        return "weights"
    return " | ".join(_type_words(part) for part in parts(annotation) if part is not type(None))


def _type_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(str(choice) for choice in inner)
    if origin is tuple and Ellipsis not in inner:
        return ",".join(type_name(part) for part in inner)
    if origin in (list, tuple, set):
        return f"{type_name(inner[0])} ..."
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(member.value) for member in kind)
    words = {bool: "switch", str: "text", Path: "path"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def shown(value: Any) -> str:
    """A setting's value as a page shows it."""
    if value is None:
        return "-"
    if value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(shown(item) for item in value) or "-"
    if isinstance(value, list | set | frozenset):
        return " ".join(shown(item) for item in value) or "-"
    return str(value)


def _line(one: ErrorDetails, cls: type[BaseModel], origin: Mapping[str, str]) -> str:
    names = _names(one["loc"], cls)
    where = ".".join(names)
    source = _source(names, origin)
    if source == "default":
        source = "the plugin's default"
    ending = f"  ({source})" if source else ""
    if one["type"] == "extra_forbidden":
        known = _fields(cls, names[:-1])
        near = get_close_matches(names[-1], known, n=1, cutoff=0.6)
        remedy = f", did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        return f"{where}: no such setting{remedy}{ending}"
    if one["type"] == "missing":
        if one["msg"] != "Field required":
            return f"{where}: {one['msg']}"
        given = option(where.partition("[")[0], cls) if len(names) == 1 else f"--set {where}=VALUE"
        return f"{where}: is missing; give it with {given}"
    value = one["input"]
    shown = f"found {_value(value)}, " if isinstance(value, str | int | float | bool | None) else ""
    if one["type"] in ("literal_error", "enum"):
        context = one.get("ctx", {})
        choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        near = get_close_matches(str(value), choices, n=1, cutoff=0.5)
        remedy = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: {shown}expected one of {', '.join(choices)}{remedy}{ending}"
    return f"{where}: {shown}{_expectation(one['msg'])}{ending}"


def _value(value: object) -> str:
    """A refused value as the user typed it; in quotes where it would not be seen."""
    text = str(value)
    return repr(text) if not text or " " in text else text


def _expectation(message: str) -> str:
    """pydantic's sentence in our words: 'expected ...'."""
    message = " ".join(message.removeprefix("Value error, ").partition(", unable to parse")[0].splitlines())
    if message.startswith("Input should be "):
        return "expected " + message.removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


def _names(loc: tuple[int | str, ...], cls: type[BaseModel]) -> list[str]:
    """The setting's dotted name from pydantic's place, without the labels of a union's branches."""
    names: list[str] = []
    model: type[BaseModel] | None = cls
    for part in loc:
        if isinstance(part, int):
            names[-1:] = [f"{names[-1]}[{part}]"] if names else [str(part)]
        elif model is not None or not names:
            names.append(part)
            model = _inner(model, part)
    return names


def _inner(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """The group class under a field, if it holds one."""
    info = model.model_fields.get(name) if model is not None else None
    return group_of(info.annotation) if info is not None else None


def _fields(cls: type[BaseModel], names: Sequence[str]) -> list[str]:
    model: type[BaseModel] | None = cls
    for name in names:
        model = _inner(model, name)
    return list(model.model_fields) if model is not None else []


def _source(names: Sequence[str], origin: Mapping[str, str]) -> str:
    """The layer that said a value: of the leaf, of what holds it, or of what it holds."""
    plain = [name.partition("[")[0] for name in names]
    for length in range(len(plain), 0, -1):
        where = ".".join(plain[:length])
        if where in origin:
            return origin[where]
        below = [
            layer for name, layer in origin.items() if name.startswith(f"{where}.") and layer != "default"
        ]
        if below:
            return below[-1]
    return ""
