"""Settings of the core's own export targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import Argument, StageSettings, WeightsPath


class ExportMotion(StageSettings):
    """A motion file in the formats that other programs read."""

    motion: Argument[Path]
    """AMASS .npz, SMPL or animation .pkl, or .bvh; run:NAME/N; or the name of an embedded clip."""
    to: list[str] = ["glb", "bvh"]
    """Formats: glb, bvh, npz (AMASS), pkl (published), blender (a script, .py), mp4, and the plugins' own."""
    family: Literal["auto", "smpl", "smplh", "smplx"] = "auto"
    """Body that is shown; auto takes the motion's own (smplh for smpl, which has no open body)."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""


class ExportVmc(StageSettings):
    """A motion sent over the network at its own rate, in the VMC protocol."""

    clip: Argument[str]
    """Motion file, headset log, run:NAME/N, or the name of an embedded clip."""
    send: Literal["trackers", "body"] = "trackers"
    """Poses of a headset and two controllers, as infer sparse --live takes them, or of all bones."""
    host: str = "127.0.0.1"
    """Machine to send to."""
    port: Annotated[int | None, Field(gt=0, lt=65536)] = None
    """Port to send to; left out: 39540 for trackers, 39539 for a body."""
    speed: Annotated[float, Field(gt=0, le=10)] = 1.0
    """How many times faster than recorded."""
    loop: bool = False
    """Begin anew at the end, until Ctrl-C."""


class ExportCheckpoint(StageSettings):
    """Trained weights in another layout."""

    weights: Argument[WeightsPath]
    """A file or folder (native or published), run:NAME/N, or embedded weights; several joined by commas."""
    to: list[str] = ["safetensors"]
    """Layouts: safetensors (avatarctl's own file), or a published one of a plugin; a wrong name lists all."""
