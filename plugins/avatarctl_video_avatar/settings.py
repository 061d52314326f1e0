"""Settings of infer, and those that evaluation and export share with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl.config import StageSettings, WeightsPath
from avatarctl_video_avatar.settings_model import NotNegative, Positive, Rendering

Grey = Annotated[float, Field(ge=0.0, le=255.0)]
Dataset = Literal[
    "zju-mocap", "h36m", "monocap", "people-snapshot", "selfrecon", "synthetic-human", "synthetic-video"
]  # fmt: skip
Mode = Literal["val", "nvs", "unseen", "test", "odp"]


class Avatar(StageSettings):
    """Whose avatar, and how it is rendered."""

    data: Path
    """The person's prepared recording."""
    weights: WeightsPath = "latest"
    """Trained weights: a file or folder (native or official), run:NAME/N, or latest."""
    rendering: Rendering = Rendering()
    """For weights that do not say how they were trained, as official ones: take a preset."""
    dataset: Literal["auto", Dataset] = "auto"
    """Data set of the recording, where its kind matters; auto takes what its preparation wrote down."""
    offset: Literal["exact", "published"] = "exact"
    """Bodies of People-Snapshot and SelfRecon: moved to where they were fitted, or by 40 cm as published."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""


class Pictures(Avatar):
    """Which pictures, and how their rays are sampled."""

    samples: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Samples of a ray; left out: as in training."""
    jitter: Literal["off", "published"] = "off"
    """Shift the depths of each ray by chance; published does."""
    mode: Mode = "val"
    """val or nvs: views beside the true pictures; unseen: later frames; test or odp: new poses, no truth."""
    views: list[str] | None = None
    """Cameras of the recording; left out: what the mode says (nvs: view 2)."""
    start: int | None = None
    """First frame, counted from 0; left out: what the mode says."""
    end: int | None = None
    """Frame before which it ends, as Python slices do; -1 leaves out the last, as published."""
    step: Positive | None = None
    """Every so many frames; left out: what the mode says (val 2, unseen 50, test 1)."""
    resolution_level: Annotated[int, Field(ge=1, le=64)] = 4
    """Every so many rows and columns: 4 makes 256 x 256 of 1024 x 1024."""
    background: Annotated[list[Grey], Field(min_length=3, max_length=3)] = [0.0, 0.0, 0.0]
    """Colour behind the person, RGB 0 to 255."""


class Infer(Pictures):
    """Pictures and a film of an avatar from any camera, in any pose."""

    motion: str | None = None
    """Poses: a motion file (.npz, .bvh, .pkl), an embedded clip, or a run that made a motion, run:NAME/N."""
    pose: Path | None = None
    """Poses as the published code takes them: an AIST++ .pkl, or another person's prepared recording."""
    pose_type: Literal["auto", "aist++", "zju-mocap"] = "auto"
    """What --pose names; auto: zju-mocap, a prepared recording, for folders, and aist++ for files."""
    camera: Literal["dataset", "orbit", "fixed"] = "dataset"
    """The recording's cameras, one that goes around the person, or one that stands still."""
    turns: Annotated[float, Field(ge=-100.0, le=100.0)] = 1.0
    """With orbit: circles around the person over all frames."""
    azimuth: Annotated[float, Field(ge=-360.0, le=360.0)] = 0.0
    """Where orbit begins, or fixed stands, degrees around the person: 0 sees the face, 90 the left side."""
    size: Annotated[int, Field(ge=16, le=4096)] = 256
    """Side of the pictures of orbit and fixed, pixels."""
    placed: bool = True
    """A motion begins where the recording begins and faces as it does."""
    frames: NotNegative = 0
    """So many frames of each view at most; 0 takes all."""
    fps: Annotated[float, Field(gt=0.0, le=240.0)] = 25.0
    """Frames a second of the film; motions are brought to it."""
    normals: Literal["camera", "published", "none"] = "camera"
    """Pictures of the surface's direction: in the camera's axes, as published (star pose), or none."""
    video: bool = True
    """Also write a film for each view."""

    @field_validator("pose")
    @classmethod
    def _one_source(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("motion") is not None:
            raise ValueError("name --motion or --pose, not both")
        return value
