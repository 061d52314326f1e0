"""Recordings of EgoBody, or in its layout, as infer goes through them; their scene points may be prepared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from avatarctl.device.noise import Noise
from avatarctl.errors import DataError
from avatarctl_ego_hmr import crops
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.crops import Room, cube_around_place
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import Annotations, annotation_file, key_of, timestamp_of
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import moved
from avatarctl_ego_hmr.egobody.translations import find_translations, read_translations
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.recovered import FILE, read_recovered
from avatarctl_ego_hmr.room import POINTS
from avatarctl_ego_hmr.sightings import Window, in_scene

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings import Infer
    from avatarctl_ego_hmr.settings_evaluate import Evaluate


class Unprepared(EgoBody):
    """EgoBody whose scene points are chosen when they are asked for, unless they were prepared.

    Args:
        seed: Turns cubes around predicted places, as a preparation with this seed does.
    """

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root)
        self.seed = seed
        self.places: dict[str, np.ndarray] = {}
        """Of frames by their keys, where bodies are, in camera axes [3]."""
        self._grid: tuple[str, Room] | None = None
        self._lock = Lock()

    def front_points(self, split: str) -> prepared.Points:
        """Points in front of the camera; see `EgoBody`."""
        return super().front_points(split) if self.is_prepared("front", split) else self._in_front

    def cube_points(self, kind: Literal["gt", "pred"], split: str) -> prepared.Points:
        """Points around the body; see `EgoBody`."""
        step: prepared.Step = "cube-gt" if kind == "gt" else "cube-predicted"
        if self.is_prepared(step, split):
            return super().cube_points(kind, split)
        return lambda name: self.around(name, self.places[key_of(name)])

    def is_prepared(self, step: prepared.Step, split: str) -> bool:
        """Whether the points of a split are there."""
        folders = [f"{prepared.FOLDERS[step]}{end}" for end in ("", "_release")]
        if step == "front":
            wanted = prepared.front_files(split)
            return any(all(f"{name}/{file}" in self.files for file in wanted) for name in folders)
        zipped = tuple(f"{name}/{split}/" for name in folders)
        is_unpacked = any((self.root / name).is_dir() for name in zipped)
        return is_unpacked or any(name.startswith(zipped) for name in self.files.members)

    def around(self, name: str, transl: np.ndarray) -> np.ndarray:
        """Points in a cube around a place in camera axes [3], in scene axes, float64 [N, 3].

        Raises:
            DataError: There are none.
        """
        key, room = key_of(name), self._room(name)
        place = in_scene(transl, self.camera_from_scene(name))
        found = room.inside(cube_around_place(place, Noise.seeded(self.seed, f"cube/{key}")))
        return room.vertices[self._thinned(key, found, "around the body")]

    def camera_from_scene(self, name: str) -> np.ndarray:
        """Where a picture was taken, float64 [4, 4]."""
        return self.transforms().camera_from_scene(*_moment(name))

    def _in_front(self, name: str) -> np.ndarray:
        """Points before the camera, in the master Kinect's axes, float64 [N, 3]."""
        room, recording = self._room(name), _moment(name)[0]
        found = self._thinned(
            key_of(name), room.in_front(self.camera_from_scene(name)), "in front of the camera"
        )
        return moved(room.vertices[found], self.transforms().kinect_from_scene(recording))

    def _room(self, name: str) -> Room:
        scene = self.scene_of(_moment(name)[0])
        with self._lock:  # pictures are read by several threads
            if self._grid is None or self._grid[0] != scene:
                self._grid = (scene, Room(self.scene(scene).vertices))
            return self._grid[1]

    def _thinned(self, key: str, found: np.ndarray, where: str) -> np.ndarray:
        if not len(found):
            raise DataError(
                f"{key}: no points of scene {self.scene_of(_moment(key)[0])} {where}",
                hint="check transforms and scan",
            )
        return crops.thinned(found, POINTS)


