"""Settings of the preparation of photos (spec 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from avatarctl.config import StageSettings
from avatarctl_generative_avatar.settings_model import Kind


class PrepareFashion(StageSettings):
    """Photos of people with fitted bodies: the zip that trainings and evaluations read.

    Photos are laid on white, by their alpha channel where they have one, and padded to squares.
    """

    images: Path
    """Folder of photos, folders in it included; with --check also a finished zip."""
    smpl: Path | None = None
    """Fitted bodies: .json, .npz or .pkl as the README describes, or the dataset.json of another zip."""
    normals: Path | None = None
    """Folder of normal maps named like the photos; left out: normals of the fitted bodies are drawn."""
    into: Path = Path("data/fashion.zip")
    """Zip that is written."""
    resolution: Annotated[int, Field(ge=16, le=2048)] = 512
    """Side of the pictures, pixels."""
    body: Kind = "smpl"
    """Body that was fitted: the licensed one, or the open one that comes with avatarctl."""
    body_models: Path | None = None
    """Folder of the licensed body model; left out: the added assets."""
    skip: bool = False
    """Leave out photos that cannot be used, instead of stopping there."""
    processes: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 takes one per core."""
    replace: bool = False
    """Overwrite the zip if it is there."""
    check: bool = False
    """Only look through everything, and draw the bodies over some photos."""
