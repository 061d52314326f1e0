"""SelfRecon's synthetic people (spec 2.6): imgs, masks, normals, camera.npz, smpl_rec.npz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.errors import DataError
from avatarctl_video_avatar.prepared import JOINTS, Camera, Fit, Sex
from avatarctl_video_avatar.raw import annots, places
from avatarctl_video_avatar.raw.people_snapshot import VIEW
from avatarctl_video_avatar.raw.pictures import Mask, Picture
from avatarctl_video_avatar.raw.recording import Recording, Shot

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PrepareSelfrecon

PAD, DELTA = 0.3, 0.06
CAMERA, BODIES = "camera.npz", "smpl_rec.npz"
FEMALE = ("female-outfit1", "female_outfit1")
"""Published for the base shape; the other two women were prepared with the male body (spec 3.1)."""


def folder(settings: PrepareSelfrecon) -> Path:
    """The person's raw folder."""
    return places.find(settings, CAMERA, [settings.subject] if settings.subject else [])


def read(settings: PrepareSelfrecon) -> Recording:
    """The recording in a raw folder; frames are named anew from frame_000000 on.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    root = folder(settings)
    fits = _fits(root / BODIES)
    rows = places.frames(len(fits), settings, root / BODIES, keeps_last=True)
    places.views(settings, [VIEW], root)
    camera = _camera(root / CAMERA)
    faults = places.Faults(root)
    shots: dict[str, Shot] = {}
    for index, row in enumerate(rows):
        picture, path = Picture(root / "imgs" / f"{row:06d}.png"), root / "masks" / f"{row:06d}.png"
        faults.needs(picture.path, path)
        mask = Mask((path,), picture, allow_empty=settings.allow_empty)
        shots[f"frame_{index:06d}"] = Shot(picture, mask, camera)
    faults.close()
    name = settings.subject or root.resolve().name
    sex: Sex = settings.sex or ("female" if name in FEMALE else "male")
    return Recording(
        name,
        {key: fits[row] for key, row in zip(shots, rows, strict=True)},
        {VIEW: shots},
        sex,
        PAD,
        DELTA,
        "selfrecon",
        fits[rows[0]].betas,
    )


def normals(settings: PrepareSelfrecon) -> dict[str, Path]:
    """Pictures of normals that there are, by frame name; training does not read them."""
    root = folder(settings)
    rows = places.frames(len(_fits(root / BODIES)), settings, root / BODIES, keeps_last=True)
    files = {f"frame_{index:06d}": root / "normals" / f"{row:06d}.png" for index, row in enumerate(rows)}
    return {name: path for name, path in files.items() if path.is_file()}


def _camera(path: Path) -> Camera:
    found = read_npz(path)
    _needs(path, found, ("fx", "fy", "cx", "cy", "T"))
    fx, fy, cx, cy = (annots.numbers(found[key], 1, f"{path}: {key}")[0] for key in ("fx", "fy", "cx", "cy"))
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    # parity: the rotation in the file (quat) is ignored, and there is no distortion (spec 2.6)
    return annots.camera(intrinsics, np.eye(3), found["T"], [0], str(path))


def _fits(path: Path) -> list[Fit]:
    found = read_npz(path)
    _needs(path, found, ("shape", "poses", "trans"))
    poses, trans = found["poses"], found["trans"]
    if poses.ndim not in (2, 3) or not len(poses) or len(poses) != len(np.atleast_1d(trans)):
        raise DataError(
            f"{path}: poses {list(poses.shape)}, trans {list(trans.shape)}; expected [F, {JOINTS}, 3] and "
            "[F, 3]",
            hint=annots.HINT,
        )
    flat = poses.reshape(len(poses), -1)
    return [
        annots.fit(
            np.concatenate([np.zeros_like(pose[:3]), pose[3:]]), pose[:3], place, found["shape"],
            where=f"{path}: frame {row}",
        )
        for row, (pose, place) in enumerate(zip(flat, trans, strict=True))
    ]  # fmt: skip


def _needs(path: Path, found: dict[str, np.ndarray], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in found]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing", hint=annots.HINT)
