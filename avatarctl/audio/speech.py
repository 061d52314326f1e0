"""The embedded speech: short recordings under free terms (see LICENSE.md beside them)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from avatarctl.audio.turns import Turn, read_turns
from avatarctl.audio.wave import Sound, read_sound


@dataclass(frozen=True)
class Speech:
    """One embedded recording; `turns` say who speaks when, where there are several speakers."""

    name: str
    path: Path
    turns_path: Path | None

    def sound(self) -> Sound:
        """Its samples at their own rate."""
        return read_sound(self.path)

    def turns(self) -> list[Turn]:
        """Who speaks when; nothing for one speaker."""
        return read_turns(self.turns_path) if self.turns_path else []


@cache
def speeches() -> dict[str, Speech]:
    """The embedded recordings by name."""
    folder = Path(str(resources.files("avatarctl") / "_data" / "audio"))
    found = {}
    for path in sorted(folder.glob("*.flac")):
        turns = path.with_suffix(".rttm")
        found[path.stem] = Speech(path.stem, path, turns if turns.is_file() else None)
    return found
