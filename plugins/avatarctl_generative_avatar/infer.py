"""The infer target: pictures of new people, views from around, blends, and films in any motion (spec 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import SettingsError
from avatarctl.render.video import Film
from avatarctl.runs.motions import motion_file, read_motion
from avatarctl_generative_avatar import label, labels, pipeline
from avatarctl_generative_avatar import people as people_files
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.mesh import Surface
from avatarctl_generative_avatar.panels import cropped, panels, sheet, side_by_side, strip
from avatarctl_generative_avatar.people import Origin
from avatarctl_generative_avatar.pipeline import Person, carried, skinned

if TYPE_CHECKING:
    from avatarctl.geometry.isosurface import Progress
    from avatarctl.motion import Motion
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings import Infer, Mode, Panel

ORBIT, LONGEST = 36, 100
"""Frames of an orbit, and most of an animation, where nothing else is said."""
SEEN = 1.05
"""Places farther from the picture's middle than this are outside, in halves of its side."""
Panels = dict["Panel", np.ndarray]


def run(settings: Infer, run: Run) -> None:
    """Make what the modes say of each person, in their published order."""
    kept = people_files.chosen(settings, run)
    check(settings, len(settings.pick) or settings.number if kept is None else len(kept.numbers))
    motion = motion_of(settings, run)
    people = pipeline.of_settings(settings, run)
    persons = pipeline.sample(settings, people, run, kept)
    work = Work(settings, run, persons, motion, pipeline.origin_of(settings, people, run, kept))
    begun = time.perf_counter()
    makers: dict[Mode, Callable[[Shooting], None]] = {
        "samples": work.picture,
        "canonical": work.canonical,
        "views": work.views,
        "animate": work.animation,
    }
    chosen = [make for mode, make in makers.items() if mode in settings.mode]
    for person in work.people:
        shooting = Shooting(settings, person, run.progress)  # its planes and surface go with it
        for make in chosen:
            make(shooting)
    if "interp" in settings.mode:
        work.blends()
    work.sheets()
    run.save(people_files.FILE, work.arrays())
    took = time.perf_counter() - begun
    run.report(
        people=len(work.people),
        pictures=work.pictures,
        seconds=round(took, 2),
        seconds_per_picture=round(took / max(work.pictures, 1), 3),
    )


def check(settings: Infer, count: int) -> None:
    """Refuse modes that lack what they need, and a motion that none of them shows.

    Args:
        count: People that are shown.

    Raises:
        SettingsError: One does.
    """
    if "animate" in settings.mode and settings.motion is None:
        raise SettingsError("mode: animate shows a motion, and there is none", hint="--motion walk_2")
    if "animate" not in settings.mode and settings.motion is not None:
        raise SettingsError(
            f"motion: only animate shows it, and mode is {', '.join(settings.mode)}", hint="--mode animate"
        )
    if "interp" in settings.mode and count < 2:
        is_new = settings.people is None and not settings.pick
        found = f"number is {count}" if is_new else f"there is {count}"
        raise SettingsError(
            f"mode: interp goes from one person to another; {found}",
            hint="--number 2" if is_new else "--pick 0,1",
        )


def motion_of(settings: Infer, run: Run) -> Motion | None:
    """The motion of an animation, at the films' rate unless it is taken as published.

    Raises:
        DataError: There is no such motion.
    """
    if settings.motion is None:
        return None
    if path := motion_file(settings.motion):
        run.input(path, "motion")
    motion = read_motion(settings.motion)
    return motion if settings.animation == "published" else motion.resampled(settings.fps)


@dataclass
class Shooting:
    """One person before the camera; planes are made once, the surface if it is shown."""

    settings: Infer
    person: Person
    progress: Progress | None = None

    @property
    def side(self) -> int:
        """Pixels along a side of each panel."""
        return self.settings.size or self.person.people.generator.sizes.img_resolution

    def panels(self, given: Tensor, *, is_still: bool = True) -> Iterator[Panels]:
        """The panels of each of labels [F, 111].

        Args:
            is_still: The body keeps its pose, and turns as a whole.
        """
        wanted = self.settings.panels
        frames = self.person.frames(given, self.settings.batch, wants_normals="normal" in wanted)
        surfaces = self._surfaces(given, is_still) if "mesh" in wanted else repeat(None)
        for made, surface in zip(frames, surfaces, strict=False):
            yield panels(made, wanted, self.side, surface)

    def _surfaces(self, given: Tensor, is_still: bool) -> Iterator[Surface]:
        """The surface for each of labels; only in the pose that it is extracted in it is exact."""
        first = given[:1] if is_still else None
        surface = self.person.surface(self.settings.voxels, first, self.progress)
        posings = [Posing(self.person.people.template, one) for one in given.split(1)]
        for posing in posings:
            yield carried(surface, posings[0], posing) if is_still else skinned(surface, posing)

    def film(self, given: Tensor, *, is_still: bool, crop: str = "none") -> Film:
        """A film of labels [F, 111]."""

        def frames() -> Iterator[np.ndarray]:
            for found in self.panels(given, is_still=is_still):
                yield side_by_side(cropped(found, crop))

        return Film(frames, len(given), self.settings.fps, progress=self.progress)


