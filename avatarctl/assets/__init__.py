"""Licensed files that users fetch themselves: where they are kept and looked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from avatarctl.errors import AssetError, DataError
from avatarctl.files import atomic

KINDS = (".npz", ".pkl")


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


def add_bodies(folder: str | Path) -> list[Path]:
    """Copy every body model below `folder` into the added assets, after reading and checking each.

    Raises:
        AssetError: There is none.
        DataError: A file is no body model.
    """
    from avatarctl.body import files

    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder}: not found", hint="name the folder or file with the body models")
    found = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.suffix in KINDS)
    copied = []
    for path in found:
        if "dmpl" in path.as_posix().lower() and folder.is_dir():
            continue
        model = files.read(path)
        target = added_folder() / model.family / f"{model.family.upper()}_{model.gender.upper()}{path.suffix}"
        with atomic(target) as temporary:
            shutil.copyfile(path, temporary)
        copied.append(target)
    if not copied:
        raise AssetError(f"no body model (.npz or .pkl) was found below {folder}", hint="avatarctl assets lists what is wanted")
    return copied
