"""MonoCap as published (spec 2.4): annots.npy, images, mask, params; many cameras."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from avatarctl.errors import DataError
from avatarctl_video_avatar.raw import places
from avatarctl_video_avatar.raw.annots import ANNOTS, read_annots, recorded
from avatarctl_video_avatar.raw.recording import Recording

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PrepareMonocap

PAD, DELTA = 0.05, 0.03
IMAGES, MASK = "images", "mask"


def folder(settings: PrepareMonocap) -> Path:
    """The person's raw folder."""
    return places.find(settings, ANNOTS, [settings.subject] if settings.subject else [])


def read(settings: PrepareMonocap) -> Recording:
    """The recording in a raw folder; frames are named anew from 000000 on.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    root = folder(settings)
    annots = read_annots(root)
    rows = places.frames(len(annots.pictures), settings, annots.path, keeps_last=False)
    views = places.views(settings, [str(number) for number in range(annots.num_cameras)], annots.path)
    fits, shots = recorded(
        annots,
        {f"{index:06d}": row for index, row in enumerate(rows)},
        {view: int(view) for view in views},
        lambda row: root / "params" / f"{row + 1}.npy",
        lambda picture: (_mask(root, picture, annots.path),),
        allow_empty=settings.allow_empty,
    )
    name = settings.subject or root.resolve().name
    return Recording(name, fits, shots, settings.sex or "neutral", PAD, DELTA, "monocap")


def _mask(root: Path, relative: str, annots: Path) -> Path:
    """The mask of a picture: the same path below `mask`, with its suffix or as .png."""
    parts = PurePosixPath(relative).parts
    if IMAGES not in parts:
        raise DataError(
            f"{annots}: picture {relative!r} is in no folder '{IMAGES}'", hint="check the release"
        )
    path = root.joinpath(*(MASK if part == IMAGES else part for part in parts))
    return path if path.is_file() else path.with_suffix(".png")