@dataclass
class Work:
    """What is made of all people, and counted."""

    settings: Infer
    run: Run
    people: list[Person]
    motion: Motion | None
    origin: Origin
    pictures: int = 0
    shown: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """First panels of pictures, by the sheet that shows them."""

    def picture(self, shooting: Shooting) -> None:
        """The person in its own pose."""
        self._still(shooting, shooting.person.label, "samples", "")

    def canonical(self, shooting: Shooting) -> None:
        """The person at rest, arms out."""
        self._still(shooting, label.canonical_pose(shooting.person.label), "canonical", "_cano")

    def _still(self, shooting: Shooting, one: Tensor, name: str, suffix: str) -> None:
        made = next(shooting.panels(one))
        self.run.save(f"{shooting.person.number:05d}{suffix}.png", side_by_side(made))
        self.shown.setdefault(name, []).append(next(iter(made.values())))
        self.pictures += 1

    def views(self, shooting: Shooting) -> None:
        """A film from around the person."""
        given = around(shooting.person.label, self.settings)
        self._film(shooting, "", shooting.film(given, is_still=True, crop=self.settings.crop))

    def animation(self, shooting: Shooting) -> None:
        """A film of the person in motion."""
        assert self.motion is not None
        moved = animated(self.motion, shooting.person, self.settings)
        if shooting.person is self.people[0]:
            self._warn(moved, shooting.person)
        self._film(shooting, "_anim", shooting.film(moved, is_still=False))

    def _film(self, shooting: Shooting, suffix: str, film: Film) -> None:
        self.run.save(f"{shooting.person.number:05d}{suffix}.mp4", film)
        self.pictures += len(film)

    def _warn(self, moved: Tensor, person: Person) -> None:
        low, high = labels.extent(person.people.template.body, moved)
        is_cut = torch.maximum(-low[:, :2], high[:, :2]).amax(dim=1) > SEEN
        if is_cut.any():
            self.run.log.warning(
                "the body reaches beyond the picture in %d of %d frames", int(is_cut.sum()), len(moved)
            )

    def blends(self) -> None:
        """Steps from each person of the first half to one of the second."""
        half = len(self.people) // 2
        for first, second in zip(self.people[:half], self.people[half : 2 * half], strict=True):
            steps = [
                next(Shooting(self.settings, one, self.run.progress).panels(one.label))
                for one in first.towards(second, self.settings.steps)
            ]
            self.run.save(f"{first.number:05d}_interp.png", strip(steps))
            self.pictures += len(steps)

    def sheets(self) -> None:
        """All people on one picture."""
        for name, pictures in self.shown.items():
            if len(pictures) > 1:
                self.run.save(f"{name}.png", sheet(pictures))

    def arrays(self) -> dict[str, Any]:
        """What the people are, as `--people` takes them."""
        ws, given = torch.cat([one.ws for one in self.people]), torch.cat([one.label for one in self.people])
        return people_files.arrays(ws, given, [one.number for one in self.people], self.origin)


def around(one: Tensor, settings: Infer) -> Tensor:
    """Labels of a film from around a person [F, 111]."""
    path = "swing" if settings.camera == "auto" else settings.camera
    count = settings.frames or (len(labels.swing()) if path == "swing" else ORBIT)
    return labels.turned(one, degrees(path, count, settings), settings.elevation)


def animated(motion: Motion, person: Person, settings: Infer) -> Tensor:
    """Labels of a film of a person in motion [F, 111]."""
    if settings.animation == "published":
        made = labels.published_of_motion(motion, person.label)
    else:
        length = settings.frames or LONGEST
        made = labels.of_motion(motion[:length], person.label, person.people.template.body)
    made = made[: settings.frames or LONGEST]
    path = "still" if settings.camera == "auto" else settings.camera
    return labels.turned(made, degrees(path, len(made), settings), settings.elevation)


def degrees(path: str, count: int, settings: Infer) -> Tensor:
    """Where the camera is in each frame of a film, degrees around the person [count]."""
    frames = torch.arange(count)
    if path == "swing":
        there = labels.swing()[frames % len(labels.swing())].float()
    elif path == "orbit":
        there = 360 * settings.turns * frames / count
    else:
        there = torch.zeros(count)
    return there + settings.azimuth
