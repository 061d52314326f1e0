"""SyntheticHuman as published (spec 2.7): images/VIEW, mask/VIEW, annots.npy, motion.npz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.errors import DataError
from avatarctl_video_avatar.prepared import JOINTS, Fit, Sex
from avatarctl_video_avatar.raw import places
from avatarctl_video_avatar.raw.annots import ANNOTS, HINT, Annots, checked_cams, fit, load_boxed
from avatarctl_video_avatar.raw.pictures import Mask, Picture
from avatarctl_video_avatar.raw.recording import Recording, Shot

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PrepareSyntheticHuman

PAD, DELTA = 0.05, 0.03
MOTION = "motion.npz"
FEMALE = ("jody", "megan")
SMPLX = (156, 16)
"""Numbers of a pose and of a shape where the body is SMPL-X, as manuel's."""


def folder(settings: PrepareSyntheticHuman) -> Path:
    """The person's raw folder."""
    return places.find(settings, MOTION, [settings.subject] if settings.subject else [])


def read(settings: PrepareSyntheticHuman) -> Recording:
    """The recording in a raw folder; frames are named anew from 000000 on.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    root = folder(settings)
    fits = _fits(root / MOTION)
    cameras = _cameras(root / ANNOTS)
    files = {path.name: path for path in (root / "images").glob("[0-9][0-9]") if path.is_dir()}
    names = [str(int(name)) for name in sorted(files) if int(name) < len(cameras.cams["K"])]
    views = places.views(settings, names, root / "images")
    rows = places.frames(len(fits), settings, root / MOTION, keeps_last=True)
    faults = places.Faults(root)
    shots: dict[str, dict[str, Shot]] = {view: {} for view in views}
    for view in views:
        with faults.noted():
            camera, pictures = cameras.camera(int(view)), _pictures(files[f"{int(view):02d}"], len(fits))
            for index, row in enumerate(rows):
                path = root / "mask" / f"{int(view):02d}" / f"{pictures[row].stem}.png"
                faults.needs(path)
                picture = Picture(pictures[row])
                mask = Mask((path,), picture, is_lit=True, allow_empty=settings.allow_empty)
                shots[view][f"{index:06d}"] = Shot(picture, mask, camera)
    faults.close()
    name = settings.subject or root.resolve().name
    sex: Sex = settings.sex or ("female" if name in FEMALE else "male")
    chosen = {f"{index:06d}": fits[row] for index, row in enumerate(rows)}
    return Recording(name, chosen, shots, sex, PAD, DELTA, "synthetic-human")


def _pictures(place: Path, count: int) -> list[Path]:
    found = sorted(place.glob("*.jpg"))
    if len(found) < count:
        raise DataError(f"{place}: {len(found)} pictures (.jpg); {MOTION} has {count} frames", hint=HINT)
    return found


def _cameras(path: Path) -> Annots:
    content = load_boxed(path, "cameras")
    cams = content.get("cams") if isinstance(content, dict) else None
    return Annots(path, checked_cams(path, cams), [])


def _fits(path: Path) -> list[Fit]:
    """The body of each frame.

    Raises:
        DataError: They are SMPL-X's, whose 10475 vertices nothing after this fits (spec 9, Q32).
    """
    found = read_npz(path)
    missing = [key for key in ("poses", "shapes", "Rh", "Th") if key not in found]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing", hint=HINT)
    poses, shapes = found["poses"], np.atleast_2d(found["shapes"])
    if poses.ndim != 2 or poses.shape[1] < 3 * JOINTS or not len(poses):
        raise DataError(
            f"{path}: poses: {list(poses.shape)}; expected [frames, 72] or more (24 joints of SMPL)",
            hint=HINT,
        )
    if (poses.shape[1], shapes.shape[-1]) == SMPLX:
        raise DataError(
            f"{path}: {SMPLX[0]} pose and {SMPLX[1]} shape numbers: an SMPL-X body (manuel), which cannot be "
            "prepared as published; expected SMPL (72 and 10)",
            hint="take jody, megan or malcolm, or fit SMPL bodies to this recording",
        )
    turns, places_of = found["Rh"].reshape(-1, 3), found["Th"].reshape(-1, 3)
    counts = {len(poses), len(turns), len(places_of), *({len(shapes)} - {1})}
    if len(counts) != 1:
        raise DataError(
            f"{path}: poses, Rh, Th, shapes of {sorted(counts)} frames; expected equal", hint=HINT
        )
    return [
        # parity: the first 72 and 10 numbers are taken (spec 2.7)
        fit(
            poses[row, : 3 * JOINTS],
            turns[row],
            places_of[row],
            shapes[row % len(shapes), :10],
            where=str(path),
        )
        for row in range(len(poses))
    ]
