"""The user's own settings: where assets and runs are kept, and the device where none is named."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from avatarctl.config import presets
from avatarctl.errors import SettingsError
from avatarctl.files import is_file


class UserSettings(BaseSettings):
    """What holds for every command; each is also an environment variable, which wins over the file."""

    runs: Path | None = None
    """Folder of all runs (AVATARCTL_RUNS); left out: ./runs."""
    assets: Path | None = None
    """Folder of added licensed files (AVATARCTL_ASSETS)."""
    body_models: Path | None = None
    """Folder that is searched for body models first (AVATARCTL_BODY_MODELS)."""
    device: str | None = None
    """Device when none is named (AVATARCTL_DEVICE)."""

    model_config = SettingsConfigDict(env_prefix="AVATARCTL_", extra="forbid", frozen=True)


def config_file() -> Path:
    """The user's config file; it need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "avatarctl" / "config.yaml"


def cache_folder() -> Path:
    """Where results are kept that can be computed again; it need not exist, and may be deleted."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avatarctl"


def apply() -> None:
    """Bring the file's values into the environment, where the packages below look; what is set there stays.

    Raises:
        SettingsError: The file says something else than these settings.
    """
    path = config_file()
    if not is_file(path):
        return
    try:
        settings = UserSettings(**presets.read(path))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        known = ", ".join(UserSettings.model_fields)
        raise SettingsError(f"{path}\n" + "\n".join(lines), hint=f"it may set {known}") from error
    for name in UserSettings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            os.environ.setdefault(
                f"AVATARCTL_{name.upper()}", str(Path(value).expanduser() if name != "device" else value)
            )
