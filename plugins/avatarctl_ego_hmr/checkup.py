"""What `avatarctl doctor ego-hmr` looks at: EgoBody's files and zips, bodies, weights (spec 2)."""

from __future__ import annotations

import logging
import os
import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from avatarctl.api import Diagnosis
from avatarctl.body import Bodies
from avatarctl.errors import AssetError, DataError
from avatarctl_ego_hmr.bodies import GENDERS
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import FOLDERS, Annotations
from avatarctl_ego_hmr.egobody.files import INFO, KINECT, EgoBody
from avatarctl_ego_hmr.egobody.folder import SITE
from avatarctl_ego_hmr.egobody.prepared import Step
from avatarctl_ego_hmr.egobody.transforms import PICKLE

Row = dict[str, str | int]
COMPLETE = {"train": 90124, "val": 23332, "test": 62155}
"""Frames of the published splits."""
STEPS: tuple[Step, ...] = ("front", "cube-gt", "cube-predicted")
ABSENT = "not there"
ITEMS = (
    INFO, FOLDERS[0], "calibrations", "scene_mesh", PICKLE, "kinect_cam_params", "egocentric_color",
)  # fmt: skip
"""What is needed of the site."""
OTHERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("stage 1, 53618", "infer, eval", ("checkpoints/checkpoints_egohmr/53618/best_model.pt",)),
    ("stage 2, 91453", "infer, eval", ("checkpoints/checkpoints_egohmr/91453/best_model_mpjpe_vis.pt",)),
    (
        "its pose statistics", "stage 2",
        ("checkpoints/checkpoints_egohmr/91453/preprocess_stats/preprocess_stats.npz",),
    ),
    (
        "ProHMR", "start of training",
        ("checkpoints/checkpoints_prohmr/checkpoint.pt", "checkpoints/checkpoints_prohmr/checkpoints.pt"),
    ),
    ("CMU poses", "training stage scene", ("data/datasets/cmu_mocap.npz", "data/cmu_mocap.npz")),
    ("SMPL mean", "training from nothing", ("data/smpl_mean_params.npz", "data/smpl/smpl_mean_params.npz")),
    ("COAP", "guidance, scores", ("data/coap_smpl_neutral.ckpt",)),
    ("VolumetricSMPL", "guidance", ("data/VolumetricSMPL_smpl_neutral.ckpt",)),
    (
        "stage-1 results", "prepare, eval",
        (
            "output_results_release/output_prohmr_scene_53618/results.pkl",
            "output_results_release/output_53618/results.pkl",
        ),
    ),
    ("stage-2 results", "eval", ("output_results_release/output_egohmr_91453/results_seed_0.pkl",)),
)  # fmt: skip
"""Other files (spec 2.2): what, what for, and where the published code has them (Q4)."""


def run(data: Path | None, weights: Path | None, body_models: Path | None) -> Diagnosis:
    """Which of the published files are there, which zip is missing, and the command to go on with.

    Args:
        data: Folder of EgoBody; not looked at when left out.
        weights: Folder of checkpoints and of what else was downloaded; the working folder when left out.
        body_models: Folder of licensed bodies; the added assets when left out.

    Raises:
        AvatarError: Something that was named is not there or cannot be read.
    """
    found = Diagnosis()
    commands: list[str] = []
    needs_all = False
    if data is not None:
        egobody = EgoBody(data)
        commands = _egobody(egobody, found)
        needs_all = egobody.kind == "smpl"
    if weights is not None and not weights.exists():
        raise DataError(f"{weights}: not found; expected checkpoints", hint="check --weights")
    found.tables["body models"] = _bodies(body_models, found, needs_all)
    found.tables["other files"] = _others(weights, data)
    found.next = commands or ["avatarctl doctor ego-hmr --data EGOBODY"]
    return found


def _egobody(data: EgoBody, found: Diagnosis) -> list[str]:
    """Add the tables of EgoBody; the commands that its state leads to are returned."""
    splits = {split: _annotations(data, split, found) for split in COMPLETE}
    there = {split: frames for split, frames in splits.items() if frames is not None}
    recordings = {frames.recording(index): None for frames in there.values() for index in range(len(frames))}
    found.tables[f"EgoBody in {data.root}"] = _items(data, list(recordings), found)
    found.tables["splits"] = [_split(data, split, frames, found) for split, frames in splits.items()]
    for path in data.files.broken:
        found.problems.append((f"{path}: not a readable zip", "download it again"))
    if found.problems:
        return [f"avatarctl doctor ego-hmr --data {shlex.quote(str(data.root))}"]
    return [next_command(data, there)] if there else []


def next_command(data: EgoBody, splits: Iterable[str]) -> str:
    """The first preparation of splits that is still to be done, or else the first training."""
    place = shlex.quote(str(data.root))
    for split in splits:
        for step in STEPS:
            if not points_of(data, step, split):
                return f"avatarctl prepare egobody {place} --step {step} --split {split}"
    return f"avatarctl train ego-hmr --stage scene --data {place}"


def _annotations(data: EgoBody, split: str, found: Diagnosis) -> Annotations | None:
    """The frames of a split; what is wrong with its file is a problem."""
    try:
        return data.annotations(split)
    except DataError as error:
        found.problems.append((error.message, error.hint))
        return None


