"""Settings of the eval target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl_video_avatar.settings import Pictures
from avatarctl_video_avatar.settings_model import NotNegative


class Evaluate(Pictures):
    """How near an avatar's pictures, and its surface, come to the true ones."""

    resolution_level: Annotated[int, Field(ge=1, le=64)] = 2
    """Every so many rows and columns; published numbers are of 2, 512 x 512 of 1024 x 1024."""
    lpips: list[Path] = []
    """Files of LPIPS's network; left out: that of the weights, else that among the added assets."""
    backbone: Literal["vgg", "alex"] = "vgg"
    """Its image network; the published validation takes vgg."""
    pictures: NotNegative = 4
    """Save so many comparisons at most, evenly spread."""
    geometry: Path | None = None
    """Folder of meshes to compare the surface with; frame f is the mesh whose name ends with f + 1."""
    geometry_protocol: Literal["arah", "sampled"] = "arah"
    """Between vertices above the ground, cm² (ARAH); or between 10000 places of each surface, m²."""
    geometry_frames: list[NotNegative] | None = None
    """Which frames; left out: those of ARAH's evaluation where the person has some, else all with a mesh."""
    ground: Path | None = None
    """Ground planes (.json): [a, b, d], or such by subject; left out: nothing is cut off."""
    resolution: Annotated[int, Field(ge=8, le=2048)] = 256
    """Samples along each side of the body's box, for the surface."""
