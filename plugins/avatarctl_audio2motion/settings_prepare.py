"""Settings of the prepare target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from avatarctl.config import Argument, StageSettings

Count = Annotated[int, Field(ge=1)]


class PrepareConversations(StageSettings):
    """A person's recorded conversations, checked, split and ready for training."""

    folder: Argument[Path]
    """A person's folder in the published layout (scenes, data_stats.pth); or `open`: the made-up pairs."""
    store: Path | None = None
    """Where the prepared store is written; left out: data/PERSON."""
    person: str = ""
    """Whose recordings these are; left out: a published person's name in the path, else the folder's name."""
    stats: Path | None = None
    """data_stats.pth, or a folder that holds it, in place of the folder's own."""
    swap_voices: bool = False
    """Exchange the voices: with the partner's folder and the person's --stats, as published --flip_person."""

    validation: Count = 2
    """Scenes for validation: the last but those for testing."""
    test: Count = 4
    """Scenes for testing: the last; all before the validation ones are for training."""
    skip_bad: bool = False
    """End well although some scenes could not be used (they are listed either way)."""
    replace: bool = False
    """Replace a store that was made from other data or with other options."""

    @field_validator("person", "stats", "swap_voices")
    @classmethod
    def _needs_folder(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("folder") == Path("open"):
            raise ValueError("goes with a folder of recordings only")
        return value
