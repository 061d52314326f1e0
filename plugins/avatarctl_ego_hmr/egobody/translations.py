"""Translations of stage 1, around which the points for testing stage 2 are taken (spec 3.4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatarctl.errors import DataError
from avatarctl_ego_hmr.recovered import read_results

RESULTS = tuple(
    f"{folder}/{name}/results.pkl"
    for folder in ("output_results_release", "output_results")
    for name in ("output_prohmr_scene_53618", "output_53618")
)
"""Where published scripts write and look for the translations of stage 1 (Q4)."""


def find_translations(given: Path | None, data: Path) -> Path:
    """The stage-1 results that were named, or those in one of the published places.

    Raises:
        DataError: There are none.
    """
    if given is not None:
        return given / "results.pkl" if given.is_dir() else given
    for folder in (Path(), data, data.parent):
        for name in RESULTS:
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f"no translations of stage 1; looked for {RESULTS[0]}",
        hint="name results.pkl with --translations; avatarctl infer ego-hmr --data FOLDER --places writes it",
    )


def read_translations(path: Path, count: int) -> np.ndarray:
    """Translations of all frames of a split, float32 [n, 3].

    Raises:
        DataError: The file is something else, or of another split.
    """
    places = read_results(path).transl
    if len(places) != count:
        raise DataError(
            f"{path}: pred_cam_full_list: {len(places)} rows; the split has {count} frames",
            hint="take results of the same split, unshuffled, of every frame",
        )
    return places.astype(np.float32)
