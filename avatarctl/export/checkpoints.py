"""Layouts that weights are written in: avatarctl's own, and the published ones that plugins declare."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.errors import PluginError, SettingsError
from avatarctl.plugin.target import resolve

if TYPE_CHECKING:
    from avatarctl.api import Weights as Declared
    from avatarctl.checkpoints import Weights

OWN = "safetensors"


def check_names(wanted: Iterable[str], declared: Iterable[Declared] = ()) -> None:
    """Refuse words that name no layout.

    Raises:
        SettingsError: The first such word, with the nearest name.
    """
    known = [OWN, *(item.name for item in declared if item.write)]
    for name in wanted:
        if name not in known:
            near = next(iter(get_close_matches(name, known, n=1)), OWN)
            raise SettingsError(
                f"to: '{name}' is no layout; choose from {', '.join(known)}", hint=f"--to {near}"
            )


def write(weights: Weights, name: str, own: Path, declared: Iterable[Declared] = ()) -> list[Path]:
    """The files that weights were written to.

    Args:
        name: Layout, one of those that `check_names` takes.
        own: The file for avatarctl's own layout; the files of a published one go below its folder.

    Raises:
        CheckpointError: The layout cannot hold these networks.
        PluginError: The writer of the layout cannot be imported.
    """
    if name == OWN:
        return [weights.write(own)]
    item = next(item for item in declared if item.name == name)
    try:
        writer = resolve(item.write)
    except Exception as error:  # a third party's code
        raise PluginError(
            f"weights '{name}': {item.write}: {type(error).__name__}: {error}",
            hint="avatarctl plugins lists the plugins; avatarctl plugins check NAME tests one",
        ) from error
    return [Path(path) for path in writer(weights, own.parent)]
