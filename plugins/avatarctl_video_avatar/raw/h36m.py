"""Human3.6M as Animatable-NeRF prepared it (spec 2.3): S6/Posing with annots.npy, mask_cihp, new_params."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl_video_avatar.raw import places
from avatarctl_video_avatar.raw.annots import ANNOTS, read_annots, recorded
from avatarctl_video_avatar.raw.recording import Recording

if TYPE_CHECKING:
    from avatarctl_video_avatar.settings_prepare import PrepareH36m

PAD, DELTA = 0.05, 0.03
POSING = "Posing"


def folder(settings: PrepareH36m) -> Path:
    """The person's raw folder."""
    subject = settings.subject
    return places.find(settings, ANNOTS, [POSING, *([f"{subject}/{POSING}", subject] if subject else [])])


def read(settings: PrepareH36m) -> Recording:
    """The recording in a raw folder; frames keep their numbers, cameras are named as their pictures' folders.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    root = folder(settings)
    annots = read_annots(root)
    rows = places.frames(len(annots.pictures), settings, annots.path, keeps_last=False)
    # The published code takes cameras by their place in its list of views, which lists them in this order.
    order = [Path(path).parent.name for path in annots.pictures[0][: annots.num_cameras]]
    fits, shots = recorded(
        annots,
        {f"{row:06d}": row for row in rows},
        {view: order.index(view) for view in places.views(settings, order, annots.path)},
        lambda row: root / "new_params" / f"{row}.npy",
        lambda picture: ((root / "mask_cihp" / picture).with_suffix(".png"),),
        allow_empty=settings.allow_empty,
    )
    whole = root.resolve()
    name = settings.subject or (whole.parent if whole.name == POSING else whole).name
    return Recording(name, fits, shots, settings.sex or "neutral", PAD, DELTA, "h36m")
