"""Recovered people with what they were found in: their bodies, photos, rooms and cameras."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.geometry.cameras import Camera
from avatarctl_ego_hmr.bodies import Body, People
from avatarctl_ego_hmr.drawing import Room
from avatarctl_ego_hmr.egobody.annotations import key_of, timestamp_of
from avatarctl_ego_hmr.egobody.files import KINECT, EgoBody
from avatarctl_ego_hmr.egobody.meshes import UNREADABLE, SceneMesh, read_mesh
from avatarctl_ego_hmr.egobody.transforms import Transforms
from avatarctl_ego_hmr.pictures import Stage, colours_of, picture_camera, placed, sheet, with_box
from avatarctl_ego_hmr.recovered import Recovered

Axes = Literal["scene", "camera", "kinect"]
KINECT_SIZE = (1080, 1920)
"""Rows and columns of the master Kinect's pictures (spec 2.1)."""


@dataclass
class Gallery:
    """Recovered people, the bodies they have, and the recordings that they are of.

    A person is named by its row; the room and the stage of the last one are kept.
    """

    found: Recovered
    people: People
    data: EgoBody | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        self._room: tuple[str, SceneMesh, Room] | None = None

    def __len__(self) -> int:
        return len(self.found)

    @cached_property
    def stems(self) -> list[str]:
        """What files about each person are called: the recording and the picture; numbered where equal."""
        names = [str(name) for name in self.found.names]
        if self.data is not None:
            names = [f"{key_of(name).split('/')[1]}_{PurePath(name).stem}" for name in names]
        else:
            names = [PurePath(name.replace("\\", "/")).stem for name in names]
        often, count = Counter(names), Counter[str]()
        for row, name in enumerate(names):
            if often[name] > 1:
                names[row] = f"{name}_{count[name]}"
                count[name] += 1
        return names

    def body(self, row: int, samples: slice | list[int] = slice(None)) -> Body:
        """Bodies of a person in the axes of the picture's camera, one row for each sample."""
        betas, matrices, transl = (
            torch.from_numpy(np.asarray(array, np.float32))
            for array in (
                self.found.betas[row][samples],
                self.found.matrices[row][samples],
                self.found.transl[row],
            )
        )
        return self.people.posed(matrices, betas).moved(transl.expand(len(betas), 3))

    def matrix(self, row: int, axes: Axes) -> np.ndarray:
        """From the axes of a person's picture to others, float64 [4, 4].

        Raises:
            DataError: It is not known where the camera stood.
        """
        if axes == "camera":
            return np.eye(4)
        if axes == "kinect":
            return np.linalg.inv(self._transforms(row).camera_from_kinect(*self._moment(row)))
        camera_from_scene = self.found.camera_from_scene[row]
        if not np.isfinite(camera_from_scene).all():
            raise DataError(
                f"{self.found.names[row]}: where its camera stood in the room is not known",
                hint="avatarctl export ego-hmr ... --axes camera",
            )
        return np.linalg.inv(camera_from_scene)

    def moved(self, row: int, axes: Axes, points: Tensor) -> Tensor:
        """Points in the axes of a person's picture in others [..., 3]; errors as in `matrix`."""
        matrix = torch.from_numpy(self.matrix(row, axes)).to(points)
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def has_room(self, row: int) -> bool:
        """Whether the person's room is there, and where its camera stood in it."""
        return bool(self.found.rooms[row]) and bool(np.isfinite(self.found.camera_from_scene[row]).all())

    def mesh(self, row: int) -> SceneMesh:
        """The room of a person, y up, metres."""
        return self._loaded(str(self.found.rooms[row]))[0]

    def room(self, row: int) -> Room | None:
        """The same for drawing; None where it is not known."""
        return self._loaded(str(self.found.rooms[row]))[1] if self.has_room(row) else None

    def photo(self, row: int) -> np.ndarray:
        """The picture that a person was found in, uint8 [H, W, 3].

        Raises:
            DataError: It is not there, cannot be read, or has another size than the bodies were found in.
        """
        name = str(self.found.names[row])
        photo = _picture(Path(name)) if self.data is None else self.data.image(name)
        columns, rows = (int(side) for side in self.found.size[row])
        if photo.shape[:2] != (rows, columns):
            raise DataError(
                f"{name}: {photo.shape[1]}x{photo.shape[0]} pixels; the bodies were found in "
                f"{columns}x{rows}",
                hint="put the picture back that infer was given",
            )
        return photo

    def camera(self, row: int) -> Camera:
        """The camera of a person's picture, in scene axes where the room is known, else in its own."""
        camera = picture_camera(float(self.found.focal[row]), self.found.centre[row].tolist())
        if not self.has_room(row):
            return camera
        return placed(camera, torch.from_numpy(self.found.camera_from_scene[row]))

    def kinect(self, row: int) -> Camera | None:
        """The master Kinect's camera in scene axes; None where there is none."""
        if self.data is None or KINECT not in self.data.files:
            return None
        kinect_from_scene = self.data.transforms().kinect_from_scene(self._moment(row)[0])
        return placed(self.data.kinect_camera(), torch.from_numpy(kinect_from_scene))

    def stage(self, row: int, samples: slice | list[int] = slice(None)) -> Stage:
        """Bodies of a person, in their room where it is known."""
        vertices = self.body(row, samples).vertices
        faces, count = self.people.neutral.faces, self.found.num_samples
        colours = [colours_of(count)[index] for index in np.arange(count)[samples].tolist()]
        if not self.has_room(row):
            up = torch.tensor([0.0, -1.0, 0.0])
            return Stage.of(vertices, faces, None, colours, up=up, backend=self.backend)
        turned = self.moved(row, "scene", vertices)
        stage = Stage.of(turned, faces, self.room(row), colours, backend=self.backend)
        return stage.seen_by(self.camera(row))

    def sheet(self, row: int) -> np.ndarray:
        """The published picture of a person, uint8 [H, W, 3]: for each sample the photo with the box, the
        body over the photo, and the body in the room (spec 8).

        The room is seen by the master Kinect where there is one, else from aside, and left out where it is
        not known.
        """
        photo, camera, view = self.photo(row), self.camera(row), self.kinect(row)
        marked = with_box(photo, self.found.box_centre[row].tolist(), float(self.found.box_size[row]))
        size = (photo.shape[0], photo.shape[1])
        is_kinect = view is not None and size == KINECT_SIZE
        if self.has_room(row) and not is_kinect:
            view = self.stage(row).side(camera, size)
        rows = []
        for sample in range(self.found.num_samples):
            stage = self.stage(row, [sample])
            panels = [marked, stage.over(photo, camera)]
            if view is not None and self.has_room(row):
                panels.append(stage.picture(view, size, samples=1, is_open=not is_kinect))
            rows.append(panels)
        return sheet(rows)

    def _loaded(self, name: str) -> tuple[SceneMesh, Room]:
        if self._room is None or self._room[0] != name:
            mesh = read_mesh(Path(name)) if self.data is None else self.data.scene(name, "file")
            self._room = (name, mesh, Room.of(mesh.vertices, mesh.faces, mesh.colours))
        return self._room[1:]

    def _moment(self, row: int) -> tuple[str, str]:
        """The recording and the timestamp of a person's picture."""
        key = key_of(str(self.found.names[row]))
        return key.split("/")[1], timestamp_of(key)

    def _transforms(self, row: int) -> Transforms:
        if self.data is None:
            raise DataError(
                f"{self.found.names[row]}: a master Kinect is known in recordings of EgoBody only",
                hint="avatarctl export ego-hmr ... --axes scene",
            )
        return self.data.transforms()


def _picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found", hint="put the picture back that infer was given") from error
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as a picture", hint="copy it again") from error
