"""Motion files, told apart by their content: AMASS archives in their variants, SMPL pickles, BVH."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarctl.body.tables import GENDERS
from avatarctl.checkpoints.arrays import archive_names, read_npz
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import check_input_file, media_kind
from avatarctl.motion import bvh
from avatarctl.motion.motion import MAX_FPS, Motion, Skeleton
from avatarctl.motion.retarget import retarget
from avatarctl.motion.rigs import find_rig, reference_is_first

WANTED = "an AMASS .npz, an animation .pkl, or a .bvh file"
REPAIR = "repair the file, or copy or download it again"
PICKLE_FPS = 60.0
"""Rate of the published animation pickle, which states none (spec sparse-tracking 8)."""
SKELETONS: dict[int, Skeleton] = {66: "smplh", 72: "smpl", 156: "smplh", 165: "smplx"}
"""Columns of `poses` and whose joints they are; 66 are the body joints that all have."""
POSES, TRANS, RATES = ("poses", "pose"), ("trans", "transl"), ("mocap_framerate", "mocap_frame_rate", "fps")
PARTS = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
"""Pieces of `poses` in their order, where an archive has them in place of it."""
FIELDS = (*POSES, *TRANS, *RATES, *PARTS, "betas", "gender")


def read(path: str | Path) -> Motion:
    """The motion in a file: AMASS npz, SMPL or animation pickle, BVH (also .bvh.gz).

    Raises:
        DataError: It is no motion file, or broken; the message names file, field and frame.
    """
    path = check_input_file(path, WANTED)
    with path.open("rb") as file:
        start = file.read(64)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffix = path.suffix.lower()
    if text.startswith(b"HIERARCHY") or start.startswith(b"\x1f\x8b"):
        return read_bvh(path)
    if start.startswith(b"PK"):
        return read_npz_motion(path)
    if start[:1] == b"\x80" or suffix in (".pkl", ".pickle"):
        return read_pickle(path)
    if suffix == ".bvh":
        return read_bvh(path)
    kind = media_kind(start)
    if kind == "glb":
        raise DataError(
            f"{path}: is a glb, which is not read back; expected {WANTED}",
            hint="name the motion.npz or .bvh that it was made from",
        )
    raise DataError(
        f"{path}: is {f'a {kind}, ' if kind else ''}no motion file; expected {WANTED}",
        hint=f"avatarctl inspect {shlex.quote(str(path))} says what it is",
    )


def read_bvh(path: str | Path) -> Motion:
    """The motion in a BVH file, on the open body's skeleton."""
    source = bvh.read(path)
    rig = find_rig(path, source)
    motion = retarget(source, rig, reference_is_first=reference_is_first(source, rig))
    return motion.checked(path, REPAIR)


def read_npz_motion(path: str | Path) -> Motion:
    """The motion in an AMASS archive: SMPL-H (156 columns), SMPL-X (165), SMPL (72), or body alone (66)."""
    arrays = read_npz(path, FIELDS)
    names = archive_names(path)
    if names and not any(name.endswith(".npy") for name in names):
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise DataError(
            f"{path}: is no motion, but a zip of other files ({held}); expected {WANTED}",
            hint=f"avatarctl inspect {path} says what it is",
        )
    if not any(name in arrays for name in RATES):
        raise DataError(
            f"{path}: mocap_framerate: missing; expected 1 to {MAX_FPS:g} frames a second",
            hint="add an array mocap_framerate to the file",
        )
    return _motion(path, arrays)


def read_pickle(path: str | Path) -> Motion:
    """The motion in a pickle: the published animation (`poses` [T, 66], `trans` [T, 3]), or SMPL's."""
    content = load_pickle(path)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: holds a {type(content).__name__}; expected a dictionary with poses and trans",
            hint=REPAIR,
        )
    return _motion(path, {name: _array(path, name, content[name]) for name in FIELDS if name in content})


