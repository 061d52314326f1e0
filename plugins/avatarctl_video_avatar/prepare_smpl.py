"""`prepare smpl-params`: SMPL's tables as the published code reads them, data/body_models/misc (spec 2.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.body.files import read_arrays
from avatarctl.files import atomic
from avatarctl_video_avatar.body_fit import load_body
from avatarctl_video_avatar.prepared import Sex

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_prepare import PrepareSmplParams

SEXES: tuple[Sex, ...] = ("male", "female", "neutral")
SHAPES = 10
TABLES: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {
    "J_regressors": lambda body: body["J_regressor"],
    "posedirs_all": lambda body: body["posedirs"],
    "shapedirs_all": lambda body: body["shapedirs"][..., :SHAPES],
    "skinning_weights_all": lambda body: body["weights"],
    "v_templates": lambda body: body["v_template"],
}
"""Files with an array for each sex."""


def run(settings: PrepareSmplParams, run: Run) -> None:
    """Write the tables of the three licensed files."""
    bodies = {}
    for sex in SEXES:
        body = load_body(run.bodies, "smpl", sex, settings.body_models)
        bodies[sex] = read_arrays(run.input(Path(body.source), "body_models"))
    for path in write(bodies, settings.into):
        run.output(path, "tables")
    run.log.info("SMPL's tables are in %s", settings.into)
    run.report(bodies=len(bodies))


def write(bodies: dict[Sex, dict[str, np.ndarray]], folder: Path) -> list[Path]:
    """Write the tables of bodies given by the arrays of their files."""
    male = bodies["male"]
    files: dict[str, dict[str, np.ndarray]] = {
        name: {sex: table(body) for sex, body in bodies.items()} for name, table in TABLES.items()
    }
    files["faces"] = {"faces": male["f"].astype(np.int64)}
    # The parent of the root is -1, stored as 2^32 - 1.
    files["kintree_table"] = {"arr_0": male["kintree_table"].astype(np.int64).astype(np.int32)}
    paths = []
    for name, arrays in files.items():
        path = folder / f"{name}.npz"
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        paths.append(path)
    return paths
