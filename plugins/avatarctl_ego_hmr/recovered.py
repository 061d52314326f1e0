"""What infer finds, and the published results files (spec 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import atomic, check_input_file
from avatarctl_ego_hmr.bodies import Kind
from avatarctl_ego_hmr.pickles import write_pickle

FILE = "recovered.npz"
HINT = "name a recovered.npz of infer ego-hmr, or the run folder that holds it"
_HINT = "name a results.pkl or results_seed_N.pkl of the published code, or of export ego-hmr --to pkl"
SHAPES = {
    "names": "n", "rooms": "n", "betas": "n S 10", "matrices": "n S 24 3 3", "transl": "n 3",
    "focal": "n", "centre": "n 2", "box_centre": "n 2", "box_size": "n", "size": "n 2",
    "camera_from_scene": "n 4 4", "collision": "n S", "contact": "n S", "gap": "n S",
    "true_transl": "n 3",
}  # fmt: skip
UNKNOWN = ("camera_from_scene", "collision", "contact", "gap", "true_transl")
"""Arrays that hold NaN where nothing is known."""


@dataclass(frozen=True)
class Recovered:
    """Bodies of n people, S samples of each, in the axes of their pictures' cameras, metres."""

    names: np.ndarray
    """The picture of each: a path, or the name in EgoBody's annotations [n]."""
    rooms: np.ndarray
    """The room of each: a path, or a scene of EgoBody; "" where there is none [n]."""
    betas: np.ndarray  # float32 [n, S, 10]
    matrices: np.ndarray  # local rotations, root first, float32 [n, S, 24, 3, 3]
    transl: np.ndarray  # float32 [n, 3]
    focal: np.ndarray  # pixels, float32 [n]
    centre: np.ndarray  # principal point, pixels, float32 [n, 2]
    box_centre: np.ndarray  # pixels, float32 [n, 2]
    box_size: np.ndarray  # pixels, float32 [n]
    size: np.ndarray  # columns and rows of the pictures, int64 [n, 2]
    camera_from_scene: np.ndarray  # float64 [n, 4, 4]
    collision: np.ndarray  # share of the cube's points inside the body, float64 [n, S]
    contact: np.ndarray  # 1 where the body is within 14 cm of the room, as published, float64 [n, S]
    true_transl: np.ndarray  # float32 [n, 3]
    body: Kind = "smpl"
    data: str = ""
    """Folder of the recordings; "" for pictures of the user's own."""
    gap: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Smallest distance of body and room, metres, infinite beyond 14 cm; NaN: unknown, float64 [n, S]."""

    def __post_init__(self) -> None:
        if not self.gap.size:
            object.__setattr__(self, "gap", np.full(self.contact.shape, np.nan))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_samples(self) -> int:
        """Bodies of each person."""
        return int(self.betas.shape[1])

    def __getitem__(self, rows: slice | np.ndarray) -> Recovered:
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in SHAPES}
        return replace(self, **arrays)

    def write(self, path: str | Path) -> Path:
        """Write recovered.npz, whole or not at all."""
        arrays: dict[str, Any] = {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        return Path(path)

    def results(self) -> Results:
        """The same as the published results hold it."""
        return Results(
            transl=self.transl,
            betas=self.betas,
            global_orient=self.matrices[:, :, :1],
            body_pose=self.matrices[:, :, 1:],
            collision=self.collision,
            contact=self.contact,
            true_transl=self.true_transl,
        )


def joined(parts: list[Recovered]) -> Recovered:
    """People of several windows, one after the other; all have as many samples."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in SHAPES
    }
    return replace(parts[0], **arrays)


