"""Pictures and films of bodies in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.motion import Motion
from avatarctl.render.paint import Floor, Painter
from avatarctl.render.pixels import as_bytes
from avatarctl.render.rasterize import backend_of
from avatarctl.render.stage import COLOURS, Actor, Cast, Path, follow
from avatarctl.render.video import Film, Progress

CHUNK = 16
"""Frames whose bodies are skinned together."""
WORKERS = 4
"""Most frames painted at a time."""
FILM_SAMPLES, STILL_SAMPLES = 2, 3
"""Samples along each side of a pixel: films move, stills are looked at longer."""
INK = (70, 74, 82)
"""Colour of writing."""


class Render:
    """Makes pictures and films of moving bodies.

    Args:
        device: Where bodies are skinned and drawn.
        backend: The rasteriser: "auto", "torch", "numba" or "pytorch3d".
        progress: Wraps the frames of a film while it is written; see `Film`.
    """

    def __init__(
        self, device: torch.device | str = "cpu", backend: str = "auto", progress: Progress | None = None
    ) -> None:
        self.device, self.backend, self.progress = torch.device(device), backend, progress

    def using(self, backend: str) -> Render:
        """The same with another rasteriser.

        Raises:
            SettingsError: There is no such rasteriser.
            DependencyError: It is not installed.
        """
        backend_of(backend, self.device)
        return Render(self.device, backend, self.progress)

    def film(
        self,
        panels: Sequence[Sequence[Actor]],
        *,
        size: tuple[int, int] = (512, 512),
        fps: float = 30.0,
        titles: Sequence[str] = (),
        joints: Sequence[int] = (),
    ) -> Film:
        """A film of panels side by side, all seen by the same camera, which follows the bodies.

        Args:
            panels: The actors of each panel.
            size: Rows and columns of one panel.
            titles: Written over the panels, left to right.
            joints: What the camera keeps in the picture, with the crown; all joints when left out.

        Raises:
            DataError: A motion cannot be shown.
        """
        return self._film(panels, size, fps, titles, FILM_SAMPLES, joints)

    def motion(
        self,
        motion: Motion,
        body: BodyModel,
        *,
        size: tuple[int, int] = (512, 512),
        fps: float = 30.0,
        title: str = "",
        colour: tuple[float, float, float] = COLOURS[0],
    ) -> Film:
        """A film of one body moving."""
        return self.film([[Actor(motion, body, colour)]], size=size, fps=fps, titles=[title])

    def picture(
        self, actors: Sequence[Actor], *, frame: int = 0, size: tuple[int, int] = (512, 512)
    ) -> Tensor:
        """A still with values 0 to 1 [H, W, 3].

        Args:
            frame: Of the motions; those that are shorter show their last one.
            size: Rows and columns.
        """
        still = [actor.still(frame) for actor in actors]
        film = self._film([still], size, 1.0, (), STILL_SAMPLES)
        return torch.from_numpy(next(film.frames())).float() / 255

    def _film(
        self,
        panels: Sequence[Sequence[Actor]],
        size: tuple[int, int],
        fps: float,
        titles: Sequence[str],
        samples: int,
        joints: Sequence[int] = (),
    ) -> Film:
        casts = [[self._cast(actor, fps) for actor in actors] for actors in panels]
        path = follow([cast for panel in casts for cast in panel], size, fps, joints)
        scene = _Scene(casts, path, size, self.backend, samples)
        writing = _writing(panels, titles, size)

        def make() -> Iterator[np.ndarray]:
            for frame in scene.frames():
                for words in writing:
                    words.on(frame)
                yield frame

        return Film(make, len(path), fps, self.progress)

    def _cast(self, actor: Actor, fps: float) -> Cast:
        body = actor.body if actor.body.template.device == self.device else actor.body.to(self.device)
        return Cast(replace(actor, body=body), fps)


@dataclass(frozen=True)
class _Scene:
    """Panels of casts under one camera path."""

    panels: list[list[Cast]]
    path: Path
    size: tuple[int, int]
    backend: str
    samples: int

    def frames(self) -> Iterator[np.ndarray]:
        """The frames without writing, uint8 [H, W, 3], panels side by side; several are painted at a time."""
        floor = Floor(self.path.camera(0), self.size)
        painters = [_painter(casts, floor, self.backend, self.samples) for casts in self.panels]

        def paint(frame: int, bodies: list[Tensor]) -> np.ndarray:
            camera, target = self.path.camera(frame), self.path.target[frame]
            each = zip(painters, bodies, strict=True)
            picture = torch.cat([painter.paint(body, camera, target) for painter, body in each], dim=2)
            return as_bytes(picture.permute(1, 2, 0))

        with ThreadPoolExecutor(min(WORKERS, torch.get_num_threads())) as pool:
            for first in range(0, len(self.path), CHUNK):
                frames = range(first, min(first + CHUNK, len(self.path)))
                bodies = [_vertices(casts, frames) for casts in self.panels]
                yield from pool.map(paint, frames, [list(frame) for frame in zip(*bodies, strict=True)])


def _vertices(casts: list[Cast], frames: range) -> Tensor:
    """Vertices of all bodies one after the other, metres [T, V, 3]."""
    return torch.cat([cast.vertices(cast.frames(frames.start, frames.stop)) for cast in casts], dim=1)


def _painter(casts: list[Cast], floor: Floor, backend: str, samples: int) -> Painter:
    bodies = [cast.actor.body for cast in casts]
    starts = np.cumsum([0, *(len(body.template) for body in bodies)])
    faces = torch.cat([body.faces + int(start) for body, start in zip(bodies, starts[:-1], strict=True)])
    colours = [_colours(cast.actor, body.template) for cast, body in zip(casts, bodies, strict=True)]
    return Painter(faces, torch.cat(colours), floor, backend, samples)


def _colours(actor: Actor, template: Tensor) -> Tensor:
    """The colours of an actor's vertices [V, 3]."""
    if actor.colours is not None:
        return actor.colours.to(template)
    return template.new_tensor(actor.colour).expand(len(template), 3)


