"""The failures a user can act on, and the exit code of each kind (architecture 9).

Raise the nearest class at the place that knows most: the message says what was found against what is allowed,
the hint says what to type next. Anything that is no `AvatarError` is a bug.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class AvatarError(Exception):
    """A failure with a message for the user and the next thing to type."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AvatarError):
    """The words on the command line."""

    exit_code = 2


class SettingsError(AvatarError):
    """A value of a setting."""

    exit_code = 3


class AssetError(AvatarError):
    """A licensed or downloaded file is missing."""

    exit_code = 4


class DataError(AvatarError):
    """A file is not what it should be, or cannot be written."""

    exit_code = 5


class CheckpointError(AvatarError):
    """Weights do not fit."""

    exit_code = 6


class DependencyError(AvatarError):
    """An optional package is absent."""

    exit_code = 7


class DeviceError(AvatarError):
    """No such device, or out of memory at the smallest chunk."""

    exit_code = 8


class PluginError(AvatarError):
    """A plugin cannot be used."""

    exit_code = 9


class Stopped(AvatarError):
    """The run was stopped and can be resumed: by SIGTERM (75) or by the user (130)."""

    def __init__(self, message: str, hint: str = "", *, preempted: bool = False) -> None:
        super().__init__(message, hint)
        self.exit_code = 75 if preempted else 130


def require(module: str, extra: str) -> ModuleType:
    """The optional package `module`, or a `DependencyError` that names the extra bringing it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"the package '{module}' is not installed ({error})", hint=f'pip install "avatarctl[{extra}]"'
        ) from error
