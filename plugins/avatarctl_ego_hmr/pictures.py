"""Pictures of recovered bodies: over the photo, in the room from any side, side by side, and going around.

Scene axes have y up, camera axes are x right, y down, z forward; metres. Pixel coordinates of cameras and
boxes in results count the middle of the first pixel as 0, those of `Camera` as 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at
from avatarctl.motion.motion import Z_FROM_Y
from avatarctl.render.pixels import as_bytes
from avatarctl.render.stage import COLOURS
from avatarctl.render.video import Film, Progress
from avatarctl_ego_hmr.drawing import OTHERS, Canvas, Figures, Room, draw

PUBLISHED = (1.0, 193 / 255, 193 / 255)
"""Colour of a body in the published pictures (spec 8)."""
SAMPLES = (PUBLISHED, *(COLOURS[index] for index in (2, 4, 3, 1)))
"""Colours of samples that stay apart from each other and from `TRUTH`."""
TRUTH = COLOURS[0]
"""Colour of a true body; the published viewer shows it in blue."""
GREEN, BOX_LINE = (0, 255, 0), 3
"""The box around the person in the published pictures, and the width of its line, pixels."""
STILL, FILM = 3, 2
"""Samples along each side of a pixel: films move, stills are looked at longer."""
MOST_SAMPLES = 4_500_000
"""Of a whole picture; larger pictures get fewer for each pixel."""
VIEW = math.radians(40)
"""What the shorter side of a picture of the room sees."""
FILLED = 0.6
"""Share of the picture that the bodies fill."""
NEAREST = 2.6
"""Least distance from the bodies, metres, so that some of the room is seen."""
AZIMUTHS = tuple(math.radians(angle) for angle in (40, -40, 65, -65, 15))
"""Sides from which a still of the room may be taken, counted from where the picture was taken."""
ELEVATION = math.radians(24)
"""How far cameras look down."""
SKETCH, BETTER = (96, 96), 1.15
"""Rows and columns of the pictures that choose the side, and how much better than one before it has to be."""
SECTORS, AROUND, WALL = 12, 9, (1.0, 2.2)
"""A room has walls all around with something between these heights in so many sectors around the bodies."""
SWING = math.radians(75)
"""Else a film swings so far to both sides of the picture's own view."""


def colours_of(samples: int) -> list[tuple[float, float, float]]:
    """Colours of so many samples: the published one first, then muted ones."""
    return [SAMPLES[index % len(SAMPLES)] for index in range(samples)]


def picture_camera(focal: float, centre: Sequence[float]) -> Camera:
    """The camera of a picture in its own axes.

    Args:
        focal: Pixels.
        centre: Principal point (x, y), the middle of the first pixel being 0.
    """
    x, y = (float(value) + 0.5 for value in centre)
    intrinsics = torch.tensor([[float(focal), 0.0, x], [0.0, float(focal), y], [0.0, 0.0, 1.0]])
    return Camera(intrinsics, torch.eye(3), torch.zeros(3))


def placed(camera: Camera, camera_from_scene: Tensor) -> Camera:
    """A camera of camera axes as one of scene axes [4, 4]."""
    matrix = camera_from_scene.to(camera.rotation)
    turn = camera.rotation @ matrix[:3, :3]
    return Camera(camera.intrinsics, turn, camera.rotation @ matrix[:3, 3] + camera.translation)


def with_box(photo: np.ndarray, centre: Sequence[float], side: float) -> np.ndarray:
    """A photo with the box that was cropped, in green; uint8 [H, W, 3] like the photo."""
    made = photo.copy()
    rows, columns = made.shape[:2]
    (left, right), (top, bottom) = (
        (round(float(middle) - side / 2), round(float(middle) + side / 2)) for middle in centre
    )
    half = BOX_LINE // 2
    across = slice(max(left - half, 0), max(min(right + half + 1, columns), 0))
    along = slice(max(top - half, 0), max(min(bottom + half + 1, rows), 0))
    for row in (top, bottom):
        made[max(row - half, 0) : max(row + half + 1, 0), across] = GREEN
    for column in (left, right):
        made[along, max(column - half, 0) : max(column + half + 1, 0)] = GREEN
    return made


