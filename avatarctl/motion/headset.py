"""Logs of the headset app: a line of text a frame, Unity's axes (left-handed, y up), metres, xyzw.

The format and the app's habits are those of spec sparse-tracking 2.6. Logs that another app wrote in this
format may have other axes, units or orders; a `Reading` says which, and brings them to the app's.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.files import check_input_file, write_text

DEVICES = ("Headset", "LeftController", "RightController")
BLOCK = 200
"""The app writes so many frames at a time, and drops the frame during which it writes."""
MAX_FPS = 1000.0
MAX_PLACE = 100.0
"""Metres from the origin of the room."""
MAX_NUMBER = 1e6
"""Of a place in any unit."""
MAX_BYTES = 1 << 30
FROZEN = 10
"""Frames over which a device's place must stay the same to the last digit to count as lost."""
HINT = "use the log as the app wrote it, or delete the lines named"
WANTED = "FPS:72.0;Headset-Position: (x, y, z);Headset-Rotation: (x, y, z, w);LeftController-Position: (..."
LOG = logging.getLogger(__name__)

_NUMBER = r"\s*([-+0-9.eE]+)\s*"
_PATTERNS = {"FPS": re.compile(rf"\s*FPS\s*:{_NUMBER}")} | {
    f"{device}-{kind}": re.compile(rf"\s*{device}-{kind}\s*:\s*\({','.join([_NUMBER] * count)}\)\s*")
    for device in DEVICES
    for kind, count in (("Position", 3), ("Rotation", 4))
}
_LINE = re.compile(";".join(pattern.pattern for pattern in _PATTERNS.values()) + r";?\s*")
_COMMAS = re.compile(r"\s*FPS\s*:\s*\d+,\d+\s*;|\s*FPS[^(]*\(\s*-?\d+,\d+,\s")


Axes = Literal["unity", "openxr", "gltf", "unreal"]
UNITY_FROM: dict[str, tuple[tuple[float, ...], ...]] = {
    "unity": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "openxr": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "gltf": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "unreal": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
}
"""Unity's axes (x right, y up, z ahead) from others': OpenXR, WebXR and SteamVR (x right, y up, z back), glTF
(x left, y up, z ahead), Unreal (x ahead, y right, z up). A device that faces ahead is turned by nothing."""
Units = Literal["m", "cm", "mm", "ft"]
METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048}


@dataclass(frozen=True)
class Reading:
    """How a log's numbers are to be taken; the defaults are the headset app's.

    `floor` is where the floor stands in the log, metres; `wxyz` says that quaternions begin with w.
    """

    axes: Axes = "unity"
    units: Units = "m"
    wxyz: bool = False
    swap_hands: bool = False
    floor: float = 0.0


@dataclass(frozen=True)
class HeadsetLog:
    """The numbers of a log, float64.

    `times` [N] seconds, `fps` [N] as logged, `positions` [N, 3, 3] and `quaternions` xyzw [N, 3, 4] of
    headset, left and right controller, `lost` [N, 3] which of them were not tracked, `lines` [N] where the
    frames stand in the file at `path`.
    """

    times: Tensor
    fps: Tensor
    positions: Tensor
    quaternions: Tensor
    lost: Tensor
    lines: Tensor
    path: Path

    def __len__(self) -> int:
        return len(self.fps)

    def __getitem__(self, frames: slice) -> HeadsetLog:
        return replace(
            self,
            times=self.times[frames],
            fps=self.fps[frames],
            positions=self.positions[frames],
            quaternions=self.quaternions[frames],
            lost=self.lost[frames],
            lines=self.lines[frames],
        )

    def read_as(self, reading: Reading) -> HeadsetLog:
        """The log in Unity's axes and metres, quaternions xyzw."""
        axes = torch.tensor(UNITY_FROM[reading.axes], dtype=torch.float64)
        positions = self.positions @ axes.T * METRES[reading.units]
        positions = positions - positions.new_tensor([0.0, reading.floor, 0.0])
        quaternions = self.quaternions.roll(-1, dims=-1) if reading.wxyz else self.quaternions
        # An axis of rotation turns round once more where the axes' handedness changes.
        vector = quaternions[..., :3] @ axes.T * torch.linalg.det(axes)
        quaternions = torch.cat([vector, quaternions[..., 3:]], dim=-1)
        order = [0, 2, 1] if reading.swap_hands else [0, 1, 2]
        return replace(
            self,
            positions=positions[:, order],
            quaternions=quaternions[:, order],
            lost=self.lost[:, order],
        )

    def line(self, frame: int) -> int:
        """Where a frame stands in the file, from 1."""
        return int(self.lines[frame])


