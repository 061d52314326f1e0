"""Settings of infer, eval, export and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import Argument, StageSettings, WeightsPath

Positive = Annotated[int, Field(gt=0)]


class Infer(StageSettings):
    """Whole-body motion from a headset and two controllers."""

    recording: Argument[Path]
    """Headset log, prepared features (.npz), or a motion file, whose head and hands stand in for trackers."""
    weights: WeightsPath = "open-small"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-small."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    rate: Literal["resample", "native"] = "resample"
    """Headset logs: resample to the network's 60 frames a second, or take the frames as they are."""
    skip_first: Annotated[int, Field(ge=0)] = 100
    """Headset logs: frames dropped at the start, while the user settles."""
    noise: Literal["seeded", "zero"] = "seeded"
    """Start of the sampling: seeded normal numbers (published), or zeros."""
    refine: bool = True
    """Run the temporal refiner, where the weights have one."""
    batch_size: Positive = 1024
    """Windows computed at once."""
    video: bool = False
    """Also make video.mp4."""


class Evaluate(StageSettings):
    """Scores on the clips of a prepared store."""

    store: Path = Path("data/amass")
    """Prepared motion store (avatarctl prepare amass)."""
    weights: WeightsPath = "open-small"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-small."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    split: str = "test"
    """Split of the store."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Only so many clips; 0 takes all."""
    refine: bool = True
    """Run the temporal refiner, where the weights have one."""
    batch_size: Positive = 1024
    """Windows computed at once."""


class Export(StageSettings):
    """The result of an infer run in other formats."""

    source: Argument[Path]
    """Run folder of infer sparse, or a motion file."""
    to: list[str] = ["glb", "bvh"]
    """Formats: glb, bvh, npz (AMASS), pkl (published animation pickle)."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""


class Demo(StageSettings):
    """The main job on real motion capture that the weights have not seen."""

    clips: list[str] = ["walk", "salsa_11", "martial"]
    """Held-out clips by the start of their names; the first gives the motion files."""
    weights: WeightsPath = "open-small"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-small."""
    seconds: Annotated[float, Field(gt=0.5)] = 4.0
    """Length of each clip in the film."""
    size: Annotated[int, Field(ge=128, le=2048)] = 480
    """Height of the film in pixels."""
