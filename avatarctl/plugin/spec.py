"""The hooks of a plugin. They return data, so that a plugin is tested by calling a function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from avatarctl.plugin.target import Asset, Checkup, Format, Layout, Target, Weights

PROJECT = "avatarctl"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def avatarctl_targets() -> Iterable[Target]:  # type: ignore[empty-body]
    """The plugin's targets; asked for at every start."""


@hookspec
def avatarctl_assets() -> Iterable[Asset]:  # type: ignore[empty-body]
    """Licensed files that its targets need."""


@hookspec
def avatarctl_weights() -> Iterable[Weights]:  # type: ignore[empty-body]
    """Layouts of trained weights that it reads, and weights that it brings."""


@hookspec
def avatarctl_layouts() -> Iterable[Layout]:  # type: ignore[empty-body]
    """Layouts of data that `avatarctl inspect` knows."""


@hookspec
def avatarctl_formats() -> Iterable[Format]:  # type: ignore[empty-body]
    """File formats that it adds."""


@hookspec
def avatarctl_checkups() -> Iterable[Checkup]:  # type: ignore[empty-body]
    """What `avatarctl doctor NAME` looks at."""


@hookspec
def avatarctl_presets() -> Iterable[Any]:  # type: ignore[empty-body]
    """Folders of presets (paths, or what `importlib.resources.files` gives)."""


@hookspec
def avatarctl_event(event: Any) -> None:
    """Observe a run: started, metrics logged, file saved, ended."""
