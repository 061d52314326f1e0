"""BVH files, as found in the wild: any white space, any channel order, zero-length bones, end sites."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.kinematics import global_rotations
from avatarctl.geometry.rotations import matrix_from_euler

HINT = "export it again as BVH text"
MAX_JOINTS = 1000
MAX_FPS = 1000.0
MAX_BYTES = 1 << 29
"""Most that a compressed file may unpack to: about an hour."""
EXPANSION, FREE_BYTES = 100, 1 << 24
"""Above `FREE_BYTES`, a compressed file may be this many times larger when unpacked."""


@dataclass(frozen=True)
class Bvh:
    """A skeleton and its angles. End sites are joints without channels, named PARENT_end.

    `offsets` [J, 3] in file units, `channels` the list of each joint ("Xposition", ...), `values` [T, C] with
    rotations in degrees, `fps` frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    values: np.ndarray
    fps: float

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, frames: slice) -> Bvh:
        return replace(self, values=self.values[frames])

    def rest(self) -> Tensor:
        """Joint places where all angles are zero [J, 3], file units, float64."""
        places = [torch.from_numpy(self.offsets[0])]
        for joint in range(1, len(self.names)):
            places.append(places[self.parents[joint]] + torch.from_numpy(self.offsets[joint]))
        return torch.stack(places)

    def local(self) -> tuple[Tensor, Tensor]:
        """Local rotations [T, J, 3, 3] and places in the parent's axes [T, J, 3] in file units, float64."""
        count = len(self.names)
        rotations = torch.eye(3, dtype=torch.float64).repeat(len(self), count, 1, 1)
        steps = torch.from_numpy(self.offsets).repeat(len(self), 1, 1)
        values = torch.from_numpy(self.values)
        column = 0
        for joint, channels in enumerate(self.channels):
            mine = values[:, column : column + len(channels)]
            column += len(channels)
            turns = [i for i, name in enumerate(channels) if name.endswith("rotation")]
            if turns:
                order = "".join(channels[i][0] for i in turns)
                rotations[:, joint] = matrix_from_euler(torch.deg2rad(mine[:, turns]), order)
            for i, name in enumerate(channels):
                if name.endswith("position"):
                    steps[:, joint, "XYZ".index(name[0])] = mine[:, i]
        return rotations, steps

    def world(self) -> tuple[Tensor, Tensor]:
        """World rotations [T, J, 3, 3] and joint places [T, J, 3] in file units, float64."""
        local, steps = self.local()
        rotations = global_rotations(local, self.parents)
        places = [steps[:, 0]]
        for joint in range(1, len(self.names)):
            parent = self.parents[joint]
            places.append(places[parent] + (rotations[:, parent] @ steps[:, joint, :, None])[..., 0])
        return rotations, torch.stack(places, dim=1)


