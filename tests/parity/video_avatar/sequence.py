"""Prepared recordings of the made-up raw arrays, and the one that later cases start from."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from avatarctl_video_avatar import prepare
from avatarctl_video_avatar import settings_prepare as settings
from avatarctl_video_avatar.prepared import Prepared, Volume, write_bodies
from golden import FIXTURES, module
from video_avatar import inputs

from avatarctl.runs import Run

Arrays = dict[str, np.ndarray]


@cache
def prepared(folder: Path) -> Prepared:
    """The sequence of case prep_zju.

    Bodies, cameras and pictures are prepared from the raw arrays; the volume of signed distances and the
    dilated meshes are those of prep_zju_full, so that they do not depend on the engine (spec 12).
    """
    full = inputs.arrays(folder, "prep_zju_full")
    ours = zju(config(folder, "prep_zju"), inputs.arrays(folder, "prep_zju"), folder, "sequence")
    bodies = {
        name: replace(
            body,
            dilated_vertices=full[f"dilated_vertices_{row}"].astype(np.float64),
            dilated_triangles=full[f"dilated_triangles_{row}"].astype(np.int64),
        )
        for row, (name, body) in enumerate(ours.bodies.items())
    }
    volume = Volume(full["sdf_grid"], float(full["bbmin"]), float(full["bbmax"]))
    write_bodies(ours.folder, bodies, ours.canonical, volume, ours.about)
    return Prepared(ours.folder)


def config(folder: Path, name: str) -> dict[str, Any]:
    """The configuration of another case."""
    path = folder / "cases" / f"{name}.json"
    text = (path if path.is_file() else inputs.OWN / "cases" / path.name).read_text("utf-8")
    return json.loads(text)["config"]


def zju(config: dict[str, Any], arrays: Arrays, folder: Path, place: str = "prepared") -> Prepared:
    """Raw arrays written as ZJU-MoCap's files, and what the prepare target makes of them, below `place`."""
    root, videos = inputs.scratch() / place / "raw" / config["output"]["name"], writers()
    write_annots(root, arrays)
    for row, names in enumerate(arrays["raw_paths"].tolist()):
        for view, path in enumerate(names):
            videos.save(root / path, arrays["raw_image"][row, view], "png")
            for kind in ("mask", "mask_cihp"):
                labels = arrays[f"raw_{kind}"][row, view]
                videos.save((root / kind / path).with_suffix(".png"), labels, "png")
    return run(settings.PrepareZju, config, root, inputs.scratch() / place, folder)


def write_annots(root: Path, arrays: Arrays) -> None:
    """`annots.npy` and `new_params` of the raw arrays."""
    cams = {key: list(arrays[f"raw_cams_{key}"]) for key in "KRTD"}
    rows = [{"ims": names} for names in arrays["raw_paths"].tolist()]
    writers().save_boxed(root / "annots.npy", {"cams": cams, "ims": rows})
    for row in range(len(rows)):
        fit = {key: arrays[f"raw_params_{key}"][row] for key in ("poses", "Rh", "Th", "shapes")}
        writers().save_boxed(root / "new_params" / f"{row}.npy", fit)


def run(
    kind: type[settings.Prepare], config: dict[str, Any], root: Path, place: Path, folder: Path
) -> Prepared:
    """What the prepare target makes of a raw folder under a case's configuration, below `place`."""
    words = config["dataset"]
    into = place / config["output"]["name"]
    given = kind(
        raw=root,
        into=into,
        views=[str(view) for view in words["preprocess_views"]],
        start=words["start_frame"],
        end=words["end_frame"],
        step=words.get("skip_frame", 1),
        sex=words["sex"],
        volume_size=words["volume_size"],
        body_models=inputs.body_models(folder),
        processes=1,
    )
    prepare.run(given, Run.standalone(place / "run"))
    return Prepared(into)


@cache
def writers():  # type: ignore[no-untyped-def]
    """Writers of raw layouts."""
    return module(FIXTURES.parent / "videos.py")
