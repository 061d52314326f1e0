"""Settings of the made-up recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import StageSettings

Count = Annotated[int, Field(ge=1, le=100_000)]
Size = Literal["1920x1080", "1280x720", "960x540", "640x360"]


class PrepareSynthetic(StageSettings):
    """Made-up recordings in EgoBody's raw layout: open bodies, clips and scan, drawn here."""

    store: Path = Path("data/synthetic-egobody")
    """Folder that is written."""
    frames: Count = 2000
    """Pictures for training."""
    validation: Count = 200
    """Pictures for validation; clips, people and cameras of their own."""
    test: Count = 200
    """Pictures for testing; every second recording has the real photo of the office behind the person."""
    size: Size = "1920x1080"
    """Width and height of the pictures, pixels; EgoBody's are 1920x1080."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes; 0 takes one per core where there is enough to do."""
    replace: bool = False
    """Delete made-up recordings of other options in this folder, with what was prepared from them."""
