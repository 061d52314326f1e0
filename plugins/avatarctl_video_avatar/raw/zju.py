"""ZJU-MoCap as published (spec 2.2): annots.npy, a folder a camera, mask, mask_cihp, new_params."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl_video_avatar.raw import places
from avatarctl_video_avatar.raw.annots import ANNOTS, read_annots, recorded
from avatarctl_video_avatar.raw.recording import Recording

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PrepareZju

PAD, DELTA = 0.1, 0.06
MASKS = ("mask", "mask_cihp")
LONG_NAME = re.compile(r"\)_(\d{4})_")
"""The frame's number in the picture names of CoreView_313 and 315."""


def folder(settings: PrepareZju) -> Path:
    """The person's raw folder."""
    subject = settings.subject
    return places.find(settings, ANNOTS, [f"CoreView_{subject}", subject] if subject else [])


def read(settings: PrepareZju) -> Recording:
    """The recording in a raw folder; frames are named anew from frame_000000 on.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    root = folder(settings)
    annots = read_annots(root)
    rows = places.frames(len(annots.pictures), settings, annots.path, keeps_last=False)
    views = places.views(settings, [str(number) for number in range(annots.num_cameras)], annots.path)
    fits, shots = recorded(
        annots,
        {f"frame_{index:06d}": row for index, row in enumerate(rows)},
        {view: int(view) for view in views},
        lambda row: root / "new_params" / f"{_number(row, annots.pictures[row][0])}.npy",
        lambda picture: tuple((root / place / picture).with_suffix(".png") for place in MASKS),
        allow_empty=settings.allow_empty,
    )
    return Recording(_name(settings, root), fits, shots, settings.sex or "neutral", PAD, DELTA, "zju-mocap")


def _number(row: int, path: str) -> int:
    """The number of a frame's SMPL file: its place, or what the picture's long name says.

    The published code counts from the first frame that is taken, which shifts bodies where --start is not 0
    (spec 9, Q3).
    """
    match = LONG_NAME.search(path)
    return int(match.group(1)) if match else row


def _name(settings: PrepareZju, root: Path) -> str:
    subject = settings.subject
    return f"CoreView_{subject}" if subject.isdigit() else subject or root.resolve().name
