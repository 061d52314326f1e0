"""The demo target: a voice to a moving person, with a film and a report, or as a page in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from avatarctl.audio.speech import speeches
from avatarctl.audio.wave import FRAME, RATE, Sound, conversation, read_sound
from avatarctl_audio2motion.clip import Progress
from avatarctl_audio2motion.conversations.voices import recorded
from avatarctl_audio2motion.demo_report import page
from avatarctl_audio2motion.generated import FPS
from avatarctl_audio2motion.infer import load, weights_of
from avatarctl_audio2motion.pipeline import check_length
from avatarctl_audio2motion.sampling import STEPS, kept_steps
from avatarctl_audio2motion.subject import SOUND, Subject, filming, save_formats, tiled, whole

if TYPE_CHECKING:
    from avatarctl.render.video import Film
    from avatarctl.runs import Run
    from avatarctl_audio2motion.generated import Generated
    from avatarctl_audio2motion.pipeline import Pipeline
    from avatarctl_audio2motion.settings import Demo
    from avatarctl_audio2motion.web import Shown

SPEECH = "jfk_1961_48k"
FORMATS = ("npz", "bvh", "glb")


def run(settings: Demo, run: Run) -> None:
    """Show what a voice makes somebody do."""
    kept_steps(settings.steps, STEPS)
    weights = weights_of(settings, run)
    subject = Subject.find(settings.person, str(weights.config.get("person", "")), weights.path)
    subject.require()
    subject.require_film()
    studio = Studio(settings, run, load(settings, weights, run), subject)
    if settings.web:
        studio.serve()
        return
    audio = voices(settings, run)
    began = time.perf_counter()
    made = studio.model(audio, settings, samples=settings.samples, seed=run.seed, progress=run.progress)
    took = time.perf_counter() - began
    run.save("generated.npz", made)
    run.save(SOUND, Sound(audio, RATE))
    for index in range(len(made)):
        motion = subject.motion(whole(made, index)[0])
        save_formats(made.stem("motion", index), FORMATS, motion, run)
    stills: list[np.ndarray] = []
    film = noting(studio.film(made, audio), stills)
    run.save("video.mp4", filming(film, run, "video.mp4"))
    run.save("picture.png", np.concatenate(stills))
    first = whole(made, 0)
    run.save("report.html", page(run, made, first, audio, subject, took))
    run.report(seconds=round(made.frames / FPS, 2), results=len(made), generating_s=round(took, 2))


def voices(settings: Demo, run: Run) -> Tensor:
    """The first seconds of a sound, of both voices [S, 2].

    Raises:
        DataError: The sound cannot be used.
    """
    path = settings.sound or speeches()[SPEECH].path
    sound = read_sound(run.input(path, "sound"))
    audio = conversation(sound)
    check_length(audio, f"{path}: the sound")
    return audio[: round(settings.seconds * FPS) * FRAME]


def noting(film: Film, kept: list[np.ndarray], count: int = 4) -> Film:
    """A film that keeps so many of its frames, evenly spaced, when it is drawn."""
    wanted = {int((number + 0.5) * len(film) / count) for number in range(count)}

    def make() -> Iterator[np.ndarray]:
        kept.clear()
        for number, frame in enumerate(film.frames()):
            if number in wanted:
                kept.append(frame)
            yield frame

    return replace(film, make=make)


class Studio:
    """Networks and a person, ready for one voice after the other."""

    def __init__(self, settings: Demo, run: Run, model: Pipeline, subject: Subject) -> None:
        self.settings, self.run, self.model, self.subject = settings, run, model, subject
        self.takes = 0

    def film(self, made: Generated, audio: Tensor) -> Film:
        """All results in one film."""
        render = self.run.render.using(self.settings.renderer)
        films = []
        for index in range(len(made)):
            pose, codes = whole(made, index)
            title = f"sample {index:02d}" if len(made) > 1 else ""
            films.append(self.subject.film(pose, codes, audio, render, rows=self.settings.size, title=title))
        return tiled(films)

    def serve(self, *, wait: bool = True) -> str:
        """Serve the page, until Ctrl-C when it is to wait; its address."""
        from avatarctl_audio2motion import web

        examples = [one.path for one in speeches().values() if one.turns_path is None]
        note = f"You see {self.subject.shown}, moved by the weights `{self.settings.weights}`."
        page = web.blocks(self.take, note, examples)
        return web.serve(page, self.settings.port, self.run.folder, wait=wait)

    def take(self, sound: Path, samples: int, diversity: float, told: Callable[[float, str], None]) -> Shown:
        """One recording, in a folder of its own: what the page shows of it.

        Raises:
            AvatarError: It cannot be used; the message is for the page.
        """
        from avatarctl_audio2motion.web import Shown

        self.takes += 1
        name = f"take{self.takes:03d}"
        audio = recorded(read_sound(sound), self.run.noise("partner"))
        options = self.settings.model_copy(update={"top_p": diversity})
        began = time.perf_counter()
        made = self.model(
            audio,
            options,
            samples=samples,
            seed=self.run.seed + self.takes,
            progress=telling(told, 0.0, 0.5, "generating"),
        )
        took = time.perf_counter() - began
        self.run.save(f"{name}/generated.npz", made)
        files = []
        for index in range(len(made)):
            motion = self.subject.motion(whole(made, index)[0])
            files += save_formats(f"{name}/{made.stem('motion', index)}", FORMATS, motion, self.run)
        film = replace(self.film(made, audio), progress=telling(told, 0.5, 1.0, "drawing"))
        path = self.run.save(f"{name}/video.mp4", film)
        count = f"{len(made)} samples" if len(made) > 1 else "one sample"
        words = f"{made.frames / FPS:.1f} s of motion, {count}, made in {took:.1f} s."
        return Shown(path, [path, *files], words)


def telling(told: Callable[[float, str], None], start: float, end: float, word: str) -> Progress:
    """Progress that tells a share of the whole, from start to end, and what is done."""

    def wrap(items: Iterable[Any], _: str, total: int) -> Iterator[Any]:
        for number, item in enumerate(items):
            told(start + (end - start) * number / max(total, 1), word)
            yield item

    return wrap
