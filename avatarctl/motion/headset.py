"""Logs of the headset app: a line of text a frame, Unity's axes (left-handed, y up), metres, xyzw.

The format and the app's habits are those of spec sparse-tracking 2.6.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

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
MAX_BYTES = 1 << 30
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


@dataclass(frozen=True)
class HeadsetLog:
    """The numbers of a log, float64.

    `times` [N] seconds, `fps` [N] as logged, `positions` [N, 3, 3] and `quaternions` xyzw [N, 3, 4] of
    headset, left and right controller.
    """

    times: Tensor
    fps: Tensor
    positions: Tensor
    quaternions: Tensor

    def __len__(self) -> int:
        return len(self.fps)

    def __getitem__(self, frames: slice) -> HeadsetLog:
        return HeadsetLog(
            self.times[frames], self.fps[frames], self.positions[frames], self.quaternions[frames]
        )


def read_log(path: str | Path) -> HeadsetLog:
    """The frames of a log; a last line that breaks off is left out with a warning.

    Raises:
        DataError: A line is malformed or holds impossible numbers; the message names it.
    """
    path = check_input_file(path, "a headset log")
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), start=1) if line.strip()]
    matches = [_LINE.fullmatch(line) for _, line in lines]
    if matches and matches[-1] is None and len(matches) > 1:
        LOG.warning("%s: line %d: breaks off; left out", path, lines[-1][0])
        del lines[-1], matches[-1]
    _check_lines(path, lines, matches)
    numbers = [line for line, _ in lines]
    try:
        rows = [[float(word) for word in match.groups()] for match in matches if match]
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected numbers", hint=HINT) from error
    table = torch.tensor(rows, dtype=torch.float64)
    _check_numbers(path, numbers, table)
    devices = table[:, 1:].reshape(-1, 3, 7)
    positions, quaternions = devices[..., :3], devices[..., 3:]
    return HeadsetLog(_times(table[:, 0], positions), table[:, 0], positions, quaternions)


def write_log(log: HeadsetLog, path: str | Path) -> Path:
    """Write a log as the app does, but with every frame in it."""
    table = torch.cat(
        [log.fps[:, None], torch.cat([log.positions, log.quaternions], dim=-1).flatten(1)], dim=1
    )
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


def _check_lines(path: Path, lines: list[tuple[int, str]], matches: list[re.Match[str] | None]) -> None:
    """Refuse lines that are not as the app writes them, naming the first one's number and field."""
    bad = [pair for pair, match in zip(lines, matches, strict=True) if match is None]
    if len(bad) == len(lines):
        first = lines[0][1].strip()[:60] if lines else "nothing but blank lines"
        raise DataError(f"{path}: no line of a headset log: found '{first}'; expected {WANTED}", hint=HINT)
    if not bad:
        return
    number, line = bad[0]
    fields = line.split(";")
    for field, (name, pattern) in zip(fields, _PATTERNS.items(), strict=False):  # noqa: B007 (named below)
        if not pattern.fullmatch(field):
            break
    else:
        name, field = list(_PATTERNS)[min(len(fields), len(_PATTERNS)) - 1], fields[-1]
    more = f" (and {len(bad) - 1} more malformed lines)" if len(bad) > 1 else ""
    raise DataError(
        f"{path}: line {number}: {name}: found '{field.strip()[:60]}'{more}; expected {WANTED}", hint=HINT
    )


def _check_numbers(path: Path, lines: list[int], table: Tensor) -> None:
    """Refuse numbers that no headset can have measured."""
    devices = table[:, 1:].reshape(-1, 3, 7)
    length = devices[..., 3:].norm(dim=-1)
    checks = [
        ("FPS", (table[:, :1] >= 1) & (table[:, :1] <= MAX_FPS), f"1 to {MAX_FPS:.0f}"),
        ("Position", (devices[..., :3].abs() <= MAX_PLACE).all(-1), f"metres, up to {MAX_PLACE:.0f}"),
        # Four decimals leave a unit quaternion's length within 2e-4; (0, 0, 0, 0): tracking was lost.
        ("Rotation", (length - 1).abs() <= 0.05, "a unit quaternion (x, y, z, w)"),
    ]
    for name, good, wanted in checks:
        if not good.all():
            row, device = (~good).nonzero()[0].tolist()
            if name == "FPS":
                found = f"{table[row, 0]:g}"
            else:
                values = devices[row, device, :3] if name == "Position" else devices[row, device, 3:]
                name, found = (
                    f"{DEVICES[device]}-{name}",
                    "(" + ", ".join(f"{value:g}" for value in values) + ")",
                )
            raise DataError(f"{path}: line {lines[row]}: {name}: found {found}; expected {wanted}", hint=HINT)


def _times(fps: Tensor, positions: Tensor) -> Tensor:
    """Moments of the frames, seconds [N]: 1 / FPS after the one before, twice that where one was dropped."""
    steps = 1 / fps
    boundaries = torch.arange(BLOCK, max(len(fps), BLOCK), BLOCK)
    if len(boundaries) and _has_gaps(positions, boundaries):
        steps[boundaries] *= 2
    return steps.cumsum(0) - steps[0]


def _has_gaps(positions: Tensor, boundaries: Tensor) -> bool:
    """Whether the devices move about twice as far across the ends of blocks as beside them.

    The app drops a frame there; logs from elsewhere need not.
    """
    moved = (positions[1:] - positions[:-1]).norm(dim=-1).sum(-1)
    inner = boundaries[boundaries < len(positions) - 1]
    beside = (moved[inner - 2] + moved[inner]) / 2
    return bool(moved[inner - 1].sum() > 1.5 * beside.sum())
