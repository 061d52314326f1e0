"""Licensed files that users fetch themselves: where they are kept and looked for."""

from __future__ import annotations

import os
from pathlib import Path


def added_folder() -> Path:
    """Where `avatarctl assets add` keeps files: AVATARCTL_ASSETS, else the user's data folder."""
    given = os.environ.get("AVATARCTL_ASSETS")
    if given:
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "avatarctl" / "assets"


def asset_folders() -> list[Path]:
    """Folders searched for body models, in order: AVATARCTL_BODY_MODELS, then the added assets."""
    given = os.environ.get("AVATARCTL_BODY_MODELS")
    return [*([Path(given)] if given else []), added_folder()]