def is_log(path: str | Path) -> bool:
    """Whether a file starts as headset logs do."""
    with Path(path).open("rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"FPS:")


def read_log(path: str | Path) -> HeadsetLog:
    """The frames of a log, as they stand there; a last line that breaks off is left out with a warning.

    Raises:
        DataError: A line is malformed or holds impossible numbers; the message names it.
    """
    path = check_input_file(path, "a headset log")
    text = _points(path, _text(path))
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    matches = [_LINE.fullmatch(line) for _, line in lines]
    if len(matches) > 1 and matches[-1] is None and matches[-2] is not None:
        LOG.warning("%s: line %d: breaks off; left out", path, lines[-1][0])
        del lines[-1], matches[-1]
    _check_lines(path, lines, matches)
    numbers = [line for line, _ in lines]
    try:
        rows = [[float(word) for word in match.groups()] for match in matches if match]
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected numbers", hint=HINT) from error
    table = torch.tensor(rows, dtype=torch.float64)
    devices = table[:, 1:].reshape(-1, 3, 7)
    positions, quaternions = devices[..., :3], devices[..., 3:]
    lost = _lost(positions, quaternions)
    _check_numbers(path, numbers, table, lost)
    return HeadsetLog(
        times=_times(table[:, 0], positions, lost),
        fps=table[:, 0],
        positions=positions,
        quaternions=quaternions,
        lost=lost,
        lines=torch.tensor(numbers),
        path=path,
    )


def write_log(fps: Tensor, positions: Tensor, quaternions: Tensor, path: str | Path) -> Path:
    """Write a log as the app does, but with every frame in it, to four decimals.

    Args:
        fps: Frame rates [N].
        positions: Headset, left and right controller in Unity's axes, metres [N, 3, 3].
        quaternions: Their rotations, xyzw [N, 3, 4].
    """
    table = torch.cat([fps[:, None], torch.cat([positions, quaternions], dim=-1).flatten(1)], dim=1)
    place, turn = "({:.4f}, {:.4f}, {:.4f})", "({:.4f}, {:.4f}, {:.4f}, {:.4f})"
    fields = "".join(f"{device}-Position: {place};{device}-Rotation: {turn};" for device in DEVICES)
    form = "FPS:{:.5f};" + fields + "\n\n"
    return write_text(path, "".join(form.format(*row) for row in table.tolist()))


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 30} GB; expected a headset log", hint=HINT)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is no text; expected a headset log", hint=HINT
        ) from error


def _points(path: Path, text: str) -> str:
    """The text with decimal points where a device of another country wrote decimal commas.

    Both are told apart by what follows: a digit after a decimal comma, a blank after one between numbers.
    """
    if not _COMMAS.match(text):
        return text
    LOG.warning("%s: has decimal commas; read as decimal points", path)
    return re.sub(r"(?<=\d),(?=\d)", ".", text)


def _lost(positions: Tensor, quaternions: Tensor) -> Tensor:
    """Which devices were not tracked in which frames [N, 3]: no rotation, no place, or one that stands still.

    A device that is tracked trembles in the last digits. Where all three stand still, the app did.
    """
    length = quaternions.norm(dim=-1)
    nowhere = (positions == 0).all(-1) & (quaternions.abs().amax(-1) == length)
    same = torch.zeros_like(nowhere)
    same[1:] = (positions[1:] == positions[:-1]).all(-1)
    same &= ~same.all(-1, keepdim=True)
    still = torch.zeros_like(nowhere)
    for device in range(nowhere.shape[1]):
        for first, end in intervals(same[:, device]):
            if end - first >= FROZEN:
                still[first:end, device] = True
    lost: Tensor = (length == 0) | nowhere | still
    return lost


