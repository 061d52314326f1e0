"""The licensed body models: files in the published layouts, where to register, what the licence allows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from avatarctl.api import Asset
from avatarctl.assets import added_folder, asset_folders
from avatarctl.files import atomic, check_input_file

VARIABLE = "AVATARCTL_BODY_MODELS"
RESEARCH = "non-commercial research; registration; not to be passed on"


def _layouts(family: str, *names: str) -> tuple[str, ...]:
    """Globs, relative to a folder of body models, of the layouts that the published READMEs ask for."""
    own = (f"{family.upper()}_*.npz", f"{family.upper()}_*.pkl", *names)
    inside = (*own, "*/model.npz", "*/model.pkl")
    return (*(f"{family}/{name}" for name in inside), *own, *(f"models/{family}/{name}" for name in inside))


BODIES = (
    Asset(
        name="smpl",
        summary="SMPL body: 24 joints, 6890 vertices",
        patterns=_layouts("smpl", "basic[mM]odel_*_lbs_10_207_0_v1.*.pkl"),
        register_at="https://smpl.is.tue.mpg.de (neutral: https://smplify.is.tue.mpg.de)",
        licence=RESEARCH,
        variable=VARIABLE,
    ),
    Asset(
        name="smplh",
        summary="SMPL-H body with hands: 52 joints, the one AMASS is made with",
        patterns=_layouts("smplh"),
        register_at="https://mano.is.tue.mpg.de (Extended SMPL+H model, as used in AMASS)",
        licence=RESEARCH,
        variable=VARIABLE,
    ),
    Asset(
        name="smplx",
        summary="SMPL-X body with hands and face: 55 joints, 10475 vertices",
        patterns=_layouts("smplx"),
        register_at="https://smpl-x.is.tue.mpg.de",
        licence=RESEARCH,
        variable=VARIABLE,
    ),
    Asset(
        name="dmpl",
        summary="DMPL soft tissue of SMPL-H; no result needs it, published folders hold it",
        patterns=("dmpls/*/model.npz", "models/dmpls/*/model.npz"),
        register_at="https://smpl.is.tue.mpg.de (DMPLs compatible with SMPL)",
        licence=RESEARCH,
        variable=VARIABLE,
    ),
)


def found(asset: Asset) -> list[Path]:
    """The files of an asset in the folders that are searched."""
    given = os.environ.get(asset.variable, "") if asset.variable else ""
    folders = dict.fromkeys([*([Path(given)] if given else []), *asset_folders()])
    files = (
        path for folder in folders for pattern in asset.patterns for path in sorted(folder.glob(pattern))
    )
    return list(dict.fromkeys(path for path in files if path.is_file()))


def add(folder: Path, assets: Iterable[Asset]) -> list[Path]:
    """Copy the files of assets from below a folder, or the file that is named, into the added assets.

    Args:
        assets: Those that are no body models, as plugins declare them.
    """
    copied = []
    for asset in assets:
        for name in dict.fromkeys(Path(pattern).name for pattern in asset.patterns):
            files = [folder] if folder.is_file() and folder.match(name) else sorted(folder.rglob(name))
            for path in files:
                target = added_folder() / path.name
                with atomic(target) as temporary:
                    shutil.copyfile(check_input_file(path, asset.summary), temporary)
                copied.append(target)
    return list(dict.fromkeys(copied))