def read(path: str | Path) -> Bvh:
    """The content of a .bvh or .bvh.gz file.

    Raises:
        DataError: The file is broken; the message names the field and the line of the frame.
    """
    path = check_input_file(path, "a BVH file")
    head, frames = _split(path, _text(path))
    names, parents, offsets, channels = _hierarchy(path, head)
    count, fps, numbers = _motion(path, frames)
    width = sum(len(listed) for listed in channels)
    if not count:
        raise DataError(f"{path}: Frames: 0; expected at least 1", hint=HINT)
    if numbers.size != count * width:
        raise DataError(
            f"{path}: MOTION: {numbers.size} numbers; expected {count} frames x {width} channels",
            hint=HINT,
        )
    values = numbers.reshape(count, width)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(f"{path}: MOTION: frame {bad[0] + 1}: a number that is not finite", hint=HINT)
    if np.abs(values).max(initial=0) > 1e7:
        raise DataError(
            f"{path}: MOTION: a number beyond 10 million; expected degrees and lengths", hint=HINT
        )
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), values, fps)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            stream = zlib.decompressobj(wbits=31)
            raw = stream.decompress(raw, min(MAX_BYTES, max(FREE_BYTES, EXPANSION * len(raw))))
            if not stream.eof:
                raise DataError(f"{path}: the compressed file ends early or is too large", hint=HINT)
        return raw.decode("utf-8")
    except (OSError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be unpacked: {error}", hint="copy or download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no text; expected a BVH file", hint=HINT) from error


def _split(path: Path, text: str) -> tuple[list[str], str]:
    head, found, frames = text.partition("MOTION")
    if not found or "HIERARCHY" not in head:
        raise DataError(f"{path}: HIERARCHY and MOTION: not found; expected a BVH file", hint=HINT)
    return head.split()[1:], frames


def _hierarchy(
    path: Path, tokens: list[str]
) -> tuple[list[str], list[int], list[list[float]], list[tuple[str, ...]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    stack: list[int] = []
    stream = iter(tokens)
    try:
        for token in stream:
            if token in ("ROOT", "JOINT", "End"):
                name = next(stream)
                parents.append(stack[-1] if stack else -1)
                names.append(name if token != "End" else f"{names[stack[-1]]}_end")
                offsets.append([0.0, 0.0, 0.0])
                channels.append(())
                if len(names) > 1 and parents[-1] < 0:
                    raise DataError(f"{path}: HIERARCHY: a second root '{name}'; expected one", hint=HINT)
            elif token == "{":
                stack.append(len(names) - 1)
            elif token == "}":
                stack.pop()
            elif token == "OFFSET":
                offsets[stack[-1]] = [float(next(stream)) for _ in range(3)]
            elif token == "CHANNELS":
                listed = tuple(next(stream) for _ in range(min(int(next(stream)), 6)))
                _check_channels(path, names[stack[-1]], listed)
                channels[stack[-1]] = listed
            else:
                raise DataError(f"{path}: HIERARCHY: unknown word '{token[:40]}'", hint=HINT)
            if len(names) > MAX_JOINTS:
                raise DataError(f"{path}: HIERARCHY: more than {MAX_JOINTS} joints", hint=HINT)
    except (StopIteration, ValueError, IndexError, RuntimeError) as error:
        where = names[-1] if names else "the root"
        raise DataError(
            f"{path}: HIERARCHY: broken off or malformed at joint '{where}'", hint=HINT
        ) from error
    if stack or not names or not np.isfinite(offsets).all():
        raise DataError(f"{path}: HIERARCHY: braces or offsets are incomplete", hint=HINT)
    return names, parents, offsets, channels


def _check_channels(path: Path, joint: str, listed: tuple[str, ...]) -> None:
    known = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}
    wrong = [name for name in listed if name not in known]
    if wrong:
        raise DataError(
            f"{path}: CHANNELS of '{joint}': '{wrong[0][:40]}'; expected Xposition ... Zrotation", hint=HINT
        )


def _motion(path: Path, text: str) -> tuple[int, float, np.ndarray]:
    words = text.split(None, 5)
    try:
        if words[0] != "Frames:" or words[2] != "Frame" or words[3] != "Time:":
            raise ValueError
        count, seconds = int(words[1]), float(words[4])
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path}: MOTION: expected 'Frames: N' and 'Frame Time: SECONDS'", hint=HINT
        ) from error
    if not (math.isfinite(seconds) and 1.0 / MAX_FPS <= seconds <= 10.0):
        raise DataError(
            f"{path}: Frame Time: {words[4][:40]}; expected seconds between 0.001 and 10", hint=HINT
        )
    if not 0 <= count <= MAX_BYTES:
        raise DataError(f"{path}: Frames: {words[1][:40]}; expected at least 1", hint=HINT)
    body = words[5] if len(words) > 5 else ""
    try:
        return count, _rate(words[4], seconds), np.array(body.split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: MOTION: {error}; expected numbers", hint=HINT) from error


def _rate(word: str, seconds: float) -> float:
    """Frames per second; a whole number where the digits written can be one's: .0083333 is 120."""
    whole = max(round(1.0 / seconds), 1)
    digit = 10.0 ** int(Decimal(word).as_tuple().exponent)
    return float(whole) if abs(seconds - 1.0 / whole) <= digit else 1.0 / seconds
