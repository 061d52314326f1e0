"""The user's own pictures: each with its camera, the people in it, and the room."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from avatarctl.errors import DataError, SettingsError
from avatarctl.files import check_input_file
from avatarctl_ego_hmr import keypoints
from avatarctl_ego_hmr.detect import Detector, MediaPipe
from avatarctl_ego_hmr.egobody.meshes import UNREADABLE
from avatarctl_ego_hmr.keypoints import Person
from avatarctl_ego_hmr.lens import AXES, Lens, Lenses
from avatarctl_ego_hmr.room import Scan, read_scan
from avatarctl_ego_hmr.scene_check import FILE, drawn, in_picture
from avatarctl_ego_hmr.settings import box_of
from avatarctl_ego_hmr.sightings import Window, in_camera, in_scene, joined
from avatarctl_ego_hmr.views import View
from avatarctl_ego_hmr.warp import crop_view

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings import Infer

ROOM = "room.ply"
"""The room in a run's folder, where its own file has other axes or another unit."""
SQUARE = 0.03
"""How far the two focal lengths may differ; networks know one."""
FEWEST_SEEN = 0.005
"""Share of the room's points that a picture has to see."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned."""


class OwnPictures:
    """Pictures of one's own; what can be wrong with files is found before any network is loaded.

    Raises:
        DataError: A picture has no camera or no keypoints, or the room cannot be used.
        SettingsError: There are not as many boxes as pictures.
        DependencyError: Keypoints have to be detected, and what does it is not installed.
    """

    def __init__(self, settings: Infer, run: Run) -> None:
        self.settings, self.run = settings, run
        self.pictures = [run.input(check_input_file(path, "a picture"), "images") for path in settings.images]
        self.count = len(self.pictures)
        self.boxes = [box_of(words) for words in settings.box]
        if self.boxes and len(self.boxes) != self.count:
            raise SettingsError(
                f"box: found {len(self.boxes)}; there are {self.count} pictures",
                hint="give one --box for each picture, in their order",
            )
        assert settings.scene is not None
        assert settings.camera is not None
        lenses = Lenses.read(run.input(settings.camera, "camera"))
        own = [lenses.of(picture) for picture in self.pictures]
        self.is_placed = all(lens.world_from_camera is not None for lens in own)
        self.scan = self._scan(run.input(settings.scene, "scene"), own)
        self.lenses = [self.scan.lens(lens) for lens in own]
        self.files = (
            None if settings.keypoints is None else keypoints.files_of(settings.keypoints, self.pictures)
        )
        for path in dict.fromkeys(self.files or []):
            run.input(path, "keypoints")
        if self.files is None and settings.detector == "none" and not self.boxes:
            raise SettingsError(
                "detector: none, so somebody has to say who is in the pictures",
                hint="--keypoints FILE, or --box LEFT:TOP:WIDTH:HEIGHT",
            )
        self.detector: Detector | None = None
        if self.files is None and settings.detector != "none":
            self.detector = MediaPipe.load(settings.detector_models)

    @cached_property
    def room(self) -> str:
        """The room's file with y up in metres; it is written where the user's own has other axes."""
        if not self.scan.is_changed:
            return str(self.scan.path.absolute())
        self.run.log.info("%s is the room with y up, metres, as all results are", self.run.path(ROOM))
        return str(self.run.save(ROOM, self.scan.as_mesh()).absolute())

    def windows(self, size: int) -> Iterator[Window]:
        """The people in windows of so many at most."""
        waiting: list[Window] = []
        for index in self.run.progress(range(self.count), "pictures", self.count):
            waiting += self._people(index)
            while len(waiting) >= size:
                yield joined(waiting[:size])
                waiting = waiting[size:]
        if waiting:
            yield joined(waiting)

    def around(self, window: Window, row: int, transl: np.ndarray) -> np.ndarray:
        """Points of the room around a person; see `Sightings`."""
        return self.scan.around(in_scene(transl, window.camera_from_scene[row]))

    def check(self) -> None:
        """Draw the room's points over the first picture, and warn where it sees next to none of them.

        Raises:
            DataError: The room is not in front of the camera.
        """
        picture = self.pictures[0]
        photo = read_picture(picture, self.run.log)
        lens = self._fitted(0, photo)
        seen = in_picture(self.scan.points, lens, photo.shape[:2])
        self.run.save(FILE, drawn(photo, lens, self.scan))
        share = float(seen.mean())
        if share < FEWEST_SEEN:
            self.run.log.warning(
                "%s: sees %.1f%% of the room's points; look at %s: do camera and room agree?",
                picture, 100 * share, self.run.path(FILE),
            )  # fmt: skip

    def _scan(self, path: Path, lenses: Sequence[Lens]) -> Scan:
        scan = read_scan(
            path,
            lenses,
            self.settings.scene_up,
            self.settings.scene_unit,
            self.run.log.info,
            self.run.log.warning,
        )
        if not len(scan.mesh.faces):
            self.run.log.info("%s: has no faces; its points are used, and drawn as such", path)
        return scan

    def _fitted(self, index: int, photo: np.ndarray) -> Lens:
        rows, columns = photo.shape[:2]
        assert self.settings.camera is not None
        lens = self.lenses[index].fitted((columns, rows), self.pictures[index], self.settings.camera)
        if not index and abs(lens.fx / lens.fy - 1) > SQUARE:
            self.run.log.warning("fx is %.5g and fy %.5g; networks know fx alone", lens.fx, lens.fy)
        return lens

    def _people(self, index: int) -> list[Window]:
        """The people in a picture, a window of one each."""
        picture = self.pictures[index]
        photo = read_picture(picture, self.run.log)
        lens = self._fitted(index, photo)
        people = self._found(index, photo)
        for person in people:
            self._check_inside(picture, person, photo)
        if not people:
            self.run.log.warning("%s: nobody was found in it; it is left out", picture)
            return []
        camera_from_scene = lens.camera_from_world
        front = self.scan.in_front(camera_from_scene)
        if not len(front):
            hint = f"check world_from_camera: camera axes are {AXES}"
            if not self.is_placed:
                hint = "say in the camera file where the camera stood in the room: world_from_camera"
            raise DataError(f"{picture}: no point of {self.scan.path} lies in front of the camera", hint=hint)
        points = in_camera([front], camera_from_scene[None])
        return [
            self._window(index, number, person, photo, lens, points) for number, person in enumerate(people)
        ]

    def _check_inside(self, picture: Path, person: Person, photo: np.ndarray) -> None:
        """Refuse a box beside the picture, which is what keypoints of another picture give, too."""
        rows, columns = photo.shape[:2]
        (x, y), half = person.centre, person.side / 2
        if not (-half < x < columns + half and -half < y < rows + half):
            raise DataError(
                f"{picture}: is {columns}x{rows}; the box around a person lies outside of it, "
                f"at {x - half:.0f}:{y - half:.0f}:{2 * half:.0f}:{2 * half:.0f}",
                hint="give boxes and keypoints in pixels of this picture",
            )

    def _found(self, index: int, photo: np.ndarray) -> list[Person]:
        found: list[np.ndarray] = []
        if self.files is not None:
            found = keypoints.whole(keypoints.read_openpose(self.files[index]))
        elif self.detector is not None:
            found = keypoints.whole(self.detector(photo))
        if self.boxes:
            box = self.boxes[index]
            meant = keypoints.in_box(found, box)
            if meant is None and (self.files is not None or self.detector is not None):
                self.run.log.warning(
                    "%s: no keypoints in the box; all joints count as seen", self.pictures[index]
                )
            return [Person.boxed(meant, box)]
        return [Person.of(one) for one in found]

    def _window(
        self, index: int, number: int, person: Person, photo: np.ndarray, lens: Lens, points: torch.Tensor
    ) -> Window:
        name = str(self.pictures[index])
        view = View(
            image=crop_view(photo, person.centre, person.side)[None],
            focal=torch.tensor([lens.fx]).float(),
            centre=torch.tensor([[lens.cx, lens.cy]]).float(),
            box_centre=torch.tensor([person.centre]).float(),
            box_size=torch.tensor([person.side]).float(),
            points=points,
            detected=torch.from_numpy(person.detected)[None],
        )
        return Window(
            view=view,
            names=[name],
            keys=[f"{self.pictures[index].name}/{number}"],
            rooms=[self.room],
            sizes=np.array([[photo.shape[1], photo.shape[0]]]),
            camera_from_scene=lens.camera_from_world[None],
            true_transl=np.full((1, 3), np.nan, np.float32),
            known_transl=np.full((1, 3), np.nan, np.float32),
        )


def read_picture(path: Path, log: logging.Logger) -> np.ndarray:
    """A picture as it is stored, whatever its EXIF says, RGB uint8 [H, W, 3].

    Raises:
        DataError: It cannot be read.
    """
    check_input_file(path, "a picture")
    try:
        with Image.open(path) as image:
            if image.getexif().get(ORIENTATION, 1) != 1:
                log.warning("%s: its EXIF tag turns it for viewers; it is used as it is stored", path)
            return np.asarray(image.convert("RGB"))
    except UNREADABLE as error:
        reason = str(error).partition("<")[0].strip() or type(error).__name__
        raise DataError(
            f"{path}: cannot be read as a picture: {reason}", hint="save it again as PNG or JPEG"
        ) from error