def _array(path: str | Path, name: str, value: Any) -> np.ndarray:
    """A pickled value as an array of numbers or text."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {name}: {error}; expected an array", hint=REPAIR) from error
    if array.dtype.hasobject:
        raise DataError(f"{path}: {name}: found {type(value).__name__}; expected an array", hint=REPAIR)
    return array.view(np.ndarray)


def _motion(path: str | Path, arrays: Mapping[str, np.ndarray]) -> Motion:
    poses = _poses(path, arrays)
    trans = next((arrays[name] for name in TRANS if name in arrays), None)
    if trans is None:
        raise DataError(f"{path}: trans: missing; expected float [{len(poses)}, 3]", hint=REPAIR)
    if trans.shape != (len(poses), 3) or trans.dtype.kind != "f":
        raise DataError(
            f"{path}: trans: found {trans.dtype} {list(trans.shape)}; expected float [{len(poses)}, 3]",
            hint=REPAIR,
        )
    motion = Motion(
        poses=_tensor(poses).reshape(len(poses), poses.shape[1] // 3, 3),
        root=_tensor(trans),
        fps=_rate(path, arrays),
        betas=_betas(path, arrays.get("betas")),
        gender=_gender(path, arrays.get("gender")),
        skeleton=SKELETONS[poses.shape[1]],
    )
    return motion.checked(path, REPAIR)


def _poses(path: str | Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    poses = next((arrays[name] for name in POSES if name in arrays), None)
    if poses is None:
        parts = [arrays[name] for name in PARTS if name in arrays]
        if not {"root_orient", "pose_body"} <= arrays.keys():
            has = ", ".join(arrays) or "none of a motion's fields"
            raise DataError(f"{path}: poses: missing; found {has}; expected {WANTED}", hint=REPAIR)
        if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):
            shapes = ", ".join(str(list(part.shape)) for part in parts)
            raise DataError(
                f"{path}: root_orient, pose_body, ...: found {shapes}; expected [T, N]", hint=REPAIR
            )
        poses = np.concatenate(parts, axis=1)
    if poses.ndim == 3:
        poses = poses.reshape(len(poses), math.prod(poses.shape[1:]))
    if poses.ndim != 2 or poses.shape[1] not in SKELETONS or poses.dtype.kind != "f":
        widths = ", ".join(map(str, SKELETONS))
        raise DataError(
            f"{path}: poses: found {poses.dtype} {list(poses.shape)}; expected float [T, N], N of {widths}",
            hint=REPAIR,
        )
    return poses


def _rate(path: str | Path, arrays: Mapping[str, np.ndarray]) -> float:
    found = {name: arrays[name] for name in RATES if name in arrays}
    for name, value in found.items():
        rate = float(value.reshape(())) if value.size == 1 and value.dtype.kind in "fiu" else math.nan
        if not 1.0 <= rate <= MAX_FPS:
            raise DataError(
                f"{path}: {name}: found {str(value)[:40]}; expected 1 to {MAX_FPS:g} frames a second",
                hint=REPAIR,
            )
    rates = {float(value.reshape(())) for value in found.values()}
    if len(rates) > 1:
        raise DataError(
            f"{path}: {', '.join(found)}: differ: {sorted(rates)}; expected one rate", hint=REPAIR
        )
    return rates.pop() if rates else PICKLE_FPS


def _gender(path: str | Path, value: np.ndarray | None) -> str:
    """The gender as stored: text or bytes, alone or in an array of one."""
    if value is None:
        return "neutral"
    word = value.reshape(-1)[0] if value.size == 1 else value
    word = word.decode("latin1") if isinstance(word, bytes) else str(word)
    if word.lower() not in GENDERS:
        raise DataError(f"{path}: gender: found '{word[:40]}'; expected {', '.join(GENDERS)}", hint=REPAIR)
    return word.lower()


def _betas(path: str | Path, value: np.ndarray | None) -> torch.Tensor:
    """Shape coefficients [K]; the mean of the frames' where a file has some for each frame."""
    if value is None:
        return torch.zeros(16)
    if value.ndim not in (1, 2) or not value.size or value.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: betas: found {value.dtype} {list(value.shape)}; expected numbers [K]", hint=REPAIR
        )
    return _tensor(value.astype(np.float64).mean(0) if value.ndim == 2 else value)


def _tensor(array: np.ndarray) -> torch.Tensor:
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is refused
        return torch.from_numpy(array.astype(np.float32))
