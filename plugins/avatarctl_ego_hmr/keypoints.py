"""Who is in a picture: OpenPose's files of BODY_25 keypoints, boxes, and what is seen of each person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

COUNT = 25
GROWTH = 1.2
"""Side of a box over the extent of the keypoints in it (spec 6.6)."""
FEWEST = 4
"""Keypoints that a person must have at least."""
ENDINGS = ("_keypoints", "")
"""What follows the name of the picture in names of keypoint files."""
HINT = "OpenPose writes such files with --model_pose BODY_25 --write_json FOLDER"


@dataclass(frozen=True)
class Person:
    """One person in a picture: `keypoints` [25, 3] pixels and confidence, and a square box around them."""

    keypoints: np.ndarray
    centre: tuple[float, float]
    side: float

    @staticmethod
    def of(keypoints: np.ndarray) -> Person:
        """In a box around the detected keypoints [25, 3]."""
        places = keypoints[keypoints[:, 2] > 0, :2]
        low, high = places.min(axis=0), places.max(axis=0)
        x, y = (low + high) / 2
        return Person(keypoints, (float(x), float(y)), float(GROWTH * max(*(high - low), 1.0)))

    @staticmethod
    def boxed(keypoints: np.ndarray | None, box: tuple[float, float, float, float]) -> Person:
        """In a box that was given: left, top, width, height; without keypoints [25, 3] all count as seen."""
        left, top, width, height = box
        if keypoints is None:
            keypoints = np.column_stack(
                [np.full((COUNT, 2), (left + width / 2, top + height / 2)), np.ones(COUNT)]
            )
        return Person(keypoints, (left + width / 2, top + height / 2), max(width, height))

    @property
    def detected(self) -> np.ndarray:
        """Which keypoints were detected [25]."""
        return self.keypoints[:, 2] > 0


def files_of(words: Path, pictures: Sequence[Path]) -> list[Path]:
    """The keypoint file of each picture.

    Args:
        words: A file, where there is one picture; a folder; or a pattern such as poses/*.json.

    Raises:
        DataError: A picture has none.
    """
    if words.is_file() and len(pictures) == 1:
        return [words]
    if words.is_dir():
        found = sorted(words.glob("*.json"))
    elif any(sign in str(words) for sign in "*?["):
        base = Path(words.anchor) if words.is_absolute() else Path()
        found = sorted(base.glob(str(words.relative_to(base) if words.is_absolute() else words)))
    elif words.is_file():
        raise DataError(
            f"{words}: one file of keypoints, but {len(pictures)} pictures",
            hint="name the folder with a file for each: --keypoints FOLDER",
        )
    else:
        raise DataError(f"{words}: not found; expected OpenPose keypoints (.json)", hint=HINT)
    by_name = {path.stem: path for path in found}
    return [_of_picture(picture, words, by_name) for picture in pictures]


def _of_picture(picture: Path, words: Path, by_name: dict[str, Path]) -> Path:
    for ending in ENDINGS:
        if picture.stem + ending in by_name:
            return by_name[picture.stem + ending]
    raise DataError(
        f"{picture}: no keypoints among the {len(by_name)} files of {words}",
        hint=f"expected {picture.stem}_keypoints.json or {picture.stem}.json",
    )


def read_openpose(path: Path) -> list[np.ndarray]:
    """BODY_25 keypoints of each person in OpenPose's file: x, y in pixels, confidence [25, 3].

    Raises:
        DataError: It is none, or the numbers are not those of BODY_25.
    """
    check_input_file(path, "OpenPose keypoints (.json)")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}", hint=HINT) from error
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise DataError(f"{path}: has no list 'people'; expected OpenPose keypoints", hint=HINT)
    return [_numbers(path, number, person) for number, person in enumerate(people)]


def _numbers(path: Path, number: int, person: Any) -> np.ndarray:
    where = f"{path}: people[{number}].pose_keypoints_2d"
    values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    if not isinstance(values, list) or len(values) != 3 * COUNT:
        found = f"{len(values)} numbers" if isinstance(values, list) else "none"
        raise DataError(
            f"{where}: found {found}, expected {3 * COUNT} (BODY_25: x, y, confidence)", hint=HINT
        )
    try:
        array = np.array(values, np.float64).reshape(COUNT, 3)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}", hint=HINT) from error
    if not np.isfinite(array).all():
        raise DataError(f"{where}: numbers that are not finite", hint=HINT)
    places = array[array[:, 2] > 0, :2]
    if len(places) >= FEWEST and np.abs(places).max() <= 1.5:
        raise DataError(
            f"{where}: no keypoint is farther than {np.abs(places).max():.2g} pixels from the corner",
            hint="write pixels, not shares of the picture: OpenPose's --keypoint_scale 0",
        )
    if array[:, 2].max() > 1.5:
        raise DataError(f"{where}: found a confidence of {array[:, 2].max():g}, expected 0 to 1", hint=HINT)
    return array


def whole(people: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Those people of whom enough keypoints were detected, [25, 3] each."""
    return [one for one in people if int((one[:, 2] > 0).sum()) >= FEWEST]


def in_box(people: Sequence[np.ndarray], box: tuple[float, float, float, float]) -> np.ndarray | None:
    """The person with most keypoints inside a box (left, top, width, height); None where nobody has any."""
    left, top, width, height = box
    low, high = np.array([left, top]), np.array([left + width, top + height])

    def share(one: np.ndarray) -> float:
        is_inside = ((one[:, :2] >= low) & (one[:, :2] <= high)).all(axis=1) & (one[:, 2] > 0)
        return float((is_inside * one[:, 2]).sum() - 0.5 * (~is_inside * one[:, 2]).sum())

    best = max(people, key=share, default=None)
    return best if best is not None and share(best) > 0 else None
