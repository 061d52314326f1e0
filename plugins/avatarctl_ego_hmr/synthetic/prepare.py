"""The prepare target: made-up recordings in the raw layout of EgoBody (spec 2.1), drawn in many processes.

The same options give the same bytes, whatever happened in between: a recording is made whole or again, and
what joins all of them is written at the end.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.device import Noise
from avatarctl.device.choose import cores
from avatarctl.device.workers import results
from avatarctl.errors import DataError
from avatarctl.files import sweep, write_text
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.synthetic.office import SCENES, Office, office
from avatarctl_ego_hmr.synthetic.people import SHAPE_LIMIT, Split, clip_names, clip_poses, stirred
from avatarctl_ego_hmr.synthetic.recordings import LENGTH, Recording, kinect_from_scene, make, write_arrays

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_synthetic import PrepareSynthetic

MARK = "synthetic.json"
"""Says whose bodies these are, and with which options they were made."""
VERSION = 3
"""Changes with what is made."""
WORTH_IT = 64
"""Frames from which on several processes pay."""
KINECT_WIDTH, KINECT_HEIGHT = 1920, 1080
"""Pictures of the master Kinect."""
MOCAP_STEP = 5
"""Of the clips for training, the discriminator of stage `scene` sees every so many frames."""


def run(settings: PrepareSynthetic, run: Run) -> None:
    """Draw all recordings, then write what joins them."""
    write(settings, run)
    run.output(settings.store / MARK, "store")
    run.report(rows_of(settings))
    run.log.info("next: avatarctl prepare egobody %s", settings.store)


def write(settings: PrepareSynthetic, run: Run) -> None:
    """Draw what is missing in the settings' folder.

    Raises:
        DataError: Something else is in it, or it cannot be written.
    """
    store, about = settings.store, options_of(settings, run.seed)
    if begin(store, about, settings.replace):
        run.log.info("%s: is up to date", store)
        return
    recordings = plan(settings, run.seed)
    workers = settings.workers or (cores() if _frames(settings) >= WORTH_IT else 1)
    for _ in run.progress(make_all(recordings, workers), "drawing recordings", len(recordings)):
        pass
    finish(store, recordings)
    write_mark(store, about, is_finished=True)
    shutil.rmtree(store / ".parts", ignore_errors=True)


def _frames(settings: PrepareSynthetic) -> int:
    return settings.frames + settings.validation + settings.test


def options_of(settings: PrepareSynthetic, seed: int) -> dict[str, Any]:
    """All that the bytes depend on."""
    counts = {"train": settings.frames, "val": settings.validation, "test": settings.test}
    return {"version": VERSION, "seed": seed, "size": settings.size, "frames": counts}


def rows_of(settings: PrepareSynthetic) -> list[dict[str, str | int]]:
    """The splits."""
    counts = {"train": settings.frames, "val": settings.validation, "test": settings.test}
    return [
        {"split": split, "frames": number, "recordings": -(-number // LENGTH)}
        for split, number in counts.items()
    ]


def plan(settings: PrepareSynthetic, seed: int) -> list[Recording]:
    """All recordings."""
    columns, rows = (int(word) for word in settings.size.split("x"))
    counts: dict[Split, int] = {"train": settings.frames, "val": settings.validation, "test": settings.test}
    return [
        Recording(
            str(settings.store), split, first // LENGTH, min(LENGTH, total - first), (rows, columns), seed
        )
        for split, total in counts.items()
        for first in range(0, total, LENGTH)
    ]


def begin(store: Path, about: dict[str, Any], replace: bool) -> bool:
    """Mark a folder as one of made-up recordings; whether all of them are there.

    Raises:
        DataError: Something else is in the folder, or recordings of other options.
    """
    mark = store / MARK
    if not mark.is_file():
        if store.is_file() or (store.is_dir() and any(store.iterdir())):
            raise DataError(f"{store}: holds something else", hint="name an empty folder with --store")
        write_mark(store, about, is_finished=False)
        return False
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{mark}: cannot be read: {error}", hint="delete the folder") from error
    sweep(store)
    if found.get("options") == about:
        return bool(found.get("finished"))
    if not replace:
        raise DataError(
            f"{store}: holds recordings of other options ({_words(found.get('options'))})",
            hint="name another folder with --store, or delete them with --replace",
        )
    shutil.rmtree(store)
    write_mark(store, about, is_finished=False)
    return False


def _words(options: object) -> str:
    return json.dumps(options).replace('"', "")


def write_mark(store: Path, about: dict[str, Any], is_finished: bool) -> None:
    """What tells these recordings from EgoBody's."""
    text = json.dumps({"body": "open", "finished": is_finished, "options": about}, indent=1)
    write_text(store / MARK, text + "\n")