class Recordings:
    """The people of a split.

    Raises:
        DataError: A file is missing, or translations are of other frames.
    """

    def __init__(self, settings: Infer | Evaluate, run: Run, people: People) -> None:
        assert settings.data is not None
        self.run = run
        self.data = Unprepared(settings.data, run.seed)
        files = self.data.files
        run.input(files.source(annotation_file(files, settings.split)), "data")
        frames = self.data.annotations(settings.split)
        self.data.check_upright(frames)
        self.indices = range(0, len(frames), settings.every)
        self.count = len(self.indices)
        self.is_known = settings.translations is not None
        if settings.translations is not None:
            path = settings.translations
            if not (path / FILE).is_file():
                path = find_translations(path, self.data.root)
            path = path / FILE if path.is_dir() else path
            self.data.places = known_places(run.input(path, "translations"), frames, self.indices)
        step: prepared.Step = "cube-predicted" if self.is_known else "front"
        if not self.data.is_prepared(step, settings.split):
            run.log.info("%s: scene points were not prepared; they are chosen now", self.data.root)
        self.items = Items(
            self.data, settings.split, people, points="cube-pred" if self.is_known else "front"
        )
        self._sizes: dict[str, tuple[int, int]] = {}

    def windows(self, size: int) -> Iterator[Window]:
        """The people in windows of so many at most."""
        waiting: list[int] = []
        for index in self.run.progress(self.indices, "people", self.count):
            waiting.append(index)
            if len(waiting) == size:
                yield self._window(waiting)
                waiting = []
        if waiting:
            yield self._window(waiting)

    def around(self, window: Window, row: int, transl: np.ndarray) -> np.ndarray:
        """Points of the room around a person; see `Sightings`."""
        try:
            return self.data.around(window.names[row], transl)
        except DataError as error:
            self.run.log.debug("%s", error.message)
            return np.empty((0, 3))

    def _window(self, rows: list[int]) -> Window:
        view, truth = self.items.batch(rows)
        names = [self.items.people.names[row] for row in rows]
        keys = [key_of(name) for name in names]
        nowhere = np.full(3, np.nan, np.float32)
        return Window(
            view=view,
            names=names,
            keys=keys,
            rooms=[self.data.scene_of(_moment(name)[0]) for name in names],
            sizes=np.array([self._size(name) for name in names]),
            camera_from_scene=np.stack([self.data.camera_from_scene(name) for name in names]),
            true_transl=truth.transl.numpy(),
            known_transl=np.stack([self.data.places.get(key, nowhere) for key in keys]),
        )

    def _size(self, name: str) -> tuple[int, int]:
        """Columns and rows of a picture, which all of a recording have."""
        recording = _moment(name)[0]
        if recording not in self._sizes:
            self._sizes[recording] = self.data.picture_size(name)
        return self._sizes[recording]


def known_places(path: Path, frames: Annotations, wanted: range) -> dict[str, np.ndarray]:
    """Where stage 1 has put bodies, by the keys of their frames, camera axes, float32 [3] each.

    Args:
        path: Published results, or bodies of infer.
        wanted: Frames that have to be there.

    Raises:
        DataError: The file is something else, or is of other frames.
    """
    keys = [frames.key(row) for row in range(len(frames))]
    if path.suffix.lower() in (".pkl", ".pickle"):
        return dict(zip(keys, read_translations(path, len(frames)), strict=True))
    found = read_recovered(path)
    places = dict(zip(map(key_of, found.names.tolist()), np.float32(found.transl), strict=True))
    missing = [keys[row] for row in wanted if keys[row] not in places]
    if missing:
        raise DataError(
            f"{path}: has no place of {len(missing)} of {len(wanted)} frames ({missing[0]}, ...)",
            hint="take those of the same split, and --every as it was then",
        )
    return places


def _moment(name: str) -> tuple[str, str]:
    """The recording and the timestamp of a picture."""
    key = key_of(name)
    return key.split("/")[1], timestamp_of(key)
