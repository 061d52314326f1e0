"""Settings of the demo."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from avatarctl.config import StageSettings, WeightsPath


class Demo(StageSettings):
    """People that nobody has photographed: in given poses, from all sides, mixed, dancing, and as a mesh."""

    weights: WeightsPath = "fashion-toy"
    """Weights of a generator: the embedded ones, or any others."""
    number: Annotated[int, Field(ge=2, le=64)] = 8
    """People on the sheet."""
    truncation: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.7
    """How far people are from the mean person: 0 not at all, 1 as far as in training."""
    views: Annotated[int, Field(ge=1, le=1000)] = 24
    """Pictures of the turntable, all around."""
    motion: str = "salsa_05_a"
    """What they dance: an embedded clip, a motion file, or a run that made a motion."""
    length: Annotated[int, Field(ge=1, le=1000)] = 24
    """Frames of the dance."""
    voxels: Annotated[int, Field(ge=16, le=1024)] = 128
    """Samples of the mesh along each side of the body's box."""