@dataclass(frozen=True)
class Stage:
    """Bodies, and the room around them where there is one, in axes for drawing."""

    figures: Figures
    room: Room | None
    turn: Tensor
    shift: Tensor

    @staticmethod
    def of(
        vertices: Tensor,
        faces: Tensor,
        room: Room | None = None,
        colours: Sequence[tuple[float, float, float]] = (),
        *,
        up: Tensor | None = None,
        opacity: float = OTHERS,
        backend: str = "auto",
    ) -> Stage:
        """Bodies with the room around them.

        Args:
            vertices: Metres [S, V, 3].
            faces: [F, 3].
            room: In the same axes.
            colours: Of each body; left out: `colours_of`.
            up: Direction that is up [3]; left out: y.
            opacity: Of all bodies but the first.
        """
        turn = _upright(up).to(vertices)
        turned = vertices @ turn.T
        shift = torch.stack([turned.new_zeros(()), turned.new_zeros(()), -turned[..., 2].min()])
        opaque = torch.full((len(vertices),), opacity)
        opaque[:1] = 1
        paint = torch.tensor(list(colours) or colours_of(len(vertices)))
        figures = Figures((turned + shift).float(), faces, paint, opaque, backend)
        moved = None if room is None else room.moved(turn, shift)
        return Stage(figures, moved, turn.float(), shift.float())

    def seen_by(self, camera: Camera) -> Stage:
        """The same for a room whose faces a camera of the same axes sees from outside."""
        if self.room is None:
            return self
        return replace(self, room=self.room.facing(self._own(camera).centre))

    def over(self, photo: np.ndarray, camera: Camera) -> np.ndarray:
        """The bodies over a photo, whole, whatever stands before them; uint8 [H, W, 3] like the photo."""
        own, size = self._own(camera), (photo.shape[0], photo.shape[1])
        background = torch.tensor(photo).permute(2, 0, 1).float() / 255
        return _pixels(draw(self.figures, own, _canvas(size, STILL), background))

    def picture(
        self, camera: Camera, size: tuple[int, int], *, samples: int = STILL, is_open: bool = False
    ) -> np.ndarray:
        """Bodies and room as a camera sees them, uint8 [H, W, 3].

        Args:
            is_open: The room is cut open where it hides the bodies.
        """
        own = self._own(camera)
        return _pixels(draw(self.figures, own, _canvas(size, samples), self.room, is_open=is_open))

    def orbit(self, camera: Camera, azimuth: float, size: tuple[int, int]) -> Camera:
        """A camera that looks at the bodies from aside and above.

        Args:
            camera: Where the picture was taken; angles are counted from there.
            azimuth: To the right of it, as it sees the bodies, radians.
            size: Rows and columns.
        """
        own, middle = self._own(camera), self.figures.middle
        towards = own.centre - middle
        start = math.atan2(float(towards[1]), float(towards[0])) if towards[:2].norm() > 1e-6 else 0.0
        level, angle = math.cos(ELEVATION), start + azimuth
        way = torch.tensor([level * math.cos(angle), level * math.sin(angle), math.sin(ELEVATION)])
        half = FILLED * math.tan(VIEW / 2)
        reach = float((self.figures.vertices - middle).flatten(0, 1).norm(dim=-1).max())
        eye = middle + max(NEAREST, reach / half) * way
        view = look_at(eye, middle, torch.tensor([0.0, 0.0, 1.0]))
        return self._given(Camera(intrinsics_from_view(VIEW, size), *view))

    def side(self, camera: Camera, size: tuple[int, int]) -> Camera:
        """Of several cameras aside of the picture's, the one that sees most of the bodies."""
        best, most = self.orbit(camera, AZIMUTHS[0], size), -1
        for azimuth in AZIMUTHS if self.room is not None else ():
            found = self.orbit(camera, azimuth, SKETCH)
            count = self._seen(found)
            if count > BETTER * most:
                best, most = self.orbit(camera, azimuth, size), count
        return best

    def turntable(
        self,
        camera: Camera,
        size: tuple[int, int],
        *,
        length: int = 60,
        fps: float = 15.0,
        progress: Progress | None = None,
    ) -> Film:
        """A film that goes around the bodies from where the picture was taken, or swings to both sides.

        It swings where the scan holds one side of the room only, of which nothing is seen from behind.

        Args:
            size: Rows and columns.
            length: Frames.
        """

        turns = 2 * math.pi * torch.arange(length) / length
        azimuths = (turns if self._is_surrounded() else SWING * turns.sin()).tolist()

        def make() -> Iterator[np.ndarray]:
            for azimuth in azimuths:
                own = self._own(self.orbit(camera, azimuth, size))
                canvas = _canvas(size, FILM)
                yield _pixels(draw(self.figures, own, canvas, self.room, is_open=True))

        return Film(make, length, fps, progress)

    def _is_surrounded(self) -> bool:
        """Whether the room is on all sides of the bodies, or there is none."""
        if self.room is None:
            return True
        x, y, z = self.room.vertices.unbind(-1)
        angle = torch.atan2(y - self.figures.middle[1], x - self.figures.middle[0])
        sector = ((angle / math.pi + 1) / 2 * SECTORS).long().clamp(max=SECTORS - 1)
        is_wall = (z > WALL[0]) & (z < WALL[1])
        counts = torch.bincount(sector[is_wall], minlength=SECTORS)
        return int((counts > 0.1 * is_wall.sum() / SECTORS).sum()) >= AROUND

    def _seen(self, camera: Camera) -> int:
        """Pixels of a sketch that see bodies, for a room that is cut open."""
        own, canvas = self._own(camera), Canvas(SKETCH, 1)
        solid = replace(self.figures, opacity=torch.ones(len(self.figures.vertices)))
        with_bodies = draw(solid, own, canvas, self.room, is_open=True)
        painted = replace(solid, colours=1 - solid.colours)
        return int((draw(painted, own, canvas, self.room, is_open=True) != with_bodies).any(0).sum())

    def _own(self, camera: Camera) -> Camera:
        """A camera of the axes that bodies were given in, in those for drawing."""
        turn = camera.rotation.float() @ self.turn.T
        return Camera(camera.intrinsics.float(), turn, camera.translation.float() - turn @ self.shift)

    def _given(self, camera: Camera) -> Camera:
        """The inverse of `_own`."""
        turn = camera.rotation @ self.turn
        return Camera(camera.intrinsics, turn, camera.translation + camera.rotation @ self.shift)


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of panels of one size, the whole halved as in the published pictures, uint8 [H, W, 3]."""
    whole = np.concatenate([np.concatenate(list(row), axis=1) for row in rows]).astype(np.uint16)
    height, width = (side // 2 * 2 for side in whole.shape[:2])
    four = [whole[down:height:2, right:width:2] for down in (0, 1) for right in (0, 1)]
    return ((four[0] + four[1] + four[2] + four[3] + 2) // 4).astype(np.uint8)


def _upright(up: Tensor | None) -> Tensor:
    """The rotation to axes with z up [3, 3]."""
    turn = torch.tensor(Z_FROM_Y)
    if up is None:
        return turn
    rise = torch.nn.functional.normalize(up.float(), dim=0)
    axis = torch.tensor([0.0, 0.0, 1.0]) if abs(float(rise[2])) < 0.9 else torch.tensor([1.0, 0.0, 0.0])
    right = torch.nn.functional.normalize(torch.linalg.cross(axis, rise), dim=0)
    return torch.stack([right, torch.linalg.cross(rise, right), rise])


def _canvas(size: tuple[int, int], samples: int) -> Canvas:
    while samples > 1 and samples**2 * size[0] * size[1] > MOST_SAMPLES:
        samples -= 1
    return Canvas(size, samples)


def _pixels(picture: Tensor) -> np.ndarray:
    """Values 0 to 1 [3, H, W] as uint8 [H, W, 3]."""
    return as_bytes(picture.permute(1, 2, 0))
