"""The prepare target of a made-up recording: a dressed person seen by cameras, in the prepared layout.

Beside the published files stands `synthetic.json`: with which options the recording was made, and which views
and frames are for training. The same options give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avatarctl.body import open_body
from avatarctl.body.dressed import Person
from avatarctl.errors import DataError, SettingsError
from avatarctl.files import write_text
from avatarctl.motion.clips import LISTED, clips
from avatarctl.plugin.registry import did_you_mean
from avatarctl_video_avatar.body_fit import canonical, posed
from avatarctl_video_avatar.prepared import (
    MARK,
    MESHES,
    About,
    Camera,
    Fit,
    write_bodies,
    write_picture,
    write_view,
)
from avatarctl_video_avatar.preparing import bodies_of, star_volume
from avatarctl_video_avatar.settings_synthetic import PrepareSynthetic
from avatarctl_video_avatar.synthetic_film import Stage, fits_of, on_floor, shoot

if TYPE_CHECKING:
    from avatarctl.runs import Run

VERSION = 1
"""Changes with what is made."""
PAD, DELTA = 0.05, 0.04
"""Room around bodies, metres; how far the dilated mesh lies outside, in halves of its cube's side: 5 cm,
which is as far out as a surface is looked for."""


@dataclass(frozen=True)
class Made:
    """A made-up recording that is not written: who is seen, the fits by frame, and what the cameras see.

    `size` is rows and columns.
    """

    person: Person
    fits: dict[str, Fit]
    stage: Stage
    cameras: list[Camera]
    size: tuple[int, int]
    name: str

    @staticmethod
    def of(settings: PrepareSynthetic) -> Made:
        """The recording of settings.

        Raises:
            SettingsError: There is no such clip.
        """
        if settings.clip not in clips():
            raise SettingsError(
                f"clip is {settings.clip!r}; no embedded clip{did_you_mean(settings.clip, list(clips()))}",
                hint=LISTED,
            )
        person = Person.made(open_body("smpl"), settings.person)
        fits, stage = staged(person, fits_of(person.body, person.betas, settings.clip, settings.frames))
        columns, rows = (int(word) for word in settings.size.split("x"))
        named = {f"frame_{number:06d}": fit for number, fit in enumerate(fits)}
        name = f"Synthetic-{settings.person}" if settings.person else "Synthetic"
        cameras = stage.ring(settings.cameras, (rows, columns))
        return Made(person, named, stage, cameras, (rows, columns), name)

    @cached_property
    def split(self) -> dict[str, dict[str, Any]]:
        """Views and frames for training, and those held out: start and end of the frames."""
        count, views = len(self.fits), [str(number) for number in range(len(self.cameras))]
        return {
            "train": {"views": views[::2], "frames": [0, training_frames(count)]},
            "held_out": {"views": views[1::2], "frames": [training_frames(count), count]},
        }


def training_frames(count: int) -> int:
    """How many of the first frames are for training; the others are poses never seen."""
    return max(1, count * 4 // 5)


def staged(person: Person, fits: Sequence[Fit]) -> tuple[list[Fit], Stage]:
    """Fits moved onto the floor, and the dressed person in them."""
    vertices = list(torch.from_numpy(posed(person.body, fits)[0]))
    lifted = on_floor(fits, Stage.of(person, fits, vertices).lowest)
    return lifted, Stage.of(person, lifted, vertices)


def run(settings: PrepareSynthetic, run: Run) -> None:
    """Make up the recording, and write it."""
    write(settings, run)
    folder = settings.into
    run.output(folder / MESHES, "prepared")
    run.report(rows_of(marked(folder)["split"]))
    run.log.info("next: avatarctl train video-avatar -c toy --data %s%s", folder, chosen(settings))


def chosen(settings: PrepareSynthetic) -> str:
    """Options that take the recording's split, where it is not the one that the preset names."""
    usual = PrepareSynthetic()
    if settings.frames >= usual.frames and settings.cameras >= usual.cameras:
        return ""
    split, words = marked(settings.into)["split"], ""
    for name, prefix in (("train", ""), ("held_out", "validate-")):
        first, end = split[name]["frames"]
        words += f" --{prefix}views {','.join(split[name]['views'])} --{prefix}frames {first}:{end}"
    return words


def write(settings: PrepareSynthetic, run: Run) -> None:
    """Write the recording into the settings' folder, unless it is there.

    Raises:
        DataError: Something else is in the folder, or it cannot be written.
    """
    folder, about = settings.into, settings.model_dump(mode="json", exclude={"into", "replace"})
    about = {"version": VERSION, **about}
    if begin(folder, about, replace=settings.replace):
        run.log.info("%s: is up to date", folder)
        return
    made = Made.of(settings)
    write_made(folder, made, range(settings.cameras), range(settings.frames), settings.volume_size, run)
    mark(folder, about, made.split)


def write_made(
    folder: Path, made: Made, cameras: Sequence[int], frames: Sequence[int], volume_size: int, run: Run
) -> None:
    """Draw and write some cameras and frames of a made-up recording.

    Args:
        cameras, frames: Their numbers.
    """
    names, body = list(made.fits), made.person.body
    fits = {names[frame]: made.fits[names[frame]] for frame in frames}
    shots = [(number, frame) for number in cameras for frame in frames]
    for number, frame in run.progress(shots, "drawing pictures", len(shots)):
        picture, cover = shoot(made.stage, frame, made.cameras[number], made.size)
        for kind, pixels in (("images", picture), ("masks", cover)):
            write_picture(folder / str(number) / kind / f"{names[frame]}.png", pixels)
    for number in cameras:
        write_view(folder / str(number), dict.fromkeys(fits, made.cameras[number]))
    betas = made.person.betas.double().numpy()
    rest, volume = canonical(body, betas), star_volume(body, betas, volume_size, PAD, run.progress)
    bodies = bodies_of(fits, body, PAD, DELTA, run.progress)
    write_bodies(folder, bodies, rest, volume, About("open", "synthetic-video", PAD, DELTA, made.name))


def begin(folder: Path, about: dict[str, Any], *, replace: bool) -> bool:
    """Mark a folder as one of a made-up recording; whether it is there already.

    Raises:
        DataError: Something else is in the folder, or a recording of other options.
    """
    path = folder / MARK
    if not path.is_file():
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise DataError(f"{folder}: holds something else", hint="name an empty folder with --into")
        mark(folder, about, None)
        return False
    found = marked(folder)
    if found.get("options") == about and found.get("split"):
        return True
    if found.get("options") != about and not replace:
        words = json.dumps(found.get("options")).replace('"', "")
        raise DataError(
            f"{folder}: holds a recording of other options ({words})",
            hint="name another folder with --into, or delete it with --replace",
        )
    shutil.rmtree(folder)
    mark(folder, about, None)
    return False


def marked(folder: Path) -> dict[str, Any]:
    """What the mark of a folder says: options, and the split once all is there.

    Raises:
        DataError: It is broken.
    """
    path = folder / MARK
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="delete the folder") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: found {type(found).__name__}", hint="delete the folder")
    return found


def mark(folder: Path, about: dict[str, Any], split: dict[str, Any] | None) -> None:
    """Say what the folder holds; the split is there when all is."""
    write_text(folder / MARK, json.dumps({"options": about, "split": split}, indent=1) + "\n")


def rows_of(split: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """The splits, in the words of --views and --frames."""
    return [
        {
            "split": name.replace("_", " "),
            "views": ",".join(part["views"]),
            "frames": f"{part['frames'][0]}:{part['frames'][1]}",
        }
        for name, part in split.items()
    ]
