"""Settings of `prepare egobody`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from avatarctl.config import Argument, StageSettings


class PrepareEgobody(StageSettings):
    """Points of the room for each frame of EgoBody, as the published scripts write them."""

    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "step": {"cube-predicted": {"split": "val"}}
    }
    data: Argument[Path]
    """Folder of EgoBody, unpacked or as its zips."""
    step: Literal["front", "cube-gt", "cube-predicted"] = "front"
    """In front of the camera (stage scene), or around the true or the predicted body (stage diffusion)."""
    split: Literal["train", "val", "test"] = "train"
    """Whose frames; cube-predicted: val."""
    points: Annotated[int, Field(ge=1)] = 20000
    """Points of each frame."""
    cube_size: Annotated[float, Field(gt=0)] = 2.0
    """Side of the cube, metres."""
    translations: Path | None = None
    """Stage-1 results.pkl for cube-predicted; left out: where the published scripts put it."""
    renew: Literal["published", "recording"] = "published"
    """When frames in front get new points: every 15 frames or in a new scene, or in a new recording too."""
    body: Literal["auto", "smpl", "open"] = "auto"
    """Bodies of cube-gt: licensed SMPL, or the open body; auto takes those that the recordings show."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    into: Path | None = None
    """Where the points are written; left out: the published folder name beside the data."""
    skip_bad: bool = False
    """End well although some frames could not be used (they are listed either way)."""
    replace: bool = False
    """Replace points that were made in another way."""
