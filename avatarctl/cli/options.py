"""The words after a target: a settings class as options, and the fields that the options give."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_origin

import typer

from avatarctl.cli.target_page import RUN_WORDS
from avatarctl.config import StageSettings
from avatarctl.config.layers import leaf_names
from avatarctl.config.settings import group_of, is_argument, parts
from avatarctl.errors import UsageError
from avatarctl.plugin.registry import nearest


@dataclass(frozen=True)
class RunOptions:
    """The options that every target has."""

    config: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    out: str | None = None
    resume: str | None = None
    device: str | None = None
    precision: str | None = None
    seed: int | None = None
    dry_run: bool = False
    json: bool = False
    quiet: bool = False
    verbose: int = 0


def parse(cls: type[StageSettings], words: Sequence[str], command: str) -> tuple[dict[str, Any], RunOptions]:
    """The fields and run options that the words give; what is not given is left out.

    Raises:
        UsageError: A word that is no option or argument.
    """
    given: dict[str, Any] = {}

    def take(**values: Any) -> None:
        given.update(values)

    parameters = [*_field_parameters(cls), *_run_parameters()]
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    take.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": []})(take)
    try:
        app(args=list(words), prog_name=f"avatarctl {command}", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise _usage(error, cls, command) from error
    own = {name: given.pop(name) for name in [parameter.name for parameter in _run_parameters()]}
    fields = {name: value for name, value in given.items() if value is not None and value != []}
    own |= {name: tuple(own[name] or ()) for name in ("config", "sets")}
    return fields, RunOptions(**own)


def _field_parameters(cls: type[StageSettings]) -> list[inspect.Parameter]:
    """An option or argument for each field that is no group; its text is left to the settings class."""
    found = []
    for name, info in cls.model_fields.items():
        if group_of(info.annotation):
            continue
        if is_argument(info.metadata):
            kind: Any = list[str] | None if is_list(info.annotation) else str | None
            annotation: Any = Annotated[kind, typer.Argument(metavar=name.upper())]
        else:
            dashed = "--" + name.replace("_", "-")
            kind = (
                bool | None
                if is_flag(info.annotation)
                else list[str] | None
                if is_list(info.annotation)
                else str | None
            )
            names = f"{dashed}/--no-{dashed[2:]}" if is_flag(info.annotation) else dashed
            annotation = Annotated[kind, typer.Option(names)]
        found.append(_parameter(name, annotation))
    return found


def _run_parameters() -> list[inspect.Parameter]:
    option = typer.Option
    kinds: dict[str, Any] = {
        "config": Annotated[list[str] | None, option("-c", "--config")],
        "sets": Annotated[list[str] | None, option("-s", "--set")],
        "out": Annotated[str | None, option("-o", "--out")],
        "resume": Annotated[str | None, option("--resume")],
        "device": Annotated[str | None, option("--device")],
        "precision": Annotated[str | None, option("--precision")],
        "seed": Annotated[int | None, option("--seed")],
        "dry_run": Annotated[bool, option("--dry-run")],
        "json": Annotated[bool, option("--json")],
        "quiet": Annotated[bool, option("-q", "--quiet")],
        "verbose": Annotated[int, option("-v", "--verbose", count=True)],
    }
    defaults = {"dry_run": False, "json": False, "quiet": False, "verbose": 0}
    return [_parameter(name, kind, defaults.get(name)) for name, kind in kinds.items()]


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def is_flag(annotation: Any) -> bool:
    """Whether a field is a switch."""
    return bool in parts(annotation)


def is_list(annotation: Any) -> bool:
    """Whether a field holds several values, so that its option can be repeated."""
    return any(get_origin(part) in (list, tuple, set) for part in parts(annotation))


def _usage(error: Any, cls: type[StageSettings], command: str) -> UsageError:
    """A parser's complaint in our words, with the nearest option."""
    hint = f"avatarctl {command} --help"
    name = str(getattr(error, "option_name", "") or "")
    if "such option" not in error.format_message():
        message = str(error.format_message()).strip().rstrip(".")
        return UsageError(message[:1].lower() + message[1:], hint=hint)
    options = [
        "--" + field.replace("_", "-")
        for field, info in cls.model_fields.items()
        if not group_of(info.annotation)
    ]
    near = nearest(name, [*options, *RUN_WORDS])
    inner = {leaf.rpartition(".")[2]: leaf for leaf in leaf_names(cls) if "." in leaf}
    word = name.strip("-").replace("-", "_")
    if word in inner:
        near = f"--set {inner[word]}=VALUE"
    return UsageError(f"no such option {name}" + (f", did you mean {near}?" if near else ""), hint=hint)
