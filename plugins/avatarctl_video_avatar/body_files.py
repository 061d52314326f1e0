"""SMPL in the tables of the published code, and what lies where no SMPL body was found (spec 10.1)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avatarctl.body import BodyModel, files
from avatarctl.body.tables import GENDERS
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.errors import AssetError, DataError
from avatarctl_video_avatar.prepared import Sex

TABLES = {
    "v_template": "v_templates",
    "shapedirs": "shapedirs_all",
    "posedirs": "posedirs_all",
    "J_regressor": "J_regressors",
    "weights": "skinning_weights_all",
}
"""Fields of a body file, and the .npz of data/body_models/misc that has them for all sexes (spec 2.1)."""
AGAIN = "avatarctl prepare smpl-params BODY_MODELS --into {} makes the tables again"
PLACES = {
    "neutral": (
        "the neutral body is in SMPL 1.1 (basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl) and in SMPLify "
        "(basicModel_neutral_lbs_10_207_0_v1.0.0.pkl); put that file there"
    ),
    "female": "put the file of SMPL's female body there; avatarctl assets says where it is",
    "male": "put the file of SMPL's male body there; avatarctl assets says where it is",
}


def tables_in(folders: Sequence[Path]) -> Path | None:
    """The first folder with the published tables, itself or its `misc`."""
    places = [place for folder in folders for place in (folder, folder / "misc")]
    return next((place for place in places if (place / f"{TABLES['v_template']}.npz").is_file()), None)


def read_tables(folder: Path, sex: str) -> dict[str, np.ndarray]:
    """The body of a sex in the published tables, under the names of body files.

    Raises:
        DataError: A table or the sex is missing.
    """
    names = {field: (name, sex) for field, name in TABLES.items()}
    names |= {"f": ("faces", "faces"), "kintree_table": ("kintree_table", "arr_0")}
    found = {}
    for field, (name, key) in names.items():
        path = folder / f"{name}.npz"
        arrays = read_npz(path)
        if key not in arrays:
            raise DataError(
                f"{path}: {key}: missing; there are {', '.join(list(arrays)[:6]) or 'none'}",
                hint=AGAIN.format(folder),
            )
        found[field] = arrays[key]
    return found


def body_of_tables(folder: Path, sex: Sex) -> BodyModel:
    """The body of a sex in the published tables, checked as body files are.

    Raises:
        DataError: A table or the sex is missing, or a table is broken.
    """
    arrays = read_tables(folder, sex)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "tables.npz"
        np.savez(path, allow_pickle=False, **arrays)
        try:
            return files.read(path, gender=sex, source=str(folder))
        except DataError as error:
            message = error.message.replace(str(path), str(folder))
            raise DataError(message, hint=AGAIN.format(folder)) from error


def explained(folders: Sequence[Path], sex: Sex) -> AssetError | None:
    """Why there is no SMPL body of a sex: another model's file, or only other sexes; None for neither."""
    for family in ("smpl", "smplx", "smplh"):
        for path in _there(folders, family, sex):
            body = files.read(path, gender=sex)
            return AssetError(
                f"{path}: a body of {body.family.upper()}, {len(body.template)} vertices and "
                f"{len(body.faces)} faces; expected one of SMPL, 6890 vertices and 13776 faces",
                hint=f"fetch SMPL, which is not {body.family.upper()}: avatarctl assets says where",
            )
    others = [other for other in GENDERS if _there(folders, "smpl", other)]
    if not others:
        return None
    wanted = ", ".join(files.candidates("smpl", sex)[:4])
    return AssetError(
        f"{', '.join(map(str, folders))}: no {sex} body of SMPL, only {' and '.join(others)}\n"
        f"looked for {wanted} and older names",
        hint=PLACES[sex],
    )


def _there(folders: Sequence[Path], family: str, sex: str) -> list[Path]:
    paths = [folder / name for folder in folders for name in files.candidates(family, sex)]
    return [path for path in paths if path.is_file()]
