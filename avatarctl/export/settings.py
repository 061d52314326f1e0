"""Settings of the core's own export targets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from avatarctl.config import Argument, StageSettings


class ExportMotion(StageSettings):
    """A motion file in the formats that other programs read."""

    motion: Argument[Path]
    """AMASS .npz, SMPL or animation .pkl, or .bvh."""
    to: list[str] = ["glb", "bvh"]
    """Formats: glb (skinned, animated), bvh (metres, y up, Euler ZXY), npz (AMASS), pkl (published)."""
    family: Literal["auto", "smpl", "smplh", "smplx"] = "auto"
    """Body that glb and bvh show; auto takes the motion's own (smplh for smpl, which has no open body)."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
