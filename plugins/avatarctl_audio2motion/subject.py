"""Whom generated numbers move: a skeleton, and a drawn avatar where its files are there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.wave import RATE, SILENT
from avatarctl.errors import AssetError, DataError
from avatarctl.export import formats
from avatarctl.motion import Motion
from avatarctl_audio2motion import person as people
from avatarctl_audio2motion.avatar.assets import (
    ASSETS,
    NETWORK,
    AvatarFiles,
    Views,
    find_folder,
    find_views,
    read_files,
    read_views,
)
from avatarctl_audio2motion.generated import FPS, Generated
from avatarctl_audio2motion.places import OPEN, avatar_folder, name_of

if TYPE_CHECKING:
    from avatarctl.render import Render
    from avatarctl.render.video import Film
    from avatarctl.runs import Run
    from avatarctl_audio2motion.avatar.film import Look

log = logging.getLogger(__name__)
HEIGHT = 720
"""Rows of a film of the open body."""
PIECE = 3000
"""Frames that are brought to the body at once."""
SOUND = "sound.flac"
"""The voices that a run moved somebody by."""


@dataclass(frozen=True)
class Subject:
    """A person by name, the skeleton where it is known, the folder of the drawn avatar where it is there."""

    name: str
    person: people.Person | None
    folder: Path | None = None
    why: str = ""
    """Why the skeleton is not known, where its file is there."""
    lacking: Path | None = None
    """The drawn avatar's file that is missing beside the skeleton."""

    @staticmethod
    def find(person: str, said: str, weights: Path) -> Subject:
        """The person of a setting (a name or a folder), else the one whom the weights name.

        Raises:
            AssetError: The setting's folder lacks the person's files.
        """
        name = name_of(person, said) or OPEN
        if name == OPEN:
            return Subject(OPEN, people.load())
        folder = avatar_folder(weights, person or said)
        if folder is None:
            return Subject(name, None)
        network = find_folder(folder) / NETWORK
        drawn = network.parent if network.is_file() else None
        try:
            return Subject(name, people.load(folder), drawn, lacking=None if drawn else network)
        except DataError as error:  # a drawn avatar needs no names of bones
            return Subject(name, None, drawn, f"{error.message}; {error.hint}")

    def require(self) -> people.Person:
        """The skeleton.

        Raises:
            AssetError: It is not known.
        """
        if self.person is None and self.why:
            raise DataError(self.why)
        if self.person is None:
            raise AssetError(
                f"the skeleton of {self.name} is not here: no checkpoints/ca_body/data/{self.name}/{ASSETS}, "
                "seen from the working folder and from the weights",
                hint=f"unpack {self.name}.tar.gz of the published renderer, or: --person FOLDER",
            )
        return self.person

    def require_film(self) -> None:
        """Check that a film can be made, before anything is generated for it.

        Raises:
            AvatarError: Neither the skeleton is known nor is there a drawn avatar, or files of that one are
                missing, broken or others.
        """
        if self.folder is None:
            self.require()
        else:
            _drawable(self.folder)

    def motion(self, pose: Tensor) -> Motion:
        """The motion of raw body poses [T, 104].

        Raises:
            AssetError: The skeleton is not known.
        """
        person = self.require()
        made = person.motion(pose[:PIECE], FPS)
        poses, roots = [made.poses], [made.root]
        for first in range(PIECE, len(pose), PIECE):  # each piece starts with the last frame before it
            piece = person.motion(pose[first - 1 : first + PIECE], FPS)
            poses.append(piece.poses[1:])
            roots.append(piece.root[1:] + (roots[-1][-1] - piece.root[0]))  # one floor for all
        return made.replace(poses=torch.cat(poses), root=torch.cat(roots))

    def film(
        self,
        pose: Tensor,
        codes: Tensor,
        sound: Tensor | None,
        render: Render,
        *,
        rows: int = 0,
        look: Look = "full",
        title: str = "",
    ) -> Film:
        """The person, or the open body where there is no drawn avatar, with sound.

        Args:
            pose: Raw body poses [T, 104].
            codes: Raw face codes [T, 256].
            sound: Both voices at 48 kHz [S, 2].
            rows: Height in pixels; 0 takes the avatar's own, or `HEIGHT`.
            title: Written over the open body.
        """
        track = None if sound is None else (audible(sound).numpy(), RATE)
        if self.folder is None:
            size = (rows or HEIGHT, rows or HEIGHT)
            return self.require().film(pose, codes, sound=track, render=render, size=size, title=title)
        from avatarctl_audio2motion.avatar import film as drawn
        from avatarctl_audio2motion.avatar.avatar import Avatar

        files, views = _drawable(self.folder)
        views = drawn.at_height(views, rows) if rows else views
        avatar = Avatar(files, render.device)
        return drawn.film(avatar, pose, codes, views, sound=track, render=render, look=look)

    @property
    def shown(self) -> str:
        """Who is seen in a film."""
        if self.folder is not None:
            return f"the drawn avatar of {self.name}"
        if self.name == OPEN:
            return "the open body"
        why = f"{self.lacking} is missing" if self.lacking else f"there is no avatar of {self.name}"
        return f"the open body, as {why}"


def _drawable(folder: Path) -> tuple[AvatarFiles, Views]:
    """The files of a drawn avatar, and the views it is seen from."""
    files = read_files(folder)
    return files, read_views(find_views(files.folder), files.picture_size())


def audible(sound: Tensor) -> Tensor:
    """The voices [S, 2] for the ear: a silent partner is left out, so that a voice is heard on both sides."""
    return sound if float(sound[:, 1].abs().max()) >= SILENT else sound[:, :1]


def whole(made: Generated, index: int) -> tuple[Tensor, Tensor]:
    """Body poses [T, 104] and face codes [T, 256] of a result; what was not generated rests."""

    def part(motion: Tensor | None) -> Tensor:
        if motion is not None:
            return motion[index]
        assert made.rest is not None
        return made.rest.expand(made.frames, -1)

    return part(made.body), part(made.face)


def filming(film: Film, run: Run, name: str = "film") -> Film:
    """A film that says in the run's progress what is drawn."""
    return replace(film, progress=lambda frames, _, total: run.progress(frames, f"drawing {name}", total))


def tiled(films: Sequence[Film]) -> Film:
    """Films of equal size, length and rate in rows of two, or one below the other where there are two."""
    across = 1 if len(films) < 3 else 2

    def make() -> Iterator[np.ndarray]:
        for frames in zip(*(one.frames() for one in films), strict=True):
            blank = [np.full_like(frames[0], 255)] * (-len(frames) % across)
            tiles = [*frames, *blank]
            rows = [
                np.concatenate(tiles[start : start + across], 1) for start in range(0, len(tiles), across)
            ]
            yield np.concatenate(rows)

    return replace(films[0], make=make)


def save_formats(
    name: str, to: Iterable[str], motion: Motion, run: Run, body_models: Path | None = None
) -> list[Path]:
    """Write a motion in formats; the files."""
    declared, written = run.declared_formats, []
    for one in dict.fromkeys(to):
        path = run.path(f"{name}{formats.suffix(one, declared)}")
        body = run.bodies.load("smplh", motion.gender, body_models)
        formats.write(motion, body, one, path, declared, render=run.render)
        run.output(path, "motion" if one == "npz" else one)
        written.append(path)
    return written