def make_all(recordings: list[Recording], workers: int) -> Iterator[None]:
    """Make the recordings; nothing comes back but that another one is there.

    Raises:
        DataError: They cannot be written, or a worker process was killed.
    """
    again = "run the same command again, with --workers 1 if it recurs; finished recordings are kept"
    return results(make, recordings, workers, again=again)


def finish(store: Path, recordings: list[Recording]) -> None:
    """Write annotations, transforms, calibrations, scenes, poses for the discriminator, and origins."""
    transforms: dict[str, dict[str, Any]] = {}
    for split in ("train", "val", "test"):
        parts = []
        for recording in (one for one in recordings if one.split == split):
            part = read_npz(recording.part)
            transforms[recording.name] = {
                "trans_kinect2holo": recording.holo_from_kinect(),
                "trans_world2pv": {
                    str(recording.stamp(frame)): matrix for frame, matrix in enumerate(part.pop("world2pv"))
                },
            }
            parts.append(part)
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        write_arrays(store / "annotation_egocentric_smpl_npz" / f"egocapture_{split}_smpl.npz", joined)
    write_pickle(store / "transf_matrices_all_seqs.pkl", transforms)
    for scene in SCENES:
        write_text(store / "scene_mesh" / scene / f"{scene}.obj", obj_text(office(scene)))
    _write_calibrations(store, recordings)
    poses = torch.cat([clip_poses(name)[::MOCAP_STEP] for name in clip_names("train")])
    noise = Noise.seeded(recordings[0].seed, "mocap")
    betas = noise.normal((len(poses), 10)).clamp(-SHAPE_LIMIT, SHAPE_LIMIT)
    mocap = {"body_pose": stirred(poses, noise).flatten(1).numpy(), "betas": betas.numpy()}
    write_arrays(store / "mocap.npz", mocap)
    origin = (resources.files("avatarctl") / "_data" / "scene" / "LICENSE.md").read_text(encoding="utf-8")
    head = "Made with avatarctl prepare synthetic-egobody. The pictures and scenes derive from this scan:\n\n"
    write_text(store / "LICENSE.md", head + origin)


def _write_calibrations(store: Path, recordings: Iterable[Recording]) -> None:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    names = ("recording_name", "body_idx_0", "body_idx_1", "body_idx_fpv", "start_frame", "end_frame")
    writer.writerow([*names, "scene_name"])
    scene_from_kinect = np.linalg.inv(kinect_from_scene()).tolist()
    for one in recordings:
        gender = "male" if one.number % 4 < 2 else "female"
        last = 1400 + 10 * (one.frames - 1)
        writer.writerow([one.name, "0 male", f"1 {gender}", f"1 {gender}", 1400, last, one.scene])
        folder = store / "calibrations" / one.name / "cal_trans"
        _write_transform(folder / "kinect12_to_world" / f"{one.scene}.json", scene_from_kinect)
        _write_transform(folder / "holo_to_kinect12.json", np.linalg.inv(one.holo_from_kinect()).tolist())
    write_text(store / "data_info_release.csv", rows.getvalue())
    real = office()
    scale = KINECT_WIDTH / real.photo.shape[1]
    cut = (scale * real.photo.shape[0] - KINECT_HEIGHT) / 2
    centre = [scale * real.centre[0] - 0.5, scale * real.centre[1] - cut - 0.5]
    lens = {"f": [scale * real.focal] * 2, "c": centre}
    write_text(store / "kinect_cam_params" / "kinect_master" / "Color.json", json.dumps(lens))


def _write_transform(path: Path, matrix: list[list[float]]) -> None:
    write_text(path, json.dumps({"trans": matrix}))


def obj_text(scene: Office) -> str:
    """An OBJ with colours behind the places, as MeshLab writes them."""
    lines = [
        "v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}".format(*row)
        for row in torch.cat([scene.vertices, scene.colours], dim=1).tolist()
    ]
    lines += ["f {} {} {}".format(*row) for row in (scene.faces + 1).tolist()]
    return "\n".join(lines) + "\n"
