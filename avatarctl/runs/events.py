"""What observers (experiment trackers) are told: the hook `avatarctl_event(event)` gets `Event`s."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["started", "metrics", "saved", "ended"]
Observer = Callable[["Event"], Any]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    kind: Kind
    run: Path
    """The run folder."""
    what: Mapping[str, str]
    """verb, target, stage."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """started: settings, seed; metrics: step, split, numbers; saved: path, kind; ended: status, metrics."""


class Observers:
    """Calls each observer on its own; one that raises is logged once and dropped for this run."""

    def __init__(self, observers: Iterable[tuple[str, Observer]], log: logging.Logger) -> None:
        self.observers = list(observers)
        self.log = log

    def tell(self, event: Event) -> None:
        """Hand an event to every observer that still works."""
        for name, observer in list(self.observers):
            try:
                observer(event)
            except Exception as error:
                self.log.warning("observer '%s' was dropped: %s: %s", name, type(error).__name__, error)
                self.log.debug("observer '%s'", name, exc_info=True)
                self.observers.remove((name, observer))


def observers_of(registry: Any) -> list[tuple[str, Observer]]:
    """The named implementations of `avatarctl_event` that a registry knows, in registration order."""
    manager = getattr(registry, "manager", None)
    hook = getattr(getattr(manager, "hook", None), "avatarctl_event", None)
    if hook is None:
        return []
    # Called one by one: pluggy's own call would pass an observer's exception on and skip the others.
    return [(str(impl.plugin_name), impl.function) for impl in hook.get_hookimpls()]
