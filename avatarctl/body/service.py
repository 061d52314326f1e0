"""Body models by family and gender: a given folder, the added assets, else the embedded open body."""

from __future__ import annotations

import logging
from functools import cache
from importlib import resources
from pathlib import Path

from avatarctl.assets import asset_folders
from avatarctl.body import files
from avatarctl.body.model import BodyModel
from avatarctl.errors import AssetError

OPEN_FILES = {"smplh": "SMPLH_NEUTRAL.npz", "smplx": "SMPLX_NEUTRAL.npz"}


class Bodies:
    """Loads each body model once."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        self.log = log or logging.getLogger(__name__)
        self._loaded: dict[tuple[str, str, str], BodyModel] = {}

    def load(
        self, family: str = "smplh", gender: str = "neutral", folder: str | Path | None = None
    ) -> BodyModel:
        """The body model of a family and gender.

        Args:
            folder: Where licensed models lie, in any published layout; it must have this one. Left out: the
                added assets are searched, and the open body stands in for a model that is not there.

        Raises:
            AssetError: `folder` has no such model.
            DataError: The words or the file are wrong.
        """
        files.check_words(family, gender)
        key = (family, gender, str(folder or ""))
        if key not in self._loaded:
            self._loaded[key] = self._find(family, gender, folder)
        return self._loaded[key]

    def _find(self, family: str, gender: str, folder: str | Path | None) -> BodyModel:
        folders = [Path(folder)] if folder else asset_folders()
        for place in folders:
            for name in files.candidates(family, gender):
                if (place / name).is_file():
                    model = files.read(place / name, gender=gender)
                    if model.family == family:
                        return model
                    self.log.warning("%s: passed over, it is a body of %s", place / name, model.family)
        if folder or family not in OPEN_FILES:
            raise AssetError(
                f"body model '{family}' for gender '{gender}' was not found\n"
                f"looked in {', '.join(map(str, folders)) or 'no folder'}",
                hint="avatarctl assets says where to register; then: avatarctl assets add FOLDER",
            )
        self.log.info(
            "using the embedded open body (no licensed %s model for gender %s was added)", family, gender
        )
        return open_body(family)


@cache
def open_body(family: str = "smplh") -> BodyModel:
    """The embedded open body in the layout of `family` (smplh or smplx)."""
    packaged = resources.files("avatarctl") / "_data" / "body" / OPEN_FILES[family]
    with resources.as_file(packaged) as path:
        return files.read(path, gender="neutral", source="open")
