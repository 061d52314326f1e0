"""Settings of the demo."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from avatarctl.config import StageSettings, WeightsPath


class Demo(StageSettings):
    """The avatar of a made-up person, seen from a new side, in a new pose, and as a mesh."""

    weights: WeightsPath = "avatar-toy"
    """Weights of the made-up person 0: the embedded ones, or those of a training of yours on
    `avatarctl prepare synthetic-video`."""
    motion: str = "salsa_05_a"
    """Poses that the training has not seen: an embedded clip or a motion file."""
    length: Annotated[int, Field(ge=1, le=1000)] = 24
    """Frames of the film."""
    size: Annotated[int, Field(ge=32, le=1024)] = 256
    """Side of the film's pictures, pixels."""
    resolution: Annotated[int, Field(ge=16, le=1024)] = 160
    """Samples of the mesh along each side of the body's box."""
