"""Settings of the prepare targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import Argument, StageSettings
from avatarctl_sparse_tracking.settings_headset import LogSettings


class PrepareAmass(StageSettings):
    """AMASS archives or BVH clips to a store of tracker features and body rotations."""

    raw: Argument[Path]
    """Folder of AMASS subsets, of AMASS-like .npz or of .bvh clips; or `open`: the embedded clips."""
    store: Path = Path("data/amass")
    """Where the prepared store is written."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    protocol: Literal["S1", "S2", "S3", "S3-certain", "all", "lists"] = "S1"
    """What is for training and testing: a published setting, every subset, or train.txt and test.txt."""
    rate: Literal["published", "resample"] = "published"
    """Frame rates: take every so many frames (published), or resample to 60, as BVH clips always are."""
    layout: list[Literal["store", "official"]] = ["store"]
    """What to write: our compact store, the published .pt files, or both."""
    official_out: Path = Path("data/official")
    """Folder for the published .pt files, where `layout` asks for them."""
    held_out: Path | None = None
    """Loose clips: a text file of the test clips, one name a line; left out: every tenth clip is one."""
    lists: Path | None = None
    """Folder of lists: CMU_train.txt, ... for the published ones; protocol `lists`: train.txt, test.txt."""
    make_split: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Only make train.txt and test.txt of all subsets, with this part for training; --seed chooses."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 takes one per core where the data is large enough to gain from it."""
    skip_bad: bool = False
    """End well although some files could not be used (they are listed either way)."""
    replace: bool = False
    """Replace a store that was made from other data or with other options."""


class PrepareHeadset(LogSettings):
    """Headset logs: what was wrong with them, a picture of them, and network features."""

    recording: Argument[list[Path]]
    """Logs of the headset app."""
    layout: list[Literal["features", "official"]] = ["features"]
    """What to write for each log: NAME.npz with the frame rate, the published NAME.pt, or both."""
