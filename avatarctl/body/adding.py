"""Licensed body models into the user's own folder: `avatarctl assets add`."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from avatarctl.assets import added_folder
from avatarctl.body import files
from avatarctl.body.tables import GENDERS
from avatarctl.checkpoints.arrays import npz_headers
from avatarctl.errors import AssetError, DataError
from avatarctl.files import atomic

KINDS = (".npz", ".pkl")
LOG = logging.getLogger(__name__)


def add_bodies(folder: str | Path) -> list[Path]:
    """Copy every body model and DMPL file below `folder` into the added assets, once it was read and checked.

    Files that are something else (the downloads also hold hands alone) are left out with a warning.

    Raises:
        AssetError: There is none.
        DataError: The file named, or every one in the folder, is no body model; or `folder` is not there.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder}: not found", hint="name the folder or file with the body models")
    if folder.is_file():
        if folder.suffix.lower() not in KINDS:
            raise DataError(
                f"{folder}: is no body model; expected .npz or .pkl of SMPL, SMPL-H or SMPL-X",
                hint="avatarctl assets lists what is wanted",
            )
        return [_copy(folder)]
    copied, refused = [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in KINDS and p.is_file()):
        try:
            target = _target(path)
        except DataError as error:
            refused.append(error)
            continue
        copied.append(_copy(path, target))
    if refused and not copied:
        raise DataError("\n".join(error.message for error in refused), hint=refused[0].hint)
    for one in refused:
        LOG.warning("left out: %s", one.message)
    if not copied:
        raise AssetError(
            f"no body model (.npz or .pkl) was found below {folder}",
            hint="avatarctl assets lists what is wanted",
        )
    return list(dict.fromkeys(copied))


def _copy(path: Path, target: Path | None = None) -> Path:
    target = target or _target(path)
    with atomic(target) as temporary:
        shutil.copyfile(path, temporary)
    return target


def _target(path: Path) -> Path:
    """Where a body model or DMPL file is kept, once it was read and found right."""
    if path.suffix == ".npz" and path.parent.name in GENDERS and "eigvec" in npz_headers(path):
        return added_folder() / "dmpls" / path.parent.name / "model.npz"
    model = files.read(path)
    return added_folder() / model.family / f"{model.family.upper()}_{model.gender.upper()}{path.suffix}"
