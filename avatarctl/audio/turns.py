"""Who speaks when: .rttm files, the rich transcription time marks of speaker diarisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

WANTED = "SPEAKER FILE CHANNEL START DURATION <NA> <NA> NAME ..."


@dataclass(frozen=True)
class Turn:
    """A stretch of speech; times in seconds from the start of the recording."""

    start: float
    duration: float
    speaker: str


def read_turns(path: str | Path) -> list[Turn]:
    """The turns in an .rttm file, by their start; lines of other types than SPEAKER are left out.

    Raises:
        DataError: A line is broken, or there is no turn.
    """
    path = check_input_file(path, "speaker turns (.rttm)")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no text: {error}", hint=f"lines are: {WANTED}") from error
    turns = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and words[0] == "SPEAKER":
            turns.append(_turn(words, f"{path}: line {number}"))
    if not turns:
        raise DataError(f"{path}: no SPEAKER line in it; expected speaker turns", hint=f"lines are: {WANTED}")
    return sorted(turns, key=lambda turn: turn.start)


def _turn(words: list[str], where: str) -> Turn:
    try:
        start, duration, speaker = float(words[3]), float(words[4]), words[7]
    except (ValueError, IndexError) as error:
        raise DataError(f"{where}: expected {WANTED}", hint="correct the line or remove it") from error
    if not (math.isfinite(start) and math.isfinite(duration) and start >= 0 and duration >= 0):
        raise DataError(
            f"{where}: start {words[3]}, duration {words[4]}; expected seconds from 0 on",
            hint="correct the line or remove it",
        )
    return Turn(start, duration, speaker)
