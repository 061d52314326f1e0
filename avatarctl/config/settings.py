"""The base classes of settings: a class declares all that a file, an option or the environment can say."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

T = TypeVar("T")

RUN_OPTIONS = (
    "stage", "config", "set", "sets", "out", "resume", "device", "precision", "seed", "dry_run", "json",
    "quiet", "verbose", "help", "plugin", "version",
)  # fmt: skip
"""Options that every target has; no field may take one of these names."""


class Positional:
    """Marks a field that is given by its place on the command line."""


class Weights:
    """Marks a field that names trained weights."""


Argument = Annotated[T, Positional()]
"""`Argument[Path]`: a field that is given by its place on the command line, not by a name."""


class Group(BaseModel):
    """Settings that belong together inside a settings class; reached by `--set group.key=value`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        validate_default=True,
    )


class StageSettings(BaseSettings):
    """Settings of one target or stage.

    The class is the documentation: a field's default is the published value, the string under it its help.
    Numbers are finite, here and in groups.
    Building one in Python takes exactly what is passed; files, environment and options come in through
    `config.layers` alone.
    """

    network_fields: ClassVar[tuple[str, ...]] = ("network",)
    """Fields that shape the network; a resumed run refuses to change them."""
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    """Defaults that belong to a value of a field: {field: {value: {setting: default}}}."""
    switch_extras: ClassVar[Mapping[str, str]] = {}
    """Extras of the plugin's distribution that switches need where they are on: {field: extra}."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed."""
        return (init_settings,)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        taken = [name for name in cls.model_fields if name in RUN_OPTIONS]
        if taken:
            raise TypeError(
                f"{cls.__name__}.{taken[0]}: every target has a run option of this name; choose another"
            )


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _weights_words(words: str) -> str:
    if not words.strip():
        raise ValueError("expected a file or folder, run:NAME/N, latest, or a name of embedded weights")
    if words.startswith("run:") and not words.removeprefix("run:").strip("/ "):
        raise ValueError("expected the run after 'run:', as in run:train-sparse-vqvae/003")
    return words


WeightsPath = Annotated[str, BeforeValidator(_as_text), AfterValidator(_weights_words), Weights()]
"""Trained weights: a file or folder (native or official), `run:NAME/N`, `latest`, or embedded ones by name.

The type holds the words only; `run.weights(...)` finds and opens the file.
"""


def is_argument(metadata: Sequence[Any]) -> bool:
    """Whether a field is given by its place."""
    return any(isinstance(item, Positional) for item in metadata)


def parts(annotation: Any) -> list[Any]:
    """The alternatives of a union; the type itself where it is none."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for part in get_args(annotation) for inner in parts(part)]
    if hasattr(annotation, "__metadata__"):
        return parts(get_args(annotation)[0])
    return [annotation]


def group_of(annotation: Any) -> type[BaseModel] | None:
    """The group class that a field's type is, or may be."""
    groups = [part for part in parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return groups[0] if groups else None
