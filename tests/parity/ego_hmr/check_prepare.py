"""The published preparations on the miniature EgoBody, and the statistics of its poses."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.crops import shift_bounds
from avatarctl_ego_hmr.egobody.annotations import statistics
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import moved
from avatarctl_ego_hmr.prepare import Outcome, Work
from avatarctl_ego_hmr.prepare import run as prepare
from avatarctl_ego_hmr.settings_prepare import PrepareEgobody
from ego_hmr.inputs import body_folder, mini

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.device.noise import Noise
from avatarctl.runs.run import Run

Arrays = dict[str, np.ndarray]


def check_front(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The clouds of two splits; which frame uses which is compared too."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for split in ("train", "test"):
            settings = PrepareEgobody(data=mini(folder), split=split, points=400, into=Path(place) / "out")
            prepare(settings, Run.standalone(Path(place) / split))
            mapping, clouds = (
                load_pickle(Path(place) / "out" / f"{name}_{split}.pkl")
                for name in ("map_dict", "pcd_verts_dict")
            )
            assert len(clouds) == 1
            if split in case["files"]:
                assert mapping == case["files"][split]
            found[f"{split}.points"] = next(iter(clouds.values()))
    return found


def check_cube_gt(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Cubes around true bodies with the stored draws: their bounds, and the points."""
    work = _work(folder, points=400, step="cube-gt", split=case["split"], body_models=body_folder(folder))
    bodies = work.bodies(range(len(work.frames)))
    draws, points = [], []
    for index, (body, stored) in enumerate(zip(bodies, arrays["draws"], strict=True)):
        cube = work.cube(index, _replayed(stored), body)
        recording, timestamp = work.frames.recording(index), work.frames.timestamp(index)
        scene_from_camera = np.linalg.inv(work.transforms.camera_from_scene(recording, timestamp))
        bounds = shift_bounds(moved(body, scene_from_camera), cube)
        draws.append([(0, 2 * math.pi, cube.angle), (*bounds[0], cube.shift[0]), (*bounds[1], cube.shift[1])])
        points.append(work.cube_cloud(index, cube, work.room("demo_room"), Outcome()))
    assert [Path(work._file(index)).name for index in range(len(points))] == case["frames"]
    return {"draws": np.array(draws), "points": np.array(points)}


def check_cube_predicted(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Cubes around the places of stage 1 with the stored draws."""
    work = _work(folder, points=100, step="cube-predicted", split=case["split"])
    work.places = arrays["stage1"]
    points = []
    for index, stored in enumerate(arrays["draws"]):
        cube = work.cube(index, _replayed(stored[None]), None)
        points.append(work.cube_cloud(index, cube, work.room("demo_room"), Outcome()))
    return {"points": np.array(points)}


def check_statistics(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Mean and deviation of the training poses."""
    mean, std = statistics(EgoBody(mini(folder)).annotations("train").poses)
    return {"Xmean": mean, "Xstd": std}


def _work(folder: Path, **words: Any) -> Work:
    with tempfile.TemporaryDirectory() as place:
        return Work(PrepareEgobody(data=mini(folder), **words), Run.standalone(place))


def _replayed(draws: np.ndarray) -> Noise:
    """Draws from 0 to 1 that give the stored (low, high, value)."""
    low, high, value = draws.T
    return Noise.replay([torch.tensor(one, dtype=torch.float64) for one in (value - low) / (high - low)])


KINDS = {
    "prepare_scene_s1": check_front,
    "prepare_scene_s2_gt": check_cube_gt,
    "prepare_scene_s2_pred": check_cube_predicted,
    "pose_statistics": check_statistics,
}
INPUTS = {"prepare_scene_s2_pred": ("stage1", "draws")}
