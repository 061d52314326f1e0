"""Preparations end to end: raw arrays in their raw layouts, the prepare targets, and what they wrote."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from avatarctl_video_avatar import settings_prepare as settings
from avatarctl_video_avatar.body_fit import star_transforms
from avatarctl_video_avatar.prepared import Prepared
from video_avatar import inputs, sequence
from video_avatar.check_items import people_snapshot_sample

Arrays = dict[str, np.ndarray]
EVERY = 53
"""Of so many vertices the cases hold one."""


def check_zju(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """ZJU-MoCap."""
    data = sequence.zju(case["config"], arrays, folder)
    frames = list(data.bodies)
    found = {"out_frame_names": np.array(frames)}
    for view in data.views:
        camera = data.camera(view, frames[0])
        found[f"out_K_{view}"] = camera.intrinsics
        found[f"out_E_{view}"] = camera.extrinsics
        found[f"out_D_{view}"] = camera.distortions
        found[f"out_masks_{view}"] = np.stack([data.mask(view, frame) for frame in frames])
    for row, frame in enumerate(frames):
        found |= _fit(data, frame, row) | _dilated(data, frame, row)
        vertices, triangles = data.bodies[frame].dilated_vertices, data.bodies[frame].dilated_triangles
        found[f"out_beats_{row}"] = data.bodies[frame].betas
        found[f"out_dilated_mean_{row}"] = vertices.mean(axis=0)
        found[f"out_dilated_first64_{row}"] = vertices[:64]
        found[f"out_dilated_tri_first64_{row}"] = triangles[:64]
        pictures = [data.image(view, frame) for view in data.views]
        np.testing.assert_array_equal(pictures, arrays["raw_image"][row])
    joints, vertices = data.canonical
    grid = data.volume.grid
    return found | {
        "out_canonical_joints": joints,
        "out_canonical_vertices_every53": vertices[::EVERY],
        "out_gtfs_02v": star_transforms(joints),
        "out_sdf_bbmin": np.array(data.volume.bbmin),
        "out_sdf_bbmax": np.array(data.volume.bbmax),
        "out_sdf_grid_every4": grid[::4, ::4, ::4],
        "out_sdf_grid_stats": np.array([grid.min(), grid.max(), grid.mean(), (grid < 0).sum()]),
    }


def check_h36m(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Human3.6M."""
    place, raw = inputs.scratch() / "h36m", sequence.writers()
    root = place / "raw" / case["config"]["dataset"]["subject"] / "Posing"
    sequence.write_annots(root, arrays)
    masks = arrays["raw_mask_cihp"]
    for row, names in enumerate(arrays["raw_paths"].tolist()):
        for view, path in enumerate(names):
            raw.save(root / path, np.zeros((*masks.shape[2:], 3), np.uint8), "jpeg")
            raw.save((root / "mask_cihp" / path).with_suffix(".png"), masks[row, view], "png")
    data = sequence.run(settings.PrepareH36m, case["config"], root, place, folder)
    found = {"out_frame_names": np.array(list(data.bodies))}
    for view in data.views:
        cameras, files = data.cameras(view), sorted((data.view(view) / "masks").iterdir())
        found[f"out_camera_names_{view}"] = np.array(list(cameras))
        found[f"out_E_{view}"] = next(iter(cameras.values())).extrinsics
        found[f"out_mask_files_{view}"] = np.array([file.name for file in files])
        found[f"out_masks_{view}"] = np.stack([data.mask(view, file.stem) for file in files])
    for row, frame in enumerate(data.bodies):
        found |= _fit(data, frame, row) | _dilated(data, frame, row)
        del found[f"out_Rh_{row}"], found[f"out_posed_vertices_every53_{row}"]
    return found | _volume(data)


