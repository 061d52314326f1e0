"""The infer target: any sound file to the motion of a person who speaks, and a film."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.turns import read_turns
from avatarctl.audio.wave import RATE, Sound, conversation, read_sound
from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.arrays import npy_header
from avatarctl.errors import AvatarError, DataError
from avatarctl.export import formats
from avatarctl.files import check_input_file
from avatarctl_audio2motion import pipeline
from avatarctl_audio2motion.generated import Generated
from avatarctl_audio2motion.official import PERSONS, step_of
from avatarctl_audio2motion.places import name_of, statistics_file
from avatarctl_audio2motion.results import Results
from avatarctl_audio2motion.sampling import STEPS, kept_steps
from avatarctl_audio2motion.subject import SOUND, Subject, filming, save_formats, whole

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings import Infer, Networks

OVERRIDES = {"face": "face", "body": "body", "guide": "guide", "vqvae": "codec"}
"""Settings that name other weights for one network, and that network's part."""


def run(settings: Infer, run: Run) -> None:
    """Generate motion for one conversation."""
    formats.check_names(settings.to, run.declared_formats)
    kept_steps(settings.steps, STEPS)
    audio = heard(settings, run)
    weights = weights_of(settings, run)
    subject = Subject.find(settings.person, str(weights.config.get("person", "")), weights.path)
    if settings.video:
        subject.require_film()
        run.log.info("the film shows %s", subject.shown)
    model = load(settings, weights, run)
    began = time.perf_counter()
    with run.autocast():
        made = model(
            audio,
            settings,
            samples=settings.samples,
            repeats=settings.repeats,
            seed=run.seed,
            keys=None if settings.keys is None else key_poses(settings.keys, run),
            progress=run.progress,
        )
    took = time.perf_counter() - began
    run.save("generated.npz", made)
    run.save(SOUND, Sound(audio, RATE))
    if settings.results:
        write_results(made, audio, weights, run)
    write_motions(settings, made, audio, subject, run)
    run.report(
        seconds=round(made.frames / 30, 3),
        results=len(made),
        person=subject.name,
        generated=" and ".join(part for part in ("face", "body") if getattr(made, part) is not None),
        generating_s=round(took, 2),
    )


def heard(settings: Infer, run: Run) -> Tensor:
    """Both voices at 48 kHz [S, 2], a second at least."""
    sound = read_sound(run.input(settings.sound, "sound"))
    partner = None if settings.partner is None else read_sound(run.input(settings.partner, "partner"))
    turns = None if settings.turns is None else read_turns(run.input(settings.turns, "turns"))
    audio = conversation(sound, partner, turns, settings.speaker or None, resampler=settings.resampler)
    pipeline.check_length(audio, f"{settings.sound}: the sound")
    return audio


def weights_of(settings: Networks, run: Run) -> Weights:
    """The weights that the settings name, each network from its own place."""
    weights = run.weights(settings.weights, target="audio2motion", stage="body")
    for name, part in OVERRIDES.items():
        words = getattr(settings, name)
        if words is not None:
            other = run.weights(words, target="audio2motion", stage=name)
            weights = pipeline.with_part(weights, part, other)
    pipeline.person_of(weights, settings.person, settings.stats)
    return weights


def load(settings: Networks, weights: Weights, run: Run) -> pipeline.Pipeline:
    """The networks, and the statistics of the person."""
    name = name_of(settings.person, str(weights.config.get("person", "")))
    stats = settings.stats
    if stats is None and not weights.holds("stats"):
        stats = statistics_file(weights.path, name)
    if stats is not None:
        run.input(stats, "stats")
    return pipeline.load(
        weights,
        run.device,
        stats=stats,
        person=settings.person,
        mode=getattr(settings, "mode", "both"),
        log_compression=settings.log_compression,
    )


def key_poses(path: Path, run: Run) -> Tensor:
    """Raw key poses [K, 104] of a .npy file.

    Raises:
        DataError: It is none, or holds no numbers.
    """
    path = check_input_file(run.input(path, "keys"), "key poses (.npy)")
    try:
        with path.open("rb") as file:
            npy_header(file)
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path}: is no .npy file of key poses", hint="numpy.save('keys.npy', poses)"
        ) from error
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: found {array.dtype}, expected numbers", hint="numpy.save('keys.npy', poses)"
        )
    return torch.from_numpy(array.astype(np.float32))


def write_motions(settings: Infer, made: Generated, audio: Tensor, subject: Subject, run: Run) -> None:
    """Each result as motion.npz, in the formats, and as a film."""
    try:
        subject.require()
    except AvatarError as error:
        run.log.warning("no motion.npz: %s (%s); generated.npz has the numbers", error.message, error.hint)
    render = run.render.using(settings.renderer)
    for index in range(len(made)):
        pose, codes = whole(made, index)
        if subject.person is not None:
            motion, name = subject.motion(pose), made.stem("motion", index)
            run.save(f"{name}.npz", motion)
            save_formats(name, [one for one in settings.to if one != "npz"], motion, run)
        if settings.video:
            name = f"{made.stem('video', index)}.mp4"
            film = subject.film(pose, codes, audio, render, rows=settings.size, look=settings.look)
            run.save(name, filming(film, run, name))


def write_results(made: Generated, audio: Tensor, weights: Weights, run: Run) -> None:
    """results.npy of face and body under their published folder names; there is no recorded truth."""
    for part, motions in (("face", made.face), ("body", made.body)):
        if motions is not None:
            results = Results.of(motions, audio, keyframes=made.keys if part == "body" else None)
            run.save(f"{published_folder(weights, part, run.seed)}/results.npy", results, kind="results")


def published_folder(weights: Weights, part: str, seed: int) -> str:
    """The name of the folder that the published generation writes a part's results to (spec 6.5)."""
    person = str(weights.config.get("person", "person"))
    step, guide = (step_of(weights, name) for name in (part, "guide"))
    form = {"face": "face", "body": "pose"}[part]
    suffix = f"guide_iter-{guide:07d}.pt" if part == "body" and weights.holds("guide") else ""
    return f"samples_{PERSONS.get(person, person)}_{form}_{step:09d}_seed{seed}_{suffix}"
