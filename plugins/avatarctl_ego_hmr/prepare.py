"""The prepare target: points of the room for each frame of EgoBody, as published (spec 3.2 to 3.4)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatarctl.device.noise import Noise
from avatarctl.errors import DataError
from avatarctl.files import sweep, write_failure, write_text
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl_ego_hmr import crops
from avatarctl_ego_hmr.bodies import MALE, People, pose
from avatarctl_ego_hmr.crops import Cube, Room
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import annotation_file, statistics
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import moved
from avatarctl_ego_hmr.egobody.translations import find_translations, read_translations
from avatarctl_ego_hmr.pickles import write_pickle

if TYPE_CHECKING:
    from avatarctl.body import BodyModel
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_prepare import PrepareEgobody

RENEWED = 15
"""Frames after which points in front of the camera are chosen anew (spec 3.2)."""
BLOCK = 32
"""Bodies posed at once."""
HEADER = 128
"""Bytes before the numbers in an .npy file of points [N, 3]."""
SHOWN = 20
"""Most lines of one failure."""


@dataclass
class Outcome:
    """What became of the frames."""

    bad: list[str] = field(default_factory=list)
    """What is wrong with each that has no points."""
    scarce: list[str] = field(default_factory=list)
    """Those whose points were repeated, for the room has too few there."""
    foreign: int = 0
    """Frames with the points of another recording."""
    made: int = 0
    """Frames that were computed now, not before."""


def run(settings: PrepareEgobody, run: Run) -> None:
    """Write the points of a split, going on where an earlier preparation stopped."""
    work = Work(settings, run)
    run.input(work.data.files.source(annotation_file(work.data.files, settings.split)), "data")
    run.keeps_parts = True
    outcome = work.front() if settings.step == "front" else work.cubes()
    if settings.step == "cube-gt" and settings.split == "train":
        mean, std = statistics(work.frames.poses)
        run.save("preprocess_stats.npz", {"Xmean": mean, "Xstd": std}, "statistics")
    run.output(work.note, "points")
    _tell(outcome, work, run)
    run.report(
        frames=len(work.frames),
        made=outcome.made,
        repeated=len(outcome.scarce),
        other_recording=outcome.foreign,
        bad=len(outcome.bad),
    )
    if outcome.bad and not settings.skip_bad:
        more = f"\nand {len(outcome.bad) - SHOWN} more" if len(outcome.bad) > SHOWN else ""
        raise DataError(
            "\n".join(outcome.bad[:SHOWN]) + more,
            hint="everything else is prepared; repair the data, or accept it with --skip-bad",
        )


def _tell(outcome: Outcome, work: Work, run: Run) -> None:
    run.log.info("points of %d frames are in %s", len(work.frames) - len(outcome.bad), work.out)
    if outcome.scarce:
        run.log.warning(
            "%d of %d frames: fewer than %d points there, so some are repeated (%s, ...)",
            len(outcome.scarce), len(work.frames), work.settings.points, outcome.scarce[0],
        )  # fmt: skip
    if outcome.foreign:
        run.log.warning(
            "%d frames have the points of the recording before, as published; --renew recording gives them "
            "their own", outcome.foreign,
        )  # fmt: skip


class Work:
    """One preparation: what it reads, where it writes.

    Raises:
        DataError: A file that all frames of a recording need is missing; nothing was computed yet.
    """

    def __init__(self, settings: PrepareEgobody, run: Run) -> None:
        self.settings, self.run = settings, run
        self.data = EgoBody(settings.data)
        self.frames = self.data.annotations(settings.split)
        self.transforms = self.data.transforms()
        self.out = settings.into or self.data.root / prepared.FOLDERS[settings.step]
        self.note = self.out / f"prepared_{settings.split}.json"
        self._room: tuple[str, Room] | None = None
        self._failed = False
        self._check_recordings()

    @cached_property
    def scenes(self) -> list[str]:
        """The scene of each frame."""
        return [self.data.scene_of(self.frames.recording(index)) for index in range(len(self.frames))]

    @cached_property
    def people(self) -> People:
        """The bodies of annotations."""
        kind = self.data.kind if self.settings.body == "auto" else self.settings.body
        return People.load(self.run.bodies, kind, self.settings.body_models)

    @cached_property
    def places(self) -> np.ndarray:
        """Stage-1 translations, one per frame [n, 3].

        Raises:
            DataError: They are not found, or are not those of this split.
        """
        path = find_translations(self.settings.translations, self.data.root)
        self.run.input(path, "translations")
        return read_translations(path, len(self.frames))

    def room(self, scene: str) -> Room:
        """The scan of a scene; the last one is kept."""
        if self._room is None or self._room[0] != scene:
            self._room = (scene, Room(self.data.scene(scene).vertices))
        return self._room[1]

    def front(self) -> Outcome:
        """Points in front of the camera, in the master Kinect's axes (spec 3.2)."""
        outcome, split = Outcome(), self.settings.split
        files = [self.out / name for name in prepared.front_files(split)]
        parts = self.out / f".{split}"
        is_begun = self._begin({"renew": self.settings.renew}, [*files, parts])
        if is_begun and all(map(Path.is_file, files)) and not parts.exists():
            self.run.log.info("%s: is up to date", files[1])
            return outcome
        mapping: dict[str, str] = {}
        clouds: list[tuple[str, Path]] = []
        work = self.run.progress(self._sources(), f"points in front, {split}", len(self.frames))
        for index, is_new in work:
            key, part = self.frames.key(index), parts / f"{index:06d}.npy"
            if is_new and not _is_whole(part, self.settings.points):
                room = self.room(self.scenes[index])
                try:
                    cloud = self.front_cloud(index, room, outcome)
                except DataError as error:
                    outcome.bad.append(error.message)
                    self._failed = True
                    continue
                _save(part, cloud)
                outcome.made += 1
            if is_new:
                clouds.append((key, part))
            source = clouds[-1][0]
            mapping[key] = source
            outcome.foreign += source.split("/")[1] != key.split("/")[1]
        if clouds:
            write_pickle(files[0], mapping)
            prepared.write_clouds(files[1], ((key, np.load(part)) for key, part in clouds))
        if not outcome.bad:
            shutil.rmtree(parts, ignore_errors=True)
        return outcome

    def _sources(self) -> Iterator[tuple[int, bool]]:
        """Each frame, and whether it gets new points."""
        for index, scene in enumerate(self.scenes):
            before = max(index - 1, 0)
            # parity: the counter runs on over scenes, and a new recording in one scene is not seen (Q27).
            is_new = index % RENEWED == 0 or scene != self.scenes[before] or self._failed
            if self.settings.renew == "recording":
                is_new |= self.frames.recording(index) != self.frames.recording(before)
            self._failed = False
            yield index, is_new

    def front_cloud(self, index: int, room: Room, outcome: Outcome) -> np.ndarray:
        """Points in front of a frame's camera, float64 [points, 3].

        Raises:
            DataError: There are none.
        """
        recording, timestamp = self.frames.recording(index), self.frames.timestamp(index)
        camera_from_scene = self.transforms.camera_from_scene(recording, timestamp)
        found = room.in_front(camera_from_scene)
        chosen = self._thinned(index, found, "in front of the camera", outcome)
        return moved(room.vertices.take(chosen, axis=0), self.transforms.kinect_from_scene(recording))

    def cubes(self) -> Outcome:
        """Points in a cube around each body, in scene axes (spec 3.3, 3.4)."""
        outcome, count = Outcome(), len(self.frames)
        facts: dict[str, Any] = {"cube_size": self.settings.cube_size, "seed": self.run.seed}
        if self.settings.step == "cube-gt":
            facts["body"] = "open" if self.people.male.is_open else "smpl"
        else:
            facts["translations"] = hashlib.sha256(self.places.tobytes()).hexdigest()
        self._begin(facts, [self.out / self.settings.split])
        blocks = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
        what = f"points around bodies, {self.settings.split}"
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the last bits of a body must not depend on how many there are
        try:
            for block in self.run.progress(blocks, what, len(blocks)):
                self._block(block, outcome)
        finally:
            torch.set_num_threads(threads)
        return outcome

    def _block(self, block: range, outcome: Outcome) -> None:
        """The frames of a block that are not there; bodies are posed in whole blocks, so bits stay equal."""
        files = {index: self.out / self._file(index) for index in block}
        todo = [index for index in block if not _is_whole(files[index], self.settings.points)]
        if not todo:
            return
        bodies = self.bodies(block) if self.settings.step == "cube-gt" else None
        for index in todo:
            body = None if bodies is None else bodies[index - block[0]]
            room = self.room(self.scenes[index])
            try:
                cube = self.cube(index, self._noise(index), body)
                cloud = self.cube_cloud(index, cube, room, outcome)
            except DataError as error:
                outcome.bad.append(error.message)
                continue
            _save(files[index], cloud)
            outcome.made += 1

    def cube(self, index: int, noise: Noise, body: np.ndarray | None) -> Cube:
        """The cube of a frame.

        Args:
            body: Vertices of the true body in camera axes [V, 3]; None takes the predicted place.
        """
        recording, timestamp = self.frames.recording(index), self.frames.timestamp(index)
        scene_from_camera = np.linalg.inv(self.transforms.camera_from_scene(recording, timestamp))
        if body is not None:
            return crops.cube_around_body(moved(body, scene_from_camera), noise, self.settings.cube_size)
        place = moved(self.places[index : index + 1].astype(np.float64), scene_from_camera)[0]
        return crops.cube_around_place(place, noise, self.settings.cube_size)

    def cube_cloud(self, index: int, cube: Cube, room: Room, outcome: Outcome) -> np.ndarray:
        """Points in a frame's cube, float64 [points, 3].

        Raises:
            DataError: There are none.
        """
        chosen = self._thinned(index, room.inside(cube), "around the body", outcome)
        return room.vertices.take(chosen, axis=0)

    def bodies(self, rows: range) -> np.ndarray:
        """Vertices of the true bodies in camera axes, float64 [rows, V, 3]."""
        part = slice(rows[0], rows[-1] + 1)
        arrays = (self.frames.poses, self.frames.betas, self.frames.transl)
        poses, betas, transl = (torch.from_numpy(array[part].astype(np.float32)) for array in arrays)
        is_man = torch.from_numpy(self.frames.gender[part] == MALE)
        found = torch.empty(len(rows), len(self.people.male.template), 3)
        for own, model in ((is_man, self.people.male), (~is_man, self.people.female)):
            if own.any():
                found[own] = _posed(model, poses[own], betas[own], transl[own])
        return found.double().numpy()

    def _thinned(self, index: int, found: np.ndarray, where: str, outcome: Outcome) -> np.ndarray:
        key = self.frames.key(index)
        if not len(found):
            raise DataError(
                f"{key}: no points of scene {self.scenes[index]} {where}", hint="check transforms and scan"
            )
        if len(found) < self.settings.points:
            outcome.scarce.append(f"{key}: {len(found)}")
        return crops.thinned(found, self.settings.points)

    def _noise(self, index: int) -> Noise:
        return Noise.seeded(self.run.seed, f"cube/{self.frames.key(index)}")

    def _file(self, index: int) -> str:
        return prepared.cube_file(self.settings.split, self.frames.key(index))

    def _check_recordings(self) -> None:
        """Every recording has a scene, a scan and its transforms; this is cheap, and the rest takes hours."""
        wrong: dict[str, str] = {}
        scans = set()
        for recording in dict.fromkeys(self.frames.recording(index) for index in range(len(self.frames))):
            try:
                scene = self.data.scene_of(recording)
                if scene not in scans and self.data.scene_file(scene) not in self.data.files:
                    raise self.data.files.missing(self.data.scene_file(scene))
                scans.add(scene)
                self.transforms.scene_from_kinect(recording)
                self.transforms.holo_from_kinect(recording)
            except DataError as error:
                wrong.setdefault(error.message, error.hint)
        if wrong:
            raise DataError("\n".join(list(wrong)[:SHOWN]), hint=next(iter(wrong.values())))
        self.data.check_upright(self.frames)

    def _begin(self, facts: dict[str, Any], products: list[Path]) -> bool:
        """Note how points are made, unless it is noted; whether a preparation in the same way was begun.

        Raises:
            DataError: What is there was made in another way.
        """
        source = self.data.files.read(annotation_file(self.data.files, self.settings.split))
        facts = {
            "step": self.settings.step, "points": self.settings.points,
            "annotations": hashlib.sha256(source).hexdigest(), **facts,
        }  # fmt: skip
        sweep(self.out)
        known = _known(self.note)
        if known == facts:
            return True
        there = [path for path in products if path.exists()]
        if there and not self.settings.replace:
            unlike = sorted(name for name in facts if known.get(name) != facts[name])
            how = f"in another way ({', '.join(unlike)} differ)" if known else "by another program"
            raise DataError(
                f"{there[0]}: was made {how}", hint="type --replace, or choose another folder: --into FOLDER"
            )
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_text(self.note, json.dumps(facts, indent=1, sort_keys=True) + "\n")
        return False


def _known(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _posed(model: BodyModel, poses: torch.Tensor, betas: torch.Tensor, transl: torch.Tensor) -> torch.Tensor:
    return pose(model, matrix_from_axis_angle_smpl(poses), betas).vertices + transl[:, None]


def _save(path: Path, points: np.ndarray) -> None:
    """Write points, whole or not at all if the process is killed.

    Nothing waits for the disk, which would take most of the time of a frame; `_is_whole` finds what a failing
    machine left half written.

    Raises:
        DataError: They cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.save(file, points)
        temporary.replace(path)
    except OSError as error:
        raise write_failure(path, error) from error


def _is_whole(path: Path, count: int) -> bool:
    """Whether a file of so many points is there, as long as it has to be."""
    try:
        return path.stat().st_size == HEADER + 24 * count
    except OSError:
        return False
