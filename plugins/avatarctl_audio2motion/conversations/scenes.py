"""The published files of a person: scenes of two voices, body parameters and face codes (spec 2.1).

FOLDER/data_stats.pth
FOLDER/sceneNN_audio.wav                  48 kHz, the person and the partner, 1600 samples a frame
FOLDER/sceneNN_body_pose.npy              [T, 104] at 30 frames a second
FOLDER/sceneNN_face_expression.npy        [T, 256]
FOLDER/sceneNN_missing_face_frames.npy    numbers of the frames whose face was not seen
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.wave import FRAME, RATE, SILENT, Sound, decode_sound, flaws
from avatarctl.checkpoints.arrays import read_npy
from avatarctl.data.writer import fingerprint
from avatarctl.errors import DataError
from avatarctl_audio2motion.conversations.stats import CODE, POSE, Statistics

AUDIO, BODY, FACE, MISSING = (
    "_audio.wav",
    "_body_pose.npy",
    "_face_expression.npy",
    "_missing_face_frames.npy",
)
PERSONS = ("PXB184", "RLW104", "TXB805", "GQS883")
WRAPPED = ("PXB184", "RLW104")
"""Persons whose root turns (column 3) are brought to 0..2 pi."""
LICENCE = "CC BY-NC 4.0: the recordings, and what is made of them, are for non-commercial use"
VOICES = ("the person", "the partner")
TURN = 3
FAR = 6.0
"""Mean distance from a person's mean pose, in standard deviations, that no pose of this person has."""


class FaceNeverSeen(DataError):
    """A scene without a single face code: the published code leaves it out."""


@dataclass(frozen=True)
class Scene:
    """One recorded conversation of T frames, raw."""

    name: str
    audio: Tensor  # float32 [1600 T, 2], the person and the partner
    pose: Tensor  # float32 [T, 104]
    face: Tensor  # float32 [T, 256]
    seen: Tensor  # float32 [T], 0 where the face code is missing

    def __len__(self) -> int:
        return len(self.pose)

    def rows(self) -> dict[str, np.ndarray]:
        """The fields of a store [T, width]."""
        return {
            "audio": self.audio.reshape(len(self), -1).numpy(),
            "pose": self.pose.numpy(),
            "face": self.face.numpy(),
            "seen": self.seen[:, None].numpy(),
        }

    def notes(self, statistics: Statistics) -> list[str]:
        """What is odd about the scene, though it can be used, one line each."""
        found = [f"the sound {line}" for line in flaws(Sound(self.audio, RATE))]
        if not found:
            quiet = (self.audio.abs().amax(0) < SILENT).tolist()
            found += [
                f"{who} (channel {channel}) is silent" for channel, who in enumerate(VOICES) if quiet[channel]
            ]
        away = (self.pose.double() - statistics.pose_mean).abs() / statistics.pose_std
        if float(away.mean()) > FAR:
            found.append(
                f"poses are {float(away.mean()):.0f} standard deviations from the person's mean: "
                "are the statistics of another person?"
            )
        return found


@dataclass(frozen=True)
class SceneFiles:
    """The four files of a scene."""

    folder: Path
    name: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """Audio, body, face, missing frames."""
        return tuple(self.folder / f"{self.name}{end}" for end in (AUDIO, BODY, FACE, MISSING))

    def key(self, *words: str) -> str:
        """A digest of the files, and of the options they are prepared with.

        Raises:
            DataError: One of them cannot be read.
        """
        try:
            marks = [fingerprint(path, *words) for path in self.paths if path.is_file()]
        except OSError as error:
            raise DataError(
                f"{error.filename}: cannot be read: {error.strerror}", hint="check its permissions"
            ) from error
        return hashlib.sha256("".join(marks).encode()).hexdigest()[:32]

    def read(self, *, wrap: bool) -> Scene:
        """The scene.

        Args:
            wrap: Bring the root's turn to 0..2 pi, as published for the persons of `WRAPPED`.

        Raises:
            FaceNeverSeen: All frames are listed as missing.
            DataError: A file is missing, broken, or not what it should be.
        """
        audio_path, body_path, face_path, missing_path = self.paths
        pose, face = _motion(body_path, POSE), _motion(face_path, CODE)
        frames = len(pose)
        if len(face) != frames:
            raise DataError(f"{face_path}: {len(face)} frames; the body has {frames}", hint=_AGAIN)
        seen = _seen(missing_path, frames)
        if not seen.any():
            raise FaceNeverSeen(
                f"{missing_path}: lists all {frames} frames: the face is never seen",
                hint="such scenes are left out, as published",
            )
        _check_finite(body_path, pose)
        _check_finite(face_path, face, seen)
        # Frames whose face was not seen hold anything; what is no number becomes 0, and is never used.
        face = np.where(np.isfinite(face), face, 0.0)
        if wrap:
            # parity: applied twice, which is the turn modulo 2 pi (spec 2.2).
            for _ in range(2):
                pose[:, TURN] = (pose[:, TURN] + np.pi) % (2 * np.pi)
        return Scene(
            self.name,
            _voices(audio_path, frames),
            torch.from_numpy(pose),
            torch.from_numpy(face.astype(np.float32)),
            torch.from_numpy(seen),
        )