def _items(data: EgoBody, recordings: list[str], found: Diagnosis) -> list[Row]:
    """A row for each item of the site; what recordings lack of it is a problem."""
    files, wrong = data.files, defaultdict[str, list[str]](list)
    scenes: dict[str, str] = {}
    for recording in recordings:
        try:
            scenes[recording] = data.scene_of(recording)
        except DataError:
            wrong[INFO].append(recording)
    for recording, scene in scenes.items():
        if f"calibrations/{recording}/cal_trans/kinect12_to_world/{scene}.json" not in files:
            wrong["calibrations"].append(recording)
    for scene in dict.fromkeys(scenes.values()):
        if data.scene_file(scene) not in files:
            wrong["scene_mesh"].append(scene)
    transforms = data.transforms()
    for recording in recordings:
        try:
            transforms.holo_from_kinect(recording)
        except DataError:
            wrong[PICKLE].append(recording)
    if KINECT not in files:
        wrong["kinect_cam_params"].append("Color.json")
    own = next((name for name in FOLDERS if files.has_item(name)), FOLDERS[0])
    rows: list[Row] = []
    for item in (own if name in FOLDERS else name for name in ITEMS):
        lacking = wrong[item]
        is_there = files.has_item(item)
        state = f"lacks {len(lacking)}" if lacking and is_there else "there" if is_there else ABSENT
        if item == PICKLE and not is_there and not lacking and recordings:
            state = "can be rebuilt"
        rows.append({"item": item, "state": state})
        if state == ABSENT:
            found.problems.append((f"{data.root / item}: not there", _download(item)))
        elif lacking:
            more = ", ..." if len(lacking) > 1 else ""
            found.problems.append((f"{item}: {len(lacking)} missing ({lacking[0]}{more})", _download(item)))
    return rows


def _download(item: str) -> str:
    return f"{item if item.endswith(('.csv', '.pkl')) else f'{item}.zip'} of {SITE} has it"


def _split(data: EgoBody, split: str, frames: Annotations | None, found: Diagnosis) -> Row:
    """A row of the splits: frames, pictures that are there, and the points that are prepared."""
    row: Row = {"split": split, "frames": 0, "published": COMPLETE[split], "pictures": 0}
    keys = [] if frames is None else [frames.key(index) for index in range(len(frames))]
    if frames is not None:
        missing = missing_of(data, keys)
        row |= {"frames": len(frames), "pictures": len(keys) - len(missing)}
        if missing and data.files.has_item("egocentric_color"):
            words = f"{split}: {len(missing)} of {len(keys)} pictures are missing ({missing[0]}, ...)"
            found.problems.append((words, _download("egocentric_color")))
    return row | {step: points_of(data, step, split) or "-" for step in STEPS}


def points_of(data: EgoBody, step: Step, split: str) -> str:
    """Whose prepared points of a split there are: the user's own, or the released ones."""
    try:
        folder = prepared.folder_of(data.files, step, split)
    except DataError:
        return ""
    return "released" if folder.endswith("_release") else "own"


def missing_of(data: EgoBody, names: Iterable[str]) -> list[str]:
    """Those that are neither unpacked nor in a zip; folders are listed once, not asked for each file."""
    below: dict[str, list[str]] = defaultdict(list)
    for name in names:
        below[str(PurePosixPath(name).parent)].append(name)
    missing = []
    for parent, own in below.items():
        folder = data.root / parent
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        missing += [name for name in own if name.rpartition("/")[2] not in there]
    return [name for name in missing if name not in data.files.members]


def _bodies(folder: Path | None, found: Diagnosis, needs_all: bool) -> list[Row]:
    """A row for each body; one that is missing is a problem where annotations need them all."""
    silent = logging.getLogger("silent")
    silent.disabled = True
    bodies, rows, hint = Bodies(silent), [], ""
    for gender in GENDERS:
        row: Row = {"body": f"SMPL, {gender}", "found": ABSENT}
        try:
            row["found"] = bodies.load("smpl", gender, folder, is_licensed=True).source
        except AssetError as error:
            hint = error.hint
        rows.append(row)
    lacking = [str(row["body"]) for row in rows if row["found"] == ABSENT]
    if lacking and needs_all:
        found.problems.append(
            (f"{'; '.join(lacking)}: not there; EgoBody's annotations need all three", hint)
        )
    return rows


def _others(weights: Path | None, data: Path | None) -> list[Row]:
    """The other downloads, looked for below the folder of weights, the working folder and EgoBody's."""
    folder = weights.parent if weights is not None and weights.is_file() else weights
    bases = [base for base in (folder, Path(), data, data.parent if data else None) if base is not None]
    rows: list[Row] = []
    for what, use, places in OTHERS:
        found = next((path for place in places for base in bases if (path := _at(base, place))), None)
        short = "/".join(_ends(places[0])[-1])
        rows.append({"file": what, "for": use, "found": str(found or f"{ABSENT} ({short})")})
    return rows


def _at(base: Path, place: str) -> Path | None:
    """A file below a folder at its published place, or at the end of it; checkpoints keep their folder."""
    return next((path for end in _ends(place) if (path := base.joinpath(*end)).is_file()), None)


def _ends(place: str) -> list[tuple[str, ...]]:
    """The ends of a published place that still say which file it is, longest first."""
    parts = PurePosixPath(place).parts
    shortest = 2 if parts[-1].startswith(("best_model", "checkpoint", "results")) else 1
    return [parts[first:] for first in range(len(parts) - shortest + 1)]
