"""The prepare targets of recordings: raw data sets to the published prepared layout (spec 2.9, 3)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avatarctl.device.choose import cores
from avatarctl.files import atomic
from avatarctl_video_avatar import preparing
from avatarctl_video_avatar import settings_prepare as settings_of
from avatarctl_video_avatar.body_fit import load_body
from avatarctl_video_avatar.raw import h36m, monocap, people_snapshot, selfrecon, synthetic_human, zju
from avatarctl_video_avatar.raw.annots import ANNOTS
from avatarctl_video_avatar.raw.places import Faults
from avatarctl_video_avatar.raw.recording import Recording

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_prepare import Prepare

PREPARED = Path("data/data_prepared")
"""Where the published scripts write, a folder a person."""
VOLUME = 256
VOLUMES = {"CoreView_386": 512, "CoreView_387": 512}
"""Samples along each side of the cube of signed distances, and of whom it is others (spec 3.1)."""


class _Raw(NamedTuple):
    """How a data set is read: its recording, its folder, and a file of it."""

    read: Callable[[Any], Recording]
    folder: Callable[[Any], Path]
    file: str


RAW: dict[type[Prepare], _Raw] = {
    settings_of.PrepareZju: _Raw(zju.read, zju.folder, ANNOTS),
    settings_of.PrepareH36m: _Raw(h36m.read, h36m.folder, ANNOTS),
    settings_of.PrepareMonocap: _Raw(monocap.read, monocap.folder, ANNOTS),
    settings_of.PreparePeopleSnapshot: _Raw(
        people_snapshot.read, people_snapshot.folder, people_snapshot.CAMERA
    ),
    settings_of.PrepareSelfrecon: _Raw(selfrecon.read, selfrecon.folder, selfrecon.CAMERA),
    settings_of.PrepareSyntheticHuman: _Raw(
        synthetic_human.read, synthetic_human.folder, synthetic_human.MOTION
    ),
}


def run(settings: Prepare, run: Run) -> None:
    """Prepare a recording, or only look through it."""
    raw = RAW[type(settings)]
    folder = raw.folder(settings)
    recording = raw.read(settings)
    run.input(folder / raw.file, "raw")
    body_of = partial(load_body, run.bodies, "smpl", folder=settings.body_models)
    if settings.check:
        _check(recording, folder, body_of, run)
        return
    out = settings.into or PREPARED / recording.name
    size = settings.volume_size or VOLUMES.get(recording.name, VOLUME)
    run.keeps_parts = True
    preparing.prepare(
        recording,
        out,
        body_of,
        "smpl",
        volume_size=size,
        run=run,
        processes=settings.processes or cores(),
    )
    if isinstance(settings, settings_of.PrepareSelfrecon):
        _copy_normals(settings, out)
    run.output(out / "mesh_infos.pkl", "recording")
    run.log.info("%s is prepared in %s", recording.name, out)
    run.report(frames=len(recording.fits), cameras=len(recording.views), volume_size=size)


def _check(recording: Recording, folder: Path, body_of: Callable[..., Any], run: Run) -> None:
    """Open every picture and mask, and the bodies that the preparation needs.

    Raises:
        DataError: Anything is missing or broken; all that is, together.
    """
    faults = Faults(folder)
    for sex in dict.fromkeys(("neutral", recording.sex)):
        with faults.noted():
            body_of(sex)
    shots = [shot for view in recording.views.values() for shot in view.values()]
    for shot in run.progress(shots, "pictures and masks", len(shots)):
        with faults.noted():
            shot.mask()
            shot.image()
    faults.close()
    run.log.info("%s: nothing is missing", folder)
    run.report(frames=len(recording.fits), cameras=len(recording.views), pictures=len(shots))


def _copy_normals(settings: settings_of.PrepareSelfrecon, out: Path) -> None:
    for name, path in selfrecon.normals(settings).items():
        with atomic(out / "normals" / f"{name}.png") as temporary:
            shutil.copyfile(path, temporary)
