"""One clip: read, bring to 60 frames a second, compute, write; in any process, a whole file or none."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import GENDERS, NUM_BODY
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.data.writer import part_frames, write_part
from avatarctl.device.workers import results
from avatarctl.errors import AvatarError, DataError
from avatarctl.files import atomic, write_failure, write_text
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import FPS, TRACKED
from avatarctl_sparse_tracking import amass, features

SHORTEST = 5
"""Sequences of fewer frames are left out (spec 3.2, step 3)."""
EMBEDDED = "open:"
"""Marks the path of an embedded clip, followed by its name."""
BODY_NUMBERS = 3 * NUM_BODY
REPAIR = "repair the file, remove it, or accept that it is left out with --skip-bad"


@dataclass(frozen=True)
class Task:
    """A clip to prepare: where from, where to, and what to note of it."""

    name: str
    subset: str
    split: str
    source: str
    path: str
    listed: str
    key: str
    rest: np.ndarray
    rate: str
    part: str = ""
    official: str = ""
    marker: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: "ok", "short" or "bad" with the reason."""

    task: Task
    status: str
    frames: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Raw:
    """A source's body motion: `poses` [T, 66] radians and `trans` [T, 3] metres, float64."""

    poses: Tensor
    trans: Tensor
    fps: float
    gender: str


