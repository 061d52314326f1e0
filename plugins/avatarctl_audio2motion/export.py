"""The export target: generated motion in the formats that other programs read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.audio.wave import conversation, read_sound
from avatarctl.checkpoints.arrays import archive_names
from avatarctl.errors import DataError, SettingsError
from avatarctl.export import formats
from avatarctl.files import check_input_file
from avatarctl.motion import Motion
from avatarctl.runs import folder, manifest
from avatarctl_audio2motion.conversations.stats import CODE
from avatarctl_audio2motion.generated import Generated
from avatarctl_audio2motion.results import read_results
from avatarctl_audio2motion.subject import SOUND, Subject, filming, save_formats, whole

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings import Export

WANTED = "a run of infer audio2motion, a motion file, generated.npz, or results.npy"
FILM = "mp4"


def run(settings: Export, run: Run) -> None:
    """Write one motion in each format."""
    formats.check_names(settings.to, run.declared_formats)
    path = file_of(settings.source)
    run.input(path, "source")
    made = generated_in(path)
    if made is None:
        motion, film = Motion.read(path), None
    else:
        pose, codes = numbers_of(made, settings.number, path)
        weights = Path(str(made.about.get("weights", path)))
        subject = Subject.find(settings.person, str(made.about.get("person", "")), weights)
        motion = subject.motion(pose)
        render = run.render.using(settings.renderer)
        film = subject.film(pose, codes, sound_beside(path), render, rows=settings.size)
    stem = formats.stem(path) if made is None else "motion"
    if film is not None and FILM in settings.to:
        run.save(f"{stem}.{FILM}", filming(film, run))
    others = [name for name in settings.to if name != FILM or film is None]
    save_formats(stem, others, motion, run, settings.body_models)
    run.report(
        frames=len(motion), seconds=round(motion.seconds, 3), formats=", ".join(dict.fromkeys(settings.to))
    )


def file_of(source: Path) -> Path:
    """The file of numbers that a run made, or the file itself.

    Raises:
        DataError: It is a folder that is no run, or a run without motion.
    """
    if not source.is_dir():
        return check_input_file(source, WANTED)
    outputs = manifest.read(folder.require_run(source)).outputs
    for kind in ("generated", "results", "motion"):
        found = [source / str(item["path"]) for item in outputs if item.get("kind") == kind]
        if found:
            return found[0]
    raise DataError(f"{source}: this run made no motion", hint=f"name {WANTED}")


def generated_in(path: Path) -> Generated | None:
    """Generated numbers in a file; None for a motion file."""
    if path.suffix == ".npy":
        results = read_results(path)
        motions = torch.from_numpy(results.motions[:, :, 0]).float().mT
        return Generated(motions, None) if results.kind == "face" else Generated(None, motions)
    if {"face.npy", "body.npy"} & set(archive_names(path)):
        return Generated.read(path)
    return None


def numbers_of(made: Generated, number: int, path: Path) -> tuple[Tensor, Tensor]:
    """Body poses [T, 104] and face codes [T, 256] of one of the motions.

    Raises:
        SettingsError: There is no such motion.
        DataError: The file holds a face only, and does not say how the body rests.
    """
    if number >= len(made):
        raise SettingsError(
            f"number: found {number}; {path} holds {len(made)} motions, counted from 0",
            hint=f"--number {len(made) - 1}",
        )
    if made.rest is None and made.body is None:
        raise DataError(
            f"{path}: holds face codes alone; a motion needs body poses",
            hint="generate the body: avatarctl infer audio2motion SOUND --mode both",
        )
    if made.rest is None and made.face is None:
        made = replace(made, rest=torch.zeros(CODE))
    return whole(made, number)


def sound_beside(path: Path) -> Tensor | None:
    """Both voices of the run that made a file, where they are still there."""
    sound = path.with_name(SOUND)
    return conversation(read_sound(sound)) if sound.is_file() else None