def check_people_snapshot(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """People-Snapshot, and one sample of it."""
    place = inputs.scratch() / "people_snapshot"
    root = place / "raw" / case["config"]["dataset"]["subject"]
    root.mkdir(parents=True, exist_ok=True)
    masks = arrays["raw_masks"]
    pictures = np.zeros((*masks.shape, 3), np.uint8)
    sequence.writers().Film(lambda: iter(pictures), len(pictures), 30.0).write(root / "film.mp4")
    with h5py.File(root / "masks.hdf5", "w") as file:
        file["masks"] = masks
    with h5py.File(root / "reconstructed_poses.hdf5", "w") as file:
        for name in ("pose", "betas", "trans"):
            file[name] = arrays[f"raw_{name}"]
    camera = {f"camera_{name}": arrays[f"raw_camera_{name}"] for name in ("c", "f", "t", "rt", "k")}
    size = {name: int(arrays[f"raw_{name}"]) for name in ("height", "width")}
    (root / "camera.pkl").write_bytes(pickle.dumps(camera | size, protocol=2))
    data = sequence.run(settings.PreparePeopleSnapshot, case["config"], root, place, folder)
    found = {"out_frame_names": np.array(list(data.bodies))}
    for row, frame in enumerate(data.bodies):
        found |= _fit(data, frame, row)
        found[f"out_dilated_counts_{row}"] = _dilated(data, frame, row)[f"out_dilated_counts_{row}"]
    camera_file = pickle.loads((data.view("0") / "cameras.pkl").read_bytes())
    found["out_camera_names"] = np.array(list(camera_file))
    for name, key in (("K", "intrinsics"), ("E", "extrinsics"), ("D", "distortions")):
        found[f"out_{name}"] = next(iter(camera_file.values()))[key]
        assert found[f"out_{name}"].dtype == arrays[f"out_{name}"].dtype, key
    found["out_mask0"] = data.mask("0", next(iter(data.bodies)))
    return found | _volume(data) | people_snapshot_sample(data, folder)


def _fit(data: Prepared, frame: str, row: int) -> Arrays:
    body = data.bodies[frame]
    return {
        f"out_Rh_{row}": body.Rh,
        f"out_Th_{row}": body.Th,
        f"out_poses_{row}": body.poses,
        f"out_joints_{row}": body.joints,
        f"out_posed_vertices_every53_{row}": body.posed_vertices[::EVERY],
    }


def _dilated(data: Prepared, frame: str, row: int) -> Arrays:
    vertices, triangles = data.bodies[frame].dilated_vertices, data.bodies[frame].dilated_triangles
    return {
        f"out_dilated_counts_{row}": np.array([len(vertices), len(triangles)]),
        f"out_dilated_bounds_{row}": np.stack([vertices.min(axis=0), vertices.max(axis=0)]),
    }


def _volume(data: Prepared) -> Arrays:
    return {
        "out_sdf_bbmax": np.array(data.volume.bbmax),
        "out_sdf_grid_every8": data.volume.grid[::8, ::8, ::8],
    }


def check_whole(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The whole volume and the dilated meshes of case prep_zju."""
    words = sequence.config(folder, "prep_zju")
    data = sequence.zju(words, inputs.arrays(folder, "prep_zju"), folder, "whole")
    found = {
        "sdf_grid": data.volume.grid,
        "bbmin": np.array(data.volume.bbmin),
        "bbmax": np.array(data.volume.bbmax),
    }
    for row, body in enumerate(data.bodies.values()):
        found[f"dilated_vertices_{row}"] = body.dilated_vertices.astype(np.float32)
        found[f"dilated_triangles_{row}"] = body.dilated_triangles.astype(np.int32)
    return found


KINDS = {
    "prep_zju": check_zju,
    "prep_zju_full": check_whole,
    "prep_h36m": check_h36m,
    "prep_people_snapshot": check_people_snapshot,
}
INPUTS = dict.fromkeys(KINDS, ("raw_*",))
# The volumes are those of the published engine to the last bit, so its sentence of allowances is not needed.
TOLERANCES = {
    "prep_zju_full": {"*": {"rtol": 1e-5, "atol": 1e-6}},
    "prep_people_snapshot": {"out_sdf_*": {"rtol": 1e-5, "atol": 1e-6}},
}