def run_all(tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """The outcomes of the tasks, in order; nothing but paths and counts travels between the processes.

    Raises:
        DataError: A result cannot be written, or a worker process was killed.
    """
    again = "run the same command again, with --workers 1 if it recurs; finished clips are kept"
    return results(run_task, tasks, workers, again=again)


def is_stored(task: Task) -> bool:
    """Whether nothing is left to do for the store."""
    return not task.part or Path(task.part).exists()


def is_official(task: Task) -> bool:
    """Whether nothing is left to do for the official layout."""
    return not task.official or (Path(task.official).exists() and Path(task.marker).exists())


def run_task(task: Task) -> Outcome:
    """Prepare one clip, unless that was done before."""
    has_part, has_official = is_stored(task), is_official(task)
    if has_part and has_official:
        frames = part_frames(Path(task.part)) if task.part else int(Path(task.marker).read_text())
        return Outcome(task, "ok", frames)
    try:
        raw = read_raw(task.path)
        poses, trans, step = bring_to_60(raw, task.rate)
    except AvatarError as error:
        return Outcome(task, "bad", reason=error.message)
    if len(poses) < SHORTEST:
        return Outcome(
            task, "short", reason=f"{len(poses)} frames at 60 a second; at least {SHORTEST} are needed"
        )
    joints = tuple(range(NUM_BODY)) if not has_official else TRACKED
    made = features.compute(poses, trans, torch.from_numpy(task.rest), joints)
    if not has_official:
        _write_official(
            task, features.official_file(poses, trans, made, raw.gender, task.listed), len(poses) - 1
        )
    if not has_part:
        about: dict[str, str | float] = {
            "names": task.name, "source": task.source, "subset": task.subset, "gender": raw.gender,
            "source_fps": raw.fps, "fps": raw.fps / step if step else FPS,
        }  # fmt: skip
        write_part(Path(task.part), features.store_rows(poses, trans, made), about)
    return Outcome(task, "ok", len(poses) - 1)


def bring_to_60(raw: Raw, rate: str) -> tuple[Tensor, Tensor, int]:
    """Poses [N, 66] and places [N, 3] at (about) 60 frames a second, and the stride; 0 where resampled."""
    step = amass.stride(raw.fps) if rate == "published" else int(raw.fps == FPS)
    if step:
        return raw.poses[::step], raw.trans[::step], step
    motion = Motion(poses=raw.poses.reshape(-1, NUM_BODY, 3), root=raw.trans, fps=raw.fps).resampled(FPS)
    return motion.poses.flatten(1), motion.root, 0


def read_raw(path: str) -> Raw:
    """The body motion in an AMASS archive, a BVH file, or an embedded clip.

    Raises:
        DataError: The file is broken; the message names the field.
    """
    if path.startswith(EMBEDDED):
        return _from_motion(path, clips()[path.removeprefix(EMBEDDED)].motion())
    if path.lower().endswith((".bvh", ".bvh.gz")):
        return _from_motion(path, Motion.read(path))
    return read_archive(path)


def read_archive(path: str | Path) -> Raw:
    """The body motion in an AMASS archive ("SMPL+H G").

    Raises:
        DataError: A field is missing, or has the wrong shape or values.
    """
    arrays = read_npz(path, ("poses", "trans", "mocap_framerate", "gender", "mocap_frame_rate"))
    if "mocap_framerate" not in arrays and "mocap_frame_rate" in arrays:
        raise DataError(f"{path}: mocap_framerate: missing; {amass.RIGHT_DOWNLOAD}", hint=REPAIR)
    missing = [name for name in ("poses", "trans", "mocap_framerate") if name not in arrays]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing; expected an AMASS archive", hint=REPAIR)
    poses, trans = arrays["poses"], arrays["trans"]
    if poses.ndim != 2 or poses.shape[1] < BODY_NUMBERS or poses.shape[1] == 165 or poses.dtype.kind != "f":
        also = f"; {amass.RIGHT_DOWNLOAD}" if poses.shape[-1:] == (165,) else ""
        raise DataError(
            f"{path}: poses: found {poses.dtype} {list(poses.shape)}; expected float [T, 156]{also}",
            hint=REPAIR,
        )
    if trans.shape != (len(poses), 3) or trans.dtype.kind != "f":
        found = f"{trans.dtype} {list(trans.shape)}"
        raise DataError(f"{path}: trans: found {found}; expected float [{len(poses)}, 3]", hint=REPAIR)
    raw = Raw(
        torch.from_numpy(poses[:, :BODY_NUMBERS].astype(np.float64)),
        torch.from_numpy(trans.astype(np.float64)),
        _rate(path, arrays["mocap_framerate"]),
        _gender(path, arrays.get("gender", np.array("neutral"))),
    )
    return _checked(path, raw)


def _from_motion(path: str, motion: Motion) -> Raw:
    motion = motion.to_up("z")
    raw = Raw(motion.body_poses().flatten(1).double(), motion.root.double(), float(motion.fps), motion.gender)
    return _checked(path.removeprefix(EMBEDDED), raw)


def _checked(path: str | Path, raw: Raw) -> Raw:
    if not len(raw.poses):
        raise DataError(f"{path}: poses: 0 frames; expected at least {SHORTEST}", hint=REPAIR)
    for name, array in (("poses", raw.poses), ("trans", raw.trans)):
        finite = torch.isfinite(array).all(1)
        if not finite.all():
            frame = int((~finite).nonzero()[0])
            raise DataError(f"{path}: {name}: frame {frame}: numbers that are not finite", hint=REPAIR)
        if array.abs().max() > 1e6:
            raise DataError(
                f"{path}: {name}: numbers beyond a million; expected radians and metres", hint=REPAIR
            )
    return raw


def _rate(path: str | Path, value: np.ndarray) -> float:
    rate = float(value) if value.size == 1 and value.dtype.kind in "fiu" else math.nan
    if not 1.0 <= rate <= 1000.0:
        raise DataError(
            f"{path}: mocap_framerate: found {value!s:.40}; expected 1 to 1000 frames a second", hint=REPAIR
        )
    return rate


def _gender(path: str | Path, value: np.ndarray) -> str:
    word = value.reshape(-1)[0] if value.size == 1 else value
    word = word.decode("latin1") if isinstance(word, bytes) else str(word)
    if word not in GENDERS:
        raise DataError(f"{path}: gender: found '{word:.40}'; expected {', '.join(GENDERS)}", hint=REPAIR)
    return word


def _write_official(task: Task, content: dict[str, object], frames: int) -> None:
    """Write the .pt file, the same bytes every time, then the marker that it is done with these options."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    made, official = Path(f"{task.marker}.pt"), Path(task.official)
    with atomic(made) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    try:
        official.parent.mkdir(parents=True, exist_ok=True)
        made.replace(official)
    except OSError as error:
        raise write_failure(official, error) from error
    write_text(task.marker, str(frames))
