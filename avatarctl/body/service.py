"""Body models by family and gender: a given folder, the added assets, else the embedded open body."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch.nn import functional

from avatarctl.assets import asset_folders
from avatarctl.body import files
from avatarctl.body.model import BodyModel
from avatarctl.body.tables import NAMES
from avatarctl.errors import AssetError

OPEN_FILES = {"smplh": "SMPLH_NEUTRAL.npz", "smplx": "SMPLX_NEUTRAL.npz", "smpl": "SMPLH_NEUTRAL.npz"}
"""The embedded open bodies; that of SMPL is the one of SMPL-H with fingers that do not move."""
HAND = 15
"""Joints of a hand."""
WRIST_SHARE = 0.15
"""How far SMPL's hand joint stays behind the bases of the fingers (open-body, chapter 3)."""


class Bodies:
    """Loads each body model once."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        self.log = log or logging.getLogger(__name__)
        self._loaded: dict[tuple[str, str, str], BodyModel] = {}

    def load(
        self,
        family: str = "smplh",
        gender: str = "neutral",
        folder: str | Path | None = None,
        *,
        is_licensed: bool = False,
    ) -> BodyModel:
        """The body model of a family and gender.

        Args:
            folder: Where licensed models lie, in any published layout; it must have this one. Left out: the
                added assets are searched, and the open body stands in for a model that is not there.
            is_licensed: Nothing may stand in for it.

        Raises:
            AssetError: `folder` has no such model, or nowhere is the licensed one.
            DataError: The words or the file are wrong.
        """
        files.check_words(family, gender)
        key = (family, gender, str(folder or ""))
        if key not in self._loaded or (is_licensed and self._loaded[key].is_open):
            self._loaded[key] = self._find(family, gender, folder, is_licensed)
        return self._loaded[key]

    def _find(self, family: str, gender: str, folder: str | Path | None, is_licensed: bool) -> BodyModel:
        folders = [Path(folder)] if folder else asset_folders()
        for place in folders:
            for name in files.candidates(family, gender):
                if (place / name).is_file():
                    model = files.read(place / name, gender=gender)
                    if model.family == family:
                        return model
                    self.log.warning("%s: passed over, it is a body of %s", place / name, model.family)
        if folder or is_licensed or family not in OPEN_FILES:
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
    """The embedded open body in the layout of `family` (smpl, smplh or smplx)."""
    packaged = resources.files("avatarctl") / "_data" / "body" / OPEN_FILES[family]
    with resources.as_file(packaged) as path:
        body = files.read(path, gender="neutral", source="open")
    return _without_fingers(body) if family == "smpl" else body


def _without_fingers(body: BodyModel) -> BodyModel:
    """SMPL's 24 joints of an SMPL-H body: each hand is one joint, among the bases of four fingers."""
    bodily, names = body.num_joints - 2 * HAND, NAMES["smplh"]
    own = torch.zeros(2, body.num_joints)
    for side, row in zip(("left", "right"), own, strict=True):
        row[names.index(f"{side}_wrist")] = WRIST_SHARE
        for finger in ("index", "middle", "pinky", "ring"):
            row[names.index(f"{side}_{finger}1")] = (1 - WRIST_SHARE) / 4
    hands = body.weights[:, bodily:].unflatten(1, (2, HAND)).sum(dim=-1)
    bends = 9 * (bodily - 1)
    return replace(
        body,
        family="smpl",
        parents=(*body.parents[:bodily], names.index("left_wrist"), names.index("right_wrist")),
        regressor=torch.cat([body.regressor[:bodily], own @ body.regressor]),
        weights=torch.cat([body.weights[:, :bodily], hands], dim=1),
        pose_directions=functional.pad(body.pose_directions[:bends], (0, 0, 0, 18)),
        hands_mean=None,
    )
