"""Settings of the made-up photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from avatarctl.config import StageSettings


class PrepareSynthetic(StageSettings):
    """Made-up photos with normals and exact labels: open bodies in clips' poses, dressed and lit here.

    The same number, resolution and --seed give the same bytes.
    """

    into: Path = Path("data/synthetic-fashion.zip")
    """Zip that is written."""
    number: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Photos."""
    resolution: Annotated[int, Field(ge=16, le=2048)] = 128
    """Side of the pictures, pixels."""
    processes: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 takes one per core."""
    replace: bool = False
    """Overwrite a zip of other options."""
