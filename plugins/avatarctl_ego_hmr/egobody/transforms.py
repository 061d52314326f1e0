"""Where cameras stand in EgoBody: scene, master Kinect, HoloLens world of a recording, picture (spec 2.1).

A transform takes column vectors of homogeneous points; names read `result_from_source`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl_ego_hmr.egobody.folder import Folder

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL camera axes (y up, looking along -z) to those of the picture."""
PICKLE = "transf_matrices_all_seqs.pkl"
_PV_COLUMNS = 19
"""timestamp, fx, fy, and 16 numbers of the camera's place."""


class Transforms:
    """The transforms of all recordings, from the published pickle, or rebuilt where it lacks a recording."""

    def __init__(self, files: Folder, scene_of: Callable[[str], str]) -> None:
        self.files = files
        self._scene_of = scene_of
        self._scene: dict[str, np.ndarray] = {}
        self._rebuilt: dict[str, dict[str, Any]] = {}

    def scene_from_kinect(self, recording: str) -> np.ndarray:
        """Float64 [4, 4].

        Raises:
            DataError: The calibration of the recording is not there, or is no transform.
        """
        if recording not in self._scene:
            scene = self._scene_of(recording)
            name = f"calibrations/{recording}/cal_trans/kinect12_to_world/{scene}.json"
            self._scene[recording] = self._json(name)
        return self._scene[recording]

    def kinect_from_scene(self, recording: str) -> np.ndarray:
        """Float64 [4, 4]."""
        return np.linalg.inv(self.scene_from_kinect(recording))

    def holo_from_kinect(self, recording: str) -> np.ndarray:
        """To the HoloLens world of the recording, float32 [4, 4]."""
        where = f"{self.files.root / PICKLE}: {recording}"
        return _matrix(
            self._of(recording).get("trans_kinect2holo"), f"{where}: trans_kinect2holo", np.float32
        )

    def pv_from_holo(self, recording: str, timestamp: str) -> np.ndarray:
        """To the picture's camera in OpenGL axes, float32 [4, 4].

        Raises:
            DataError: There is none for this time.
        """
        frames = self._of(recording).get("trans_world2pv")
        matrix = frames.get(timestamp) if isinstance(frames, dict) else None
        if matrix is None:
            raise DataError(
                f"{self.files.root / PICKLE}: no transform for {timestamp} of {recording}",
                hint=f"take {PICKLE} as published",
            )
        where = f"{self.files.root / PICKLE}: {recording}: {timestamp}"
        return _matrix(matrix, where, np.float32)

    def camera_from_kinect(self, recording: str, timestamp: str) -> np.ndarray:
        """To the axes of the picture, float64 [4, 4]."""
        pv_from_kinect = self.pv_from_holo(recording, timestamp).astype(np.float64) @ self.holo_from_kinect(
            recording
        ).astype(np.float64)
        return FLIP @ pv_from_kinect

    def camera_from_scene(self, recording: str, timestamp: str) -> np.ndarray:
        """To the axes of the picture, float64 [4, 4]."""
        return self.camera_from_kinect(recording, timestamp) @ self.kinect_from_scene(recording)

    @cached_property
    def _published(self) -> dict[str, Any]:
        if PICKLE not in self.files:
            return {}
        with self.files.local(PICKLE) as path:
            content = load_pickle(path)
        if not isinstance(content, dict):
            raise DataError(
                f"{self.files.shown(PICKLE)}: holds a {type(content).__name__}; expected recordings",
                hint="download it again",
            )
        return content

    def _of(self, recording: str) -> dict[str, Any]:
        found = self._published.get(recording, self._rebuilt.get(recording))
        if found is None:
            found = self._rebuilt[recording] = self._rebuild(recording)
        if not isinstance(found, dict):
            raise DataError(
                f"{self.files.shown(PICKLE)}: {recording}: a {type(found).__name__}, no transforms",
                hint="download it again",
            )
        return found

    def _rebuild(self, recording: str) -> dict[str, Any]:
        """The same from the raw recording."""
        texts = [
            name
            for pattern in ("*_pv.txt", "*/*_pv.txt")
            for name in self.files.below(f"egocentric_color/{recording}", pattern)
        ]
        calibration = f"calibrations/{recording}/cal_trans/holo_to_kinect12.json"
        if not texts or calibration not in self.files:
            lacking = calibration if texts else f"egocentric_color/{recording}/CLOCK/CLOCK_pv.txt"
            raise DataError(
                f"{recording}: no transforms: {self.files.root / PICKLE} has none of it, and "
                f"{lacking} is not there to make them from",
                hint=f"download {PICKLE} again",
            )
        frames: dict[str, np.ndarray] = {}
        for name in texts:
            frames |= self._camera_places(name)
        return {"trans_kinect2holo": np.linalg.inv(self._json(calibration)), "trans_world2pv": frames}

    def _camera_places(self, name: str) -> dict[str, np.ndarray]:
        """To the camera in OpenGL axes, by time, from the headset's own text file."""
        lines = self.files.read(name).decode("utf-8", "replace").splitlines()[1:]
        rows = [line.split(",") for line in lines if line.strip()]
        try:
            if any(len(row) != _PV_COLUMNS for row in rows):
                raise ValueError(f"a line without its {_PV_COLUMNS} numbers")
            holo_from_pv = np.array([row[3:] for row in rows], np.float64).reshape(-1, 4, 4)
            pv_from_holo = np.linalg.inv(holo_from_pv)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise DataError(
                f"{self.files.shown(name)}: {error}; expected timestamp,fx,fy and 16 numbers a line",
                hint="copy or download it again",
            ) from error
        return {row[0].strip(): matrix for row, matrix in zip(rows, pv_from_holo, strict=True)}

    def _json(self, name: str) -> np.ndarray:
        try:
            matrix = json.loads(self.files.read(name))["trans"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.files.shown(name)}: no 'trans' in it; expected a transform of 4 x 4 numbers",
                hint="copy or download it again",
            ) from error
        return _matrix(matrix, self.files.shown(name), np.float64)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [N, 3] through a transform [4, 4]."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _matrix(value: Any, where: str, dtype: type) -> np.ndarray:
    """A transform [4, 4] that can be inverted.

    Raises:
        DataError: It is none.
    """
    try:
        matrix = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        matrix = np.zeros(0)
    is_sound = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    if not is_sound or abs(np.linalg.det(matrix)) < 1e-9:
        raise DataError(
            f"{where}: no transform of 4 x 4 finite numbers that can be inverted",
            hint="copy or download it again",
        )
    return matrix.astype(dtype)