def read_recovered(path: str | Path) -> Recovered:
    """The content of a recovered.npz, or of the run folder that holds it.

    Raises:
        DataError: It is none, or an array is missing, of another shape or not finite.
    """
    path = Path(path) / FILE if Path(path).is_dir() else Path(path)
    path = check_input_file(path, "bodies of infer ego-hmr (recovered.npz)")
    arrays = read_npz(path)
    sizes: dict[str, int] = {}
    found = {name: _checked(path, arrays, name, shape, sizes, HINT) for name, shape in SHAPES.items()}
    words = {name: str(arrays[name]) if name in arrays else "" for name in ("body", "data")}
    if words["body"] not in ("smpl", "open"):
        raise DataError(f"{path}: body: found '{words['body'][:20]}', expected smpl or open", hint=HINT)
    return Recovered(**found, **words)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Results:
    """A published results file: of stage 2, or translations of stage 1 alone; arrays as in `Recovered`."""

    transl: np.ndarray
    betas: np.ndarray | None = None
    global_orient: np.ndarray | None = None  # [n, S, 1, 3, 3]
    body_pose: np.ndarray | None = None  # [n, S, 23, 3, 3]
    collision: np.ndarray | None = None
    contact: np.ndarray | None = None
    true_transl: np.ndarray | None = None

    @property
    def matrices(self) -> np.ndarray:
        """Local rotations, root first [n, S, 24, 3, 3]; of a file of stage 2."""
        assert self.global_orient is not None
        assert self.body_pose is not None
        return np.concatenate([self.global_orient, self.body_pose], axis=2)

    def write(self, path: str | Path) -> Path:
        """Write the published pickle, whole or not at all."""
        content = {}
        for ours, (theirs, _) in PUBLISHED.items():
            array = getattr(self, ours)
            if array is not None:
                content[theirs] = np.asarray(array, np.float64 if ours in RATIOS else np.float32)
        return write_pickle(path, content)


PUBLISHED = {
    "betas": ("pred_betas_list", "n S 10"),
    "global_orient": ("pred_global_orient_list", "n S 1 3 3"),
    "body_pose": ("pred_body_pose_list", "n S 23 3 3"),
    "collision": ("collision_ratio_list", "n S"),
    "contact": ("contact_ratio_list", "n S"),
    "transl": ("pred_cam_full_list", "n 3"),
    "true_transl": ("gt_cam_full_list", "n 3"),
}
RATIOS = ("collision", "contact")


def read_results(path: str | Path) -> Results:
    """The content of a published results file; nothing of its pickle is run.

    Raises:
        DataError: It is none, or an array has another shape or numbers that are not finite.
    """
    path = check_input_file(path, "published results (.pkl)")
    content = load_pickle(path)
    if not isinstance(content, dict) or "pred_cam_full_list" not in content:
        raise DataError(f"{path}: no pred_cam_full_list in it; expected published results", hint=_HINT)
    sizes: dict[str, int] = {}
    found = {
        ours: _checked(path, content, theirs, shape, sizes, _HINT, may_lack=ours in (*RATIOS, "true_transl"))
        for ours, (theirs, shape) in PUBLISHED.items()
        if theirs in content
    }
    poses = [name for name in ("betas", "global_orient", "body_pose") if name in found]
    if len(poses) not in (0, 3):
        missing = [PUBLISHED[name][0] for name in PUBLISHED if name not in found]
        raise DataError(f"{path}: {', '.join(missing)}: missing", hint=_HINT)
    return Results(**found)


def _checked(
    path: Path,
    arrays: Mapping[str, Any],
    name: str,
    shape: str,
    sizes: dict[str, int],
    hint: str,
    *,
    may_lack: bool = False,
) -> np.ndarray:
    """An array of a shape whose letters mean the same number everywhere; `sizes` collects them.

    Raises:
        DataError: It is missing, of another shape, or not finite.
    """
    if name not in arrays:
        raise DataError(f"{path}: {name}: missing; found {', '.join(map(str, arrays))[:80]}", hint=hint)
    array = np.asarray(arrays[name])
    letters = shape.split()
    wanted = [int(one) if one.isdigit() else sizes.get(one) for one in letters]
    is_right = array.ndim == len(wanted) and all(
        want in (None, size) for want, size in zip(wanted, array.shape, strict=True)
    )
    is_word = name in ("names", "rooms")
    if not is_right or array.dtype.kind not in ("U" if is_word else "fiu"):
        shown = ", ".join(
            letter if want is None else str(want) for letter, want in zip(letters, wanted, strict=True)
        )
        raise DataError(
            f"{path}: {name}: found {array.dtype} {list(array.shape)}, expected [{shown}]", hint=hint
        )
    sizes |= {letter: size for letter, size in zip(letters, array.shape, strict=True) if not letter.isdigit()}
    if not is_word and name not in UNKNOWN and not may_lack and not np.isfinite(array).all():
        raise DataError(f"{path}: {name}: numbers that are not finite", hint=hint)
    return array
