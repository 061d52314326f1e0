"""Settings of the made-up recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from avatarctl.config import StageSettings


class PrepareSynthetic(StageSettings):
    """A made-up person's recording in the prepared layout: open body and clip, dressed and drawn here.

    Views with even numbers and the first four fifths of the frames are for training; the others are held out.
    """

    into: Path = Path("data/data_prepared/Synthetic")
    """Folder that is written."""
    frames: Annotated[int, Field(ge=2, le=100_000)] = 40
    """Frames of each camera, evenly over the clip."""
    cameras: Annotated[int, Field(ge=2, le=360)] = 8
    """Cameras on a ring around the person."""
    size: Annotated[str, Field(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")] = "256x256"
    """Width and height of the pictures, pixels."""
    clip: str = "jumping_jacks"
    """Embedded clip that the person moves by (`avatarctl inspect clips` names them)."""
    person: Annotated[int, Field(ge=0)] = 0
    """Number of the person; each has another shape and other clothes. The toy weights know person 0."""
    volume_size: Annotated[int, Field(ge=16, le=1024)] = 128
    """Samples along each side of the volume of signed distances."""
    replace: bool = False
    """Delete what was made with other options in this folder."""