def intervals(flags: Tensor) -> list[tuple[int, int]]:
    """First and one past the last frame of each stretch of true flags [N]."""
    edges = torch.diff(flags.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _check_lines(path: Path, lines: list[tuple[int, str]], matches: list[re.Match[str] | None]) -> None:
    """Refuse lines that are not as the app writes them, naming the first one's number and field."""
    bad = [pair for pair, match in zip(lines, matches, strict=True) if match is None]
    if not lines:
        raise DataError(f"{path}: nothing but blank lines; expected {WANTED}", hint=HINT)
    if not bad:
        return
    number, line = bad[0]
    if len(bad) == len(lines) and not line.lstrip().startswith("FPS"):
        raise DataError(
            f"{path}: no line of a headset log: found '{line.strip()[:60]}'; expected {WANTED}", hint=HINT
        )
    more = f" (and {len(bad) - 1} more malformed lines)" if len(bad) > 1 else ""
    field, wanted = _first_wrong(line)
    raise DataError(
        f"{path}: line {number}: {wanted.split(':')[0]}: found '{field.strip()[:60]}'{more}; "
        f"expected {wanted}",
        hint=HINT,
    )


def _first_wrong(line: str) -> tuple[str, str]:
    """The first field of a line that is not as the app writes it, and how it does."""
    fields = line.split(";")
    for index, (name, pattern) in enumerate(_PATTERNS.items()):
        found = fields[index] if index < len(fields) else ""
        if not pattern.fullmatch(found):
            form = "72.0" if name == "FPS" else "(x, y, z)" if name.endswith("Position") else "(x, y, z, w)"
            return found, f"{name}:{form}" if name == "FPS" else f"{name}: {form}"
    return fields[len(_PATTERNS)], "no more: a line ends after RightController-Rotation"


def _check_numbers(path: Path, lines: list[int], table: Tensor, lost: Tensor) -> None:
    """Refuse numbers that no headset can have measured."""
    devices = table[:, 1:].reshape(-1, 3, 7)
    length = devices[..., 3:].norm(dim=-1)
    checks = [
        ("FPS", (table[:, :1] >= 1) & (table[:, :1] <= MAX_FPS), f"1 to {MAX_FPS:.0f}"),
        ("Position", (devices[..., :3].abs() <= MAX_NUMBER).all(-1), f"a place, up to {MAX_NUMBER:.0f}"),
        # Four decimals leave a unit quaternion's length within 2e-4; (0, 0, 0, 0): tracking was lost.
        ("Rotation", lost | ((length - 1).abs() <= 0.05), "a unit quaternion (x, y, z, w)"),
    ]
    for name, good, wanted in checks:
        if not good.all():
            row, device = (~good).nonzero()[0].tolist()
            if name == "FPS":
                found = f"{table[row, 0]:g}"
            else:
                values = devices[row, device, :3] if name == "Position" else devices[row, device, 3:]
                name, found = f"{DEVICES[device]}-{name}", vector(values)
            raise DataError(f"{path}: line {lines[row]}: {name}: found {found}; expected {wanted}", hint=HINT)


def check_room(log: HeadsetLog) -> None:
    """Refuse places, in metres, that no room has.

    Raises:
        DataError: A device is too far from the origin; the message names the line.
    """
    far = ~(log.positions.abs() <= MAX_PLACE).all(-1)
    if far.any():
        frame, device = far.nonzero()[0].tolist()
        reach = float((log.positions[:, 1:] - log.positions[:, :1]).norm(dim=-1).median())
        unit = "mm" if reach > 150 else "cm" if reach > 15 else ""
        raise DataError(
            f"{log.path}: line {log.line(frame)}: {DEVICES[device]}-Position: found "
            f"{vector(log.positions[frame, device])} metres; expected up to {MAX_PLACE:.0f}",
            hint=f"the hands are {reach:.0f} from the head, so read it with --units {unit}" if unit else HINT,
        )


def vector(values: Tensor) -> str:
    """Numbers as the log writes them."""
    return "(" + ", ".join(f"{value:g}" for value in values.tolist()) + ")"


def _times(fps: Tensor, positions: Tensor, lost: Tensor) -> Tensor:
    """Moments of the frames, seconds [N]: 1 / FPS after the one before, twice that where one was dropped."""
    steps = 1 / fps
    boundaries = torch.arange(BLOCK, max(len(fps), BLOCK), BLOCK)
    drops = len(boundaries) > 0 and _has_gaps(positions, lost, boundaries)
    for frame in _slow(fps).tolist():
        if not (drops and frame % BLOCK == 0):
            steps[frame] = _took(*fps[frame - 1 : frame + 2].tolist())
    if drops:
        steps[boundaries] *= 2
    return steps.cumsum(0) - steps[0]


def _slow(fps: Tensor) -> Tensor:
    """Frames that took twice as long as the running average before them, or longer, but for the last one."""
    return (_newest(fps[1:-1], fps[:-2]) < fps[:-2] / 2).nonzero()[:, 0] + 1


def _newest(average: Tensor, before: Tensor) -> Tensor:
    """What a newest value, which weighs a tenth, made of a running average."""
    return 10 * average - 9 * before


def _took(before: float, now: float, after: float) -> float:
    """Seconds that a slow frame took, by which of the three averages explains the frame after it.

    FPS is a running average of rates (spec 2.6); other apps average the frames' times, or nothing.
    """
    rate = 10 * now - 9 * before
    if rate > 0 and 10 * after - 9 * now < 2 * before:
        return 1 / max(rate, 0.1)
    seconds = 10 / now - 9 / before
    return seconds if 10 / after - 9 / now > 0.3 / before else 1 / now


def _has_gaps(positions: Tensor, lost: Tensor, boundaries: Tensor) -> bool:
    """Whether the devices move about twice as far across the ends of blocks as beside them.

    The app drops a frame there; logs from elsewhere need not. A device that is lost near an end is left out.
    """
    moved = (positions[1:] - positions[:-1]).norm(dim=-1)
    inner = boundaries[boundaries < len(positions) - 1]
    near = torch.stack([lost[inner + place] for place in (-2, -1, 0, 1)]).any(0)
    across, before, after = (moved[inner + place].masked_fill(near, 0.0) for place in (-1, -2, 0))
    return bool(across.sum() > 0.75 * (before + after).sum())