@dataclass(frozen=True)
class _Words:
    """Writing on a frame: place, colour times opacity [h, w, 3], what it leaves of the frame [h, w, 1]."""

    top: int
    left: int
    ink: np.ndarray
    rest: np.ndarray

    @staticmethod
    def of(
        text: str,
        place: tuple[int, int],
        height: int,
        *,
        room: int,
        dot: tuple[float, float, float] | None = None,
    ) -> _Words:
        """Text with its left upper corner at a place (left, top), after a dot of some colour.

        Args:
            height: Of the letters, pixels.
            room: Columns that there are; longer text is cut off.
        """
        font = ImageFont.load_default(size=height)
        indent = round(1.1 * height) if dot else 0
        width = min(indent + round(font.getlength(text)) + 2, room)
        image = Image.new("RGBA", (width, round(1.4 * height)), (*INK, 0))
        draw = ImageDraw.Draw(image)
        if dot:
            inner = (0.15 * height, 0.35 * height, 0.85 * height, 1.05 * height)
            draw.ellipse(inner, fill=(*(round(255 * part) for part in dot), 255))
        draw.text((indent, 0.1 * height), text, fill=(*INK, 255), font=font)
        pixels = np.asarray(image, np.float32)
        share = pixels[..., 3:] / 255
        return _Words(place[1], place[0], pixels[..., :3] * share, 1 - share)

    def on(self, frame: np.ndarray) -> None:
        """Write on a frame, in place."""
        part = frame[self.top : self.top + len(self.ink), self.left : self.left + self.ink.shape[1]]
        rows, columns = part.shape[:2]
        part[:] = (part * self.rest[:rows, :columns] + self.ink[:rows, :columns] + 0.5).astype(np.uint8)


def _writing(panels: Sequence[Sequence[Actor]], titles: Sequence[str], size: tuple[int, int]) -> list[_Words]:
    """Titles at the top left of their panels, labels of the actors at the bottom left."""
    rows, columns = size
    height = max(12, round(min(size) / 24))
    words, room = [], max(1, columns - 2 * height)
    for index, actors in enumerate(panels):
        left = index * columns + height
        if index < len(titles) and titles[index]:
            words.append(_Words.of(titles[index], (left, round(0.8 * height)), height, room=room))
        labelled = [actor for actor in actors if actor.label]
        for line, actor in enumerate(reversed(labelled)):
            top = max(0, rows - round((1.5 * line + 2.2) * height))
            words.append(_Words.of(actor.label, (left, top), height, room=room, dot=actor.colour))
    return words