_AGAIN = "copy or download the scene again"


@dataclass(frozen=True)
class Recorded:
    """A scene that can be read: its `key` changes with all that `read` depends on."""

    name: str
    key: str
    read: Callable[[], Scene]


@dataclass(frozen=True)
class Recordings:
    """What a store is made of."""

    person: str
    statistics: Statistics
    scenes: Sequence[Recorded]
    licence: str
    frames: int
    """About how many there are, for the space on the disk."""


def official(folder: Path, person: str, statistics: Statistics, *, swap: bool = False) -> Recordings:
    """The recordings in a person's folder.

    Args:
        swap: Exchange the voices.

    Raises:
        DataError: There is no scene, or a file cannot be read.
    """
    files = find_scenes(folder)
    wrap = person_of(folder) in WRAPPED or person in WRAPPED

    def read(one: SceneFiles) -> Scene:
        scene = one.read(wrap=wrap)
        return replace(scene, audio=scene.audio.flip(1)) if swap else scene

    scenes = [Recorded(one.name, one.key(f"wrap={wrap} swap={swap}"), partial(read, one)) for one in files]
    sizes = [path.stat().st_size for one in files if (path := one.paths[1]).is_file()]
    return Recordings(person, statistics, scenes, LICENCE, sum(sizes) // (4 * POSE))


def find_scenes(folder: str | Path) -> list[SceneFiles]:
    """The scenes of a person's folder, by name.

    Raises:
        DataError: There is no such folder, or no scene in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected a person's recordings",
            hint="unpack PERSON.zip, and name the folder PERSON",
        )
    names = sorted(path.name.removesuffix(BODY) for path in folder.glob(f"*{BODY}"))
    if not names:
        inside = sorted(path.parent for path in folder.glob(f"*/*{BODY}"))
        raise DataError(
            f"{folder}: no scene in it (*{BODY})",
            hint=f"name the person's folder: {inside[0]}" if inside else "unpack PERSON.zip there",
        )
    return [SceneFiles(folder, name) for name in names]


def person_of(path: str | Path) -> str:
    """The person whose name is in a path, the last part of which it is if it is none of the published."""
    # parity: the name is taken from the path's text (spec 2.2, 9.34).
    whole = Path(path).resolve()
    return next((name for name in PERSONS if name in str(whole)), whole.name)


def _motion(path: Path, width: int) -> np.ndarray:
    """float32 [T, width]."""
    array = read_npy(path, f"numbers [T, {width}]")
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != width or not len(array):
        raise DataError(
            f"{path}: found {array.dtype} {list(array.shape)}; expected numbers [T, {width}]", hint=_AGAIN
        )
    return np.array(array, np.float32)


def _seen(path: Path, frames: int) -> np.ndarray:
    """1 where the face was seen, else 0: float32 [T]."""
    missing = read_npy(path, "numbers of frames")
    seen = np.ones(frames, np.float32)
    if not missing.size:
        return seen
    if missing.ndim != 1 or missing.dtype.kind not in "iu":
        raise DataError(
            f"{path}: found {missing.dtype} {list(missing.shape)}; expected a list of whole numbers",
            hint=_AGAIN,
        )
    if missing.min() < 0 or missing.max() >= frames:
        raise DataError(
            f"{path}: names frames {missing.min()} to {missing.max()}; the scene has 0 to {frames - 1}",
            hint=_AGAIN,
        )
    seen[missing] = 0
    return seen


def _check_finite(path: Path, values: np.ndarray, seen: np.ndarray | None = None) -> None:
    is_bad = ~np.isfinite(values).all(1)
    if seen is not None:
        is_bad &= seen > 0
    if is_bad.any():
        first = int(np.flatnonzero(is_bad)[0])
        raise DataError(
            f"{path}: frame {first} holds numbers that are not finite ({int(is_bad.sum())} such frames)",
            hint="remove the scene, or cut these frames out of all its files",
        )


def _voices(path: Path, frames: int) -> Tensor:
    """float32 [1600 T, 2]."""
    sound = decode_sound(path)
    if sound.rate != RATE or sound.channels != 2:
        raise DataError(
            f"{path}: {sound.channels} channel{'s' if sound.channels > 1 else ''} at {sound.rate} Hz; "
            f"expected 2 (the person and the partner) at {RATE}",
            hint=_AGAIN,
        )
    surplus = len(sound.samples) - frames * FRAME
    if surplus:
        raise DataError(
            f"{path}: {len(sound.samples)} samples; expected {frames * FRAME} ({frames} frames of {FRAME}): "
            f"{abs(surplus)} too {'many' if surplus > 0 else 'few'}, {math.fabs(surplus) / RATE:.3f} s",
            hint=_AGAIN,
        )
    return sound.samples
