"""Settings of infer, eval, export and demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from avatarctl.config import Argument, StageSettings, WeightsPath
from avatarctl_sparse_tracking.settings_headset import LogSettings

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]
LIVE_ONLY = (
    "host", "port", "send_host", "send_port", "headset", "left", "right", "seconds", "patience",
)  # fmt: skip


class Estimate(StageSettings):
    """What whole-body motion is estimated from, and by what."""

    live: bool = False
    """Take tracker poses from the network, and send the body's, in the VMC protocol; needs no recording."""
    recording: Annotated[Argument[Path | None], Field(validate_default=True)] = None
    """Headset log, prepared features, or a motion (file, run:NAME/N, embedded clip): its head and hands."""
    weights: WeightsPath = "open-small"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-small."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    noise: Literal["seeded", "zero"] = "seeded"
    """Start of the sampling: seeded normal numbers (published), or zeros."""
    refine: bool = True
    """Run the temporal refiner, where the weights have one."""
    batch_size: Positive = 1024
    """Windows computed at once."""
    video: bool = False
    """Also make video.mp4."""

    @field_validator("video")
    @classmethod
    def _no_film_of_live(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("live"):
            raise ValueError("--live makes no film; record the motion in the program that receives it")
        return value

    @field_validator("recording")
    @classmethod
    def _recording_or_live(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        is_live = bool(info.data.get("live"))
        if value is None and not is_live:
            raise PydanticKnownError("missing")
        if value is not None and is_live:
            raise ValueError("--live takes no recording; avatarctl export vmc RECORDING sends one")
        return value


class Sampling(StageSettings):
    """How exactly the latents are sampled."""

    steps: Annotated[int, Field(ge=2, le=1000)] = 5
    """Diffusion steps, of which the last is not computed; fewer than the published 5 are faster."""
    weights_format: Literal["float", "int8"] = "float"
    """Numbers of the denoisers' weights: float (bfloat16 with --precision bf16), or int8, on a CPU."""


class Infer(Sampling, LogSettings, Estimate):
    """Whole-body motion from a headset and two controllers."""

    switch_extras: ClassVar[Mapping[str, str]] = {"live": "live"}

    host: str = "127.0.0.1"
    """Live: interface of this machine that receives; another one lets every machine that reaches it send."""
    port: Port = 39540
    """Live: port that receives tracker poses."""
    send_host: str = "127.0.0.1"
    """Live: machine that body poses are sent to."""
    send_port: Port = 39539
    """Live: port that body poses are sent to."""
    headset: str = ""
    """Live: serial of the device on the head; left out: the one that is sent as a headset."""
    left: str = ""
    """Live: serial of the left hand's device; left out: the controller with "left" in it, or the first."""
    right: str = ""
    """Live: serial of the right hand's device; left out: that with "right" in it, or the second."""
    seconds: NotNegative = 0.0
    """Live: stop so long after the first pose; 0 goes on until Ctrl-C."""
    patience: NotNegative = 60.0
    """Live: stop when no pose has come for so many seconds; 0 waits for ever."""

    @field_validator(*LIVE_ONLY)
    @classmethod
    def _needs_live(cls, value: object, info: ValidationInfo) -> object:
        # A settings file names every field: only what differs from its default was meant.
        if not info.data.get("live") and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("goes with --live only")
        return value


class Scored(StageSettings):
    """Scores on the clips of a prepared store."""

    store: Path = Path("data/amass")
    """Prepared motion store (avatarctl prepare amass)."""
    protocol: Literal["any", "S1", "S2", "S3", "S3-certain", "all", "lists"] = "any"
    """Published setting that the store must have been prepared for; any takes every store."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    split: str = "test"
    """Split of the store."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Only so many clips; 0 takes all."""
    batch_size: Positive = 1024
    """Windows computed at once."""


class EvaluateWhole(Scored):
    """Scores of the whole body on the clips of a prepared store."""

    weights: WeightsPath = "open-small"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-small."""


class Evaluate(Sampling, EvaluateWhole):
    """Scores of the whole chain on the clips of a prepared store."""

    refine: bool = True
    """Run the temporal refiner, where the weights have one."""


class EvaluateVqvae(Scored):
    """Scores of one half's VQ-VAE: the true rotations in, their reconstruction out."""

    part: Literal["upper", "lower"] = "upper"
    """Body half."""
    weights: WeightsPath = "latest"
    """VQ-VAE of this half: a file, a folder of published weights, run:NAME/N, or latest."""


class EvaluateDiffusion(Scored):
    """Scores of the sampled latents, decoded by the VQ-VAEs."""

    part: Literal["upper", "lower"] = "lower"
    """lower: both halves, the lower one given the upper one's latents; upper: the upper half alone."""
    weights: WeightsPath = "latest"
    """Diffusion models and VQ-VAEs: a folder, files joined by commas, or latest: the newest run of each."""


class Export(StageSettings):
    """The result of an infer run in other formats."""

    source: Argument[Path]
    """Run folder of infer sparse, or a motion file."""
    to: list[str] = ["glb", "bvh"]
    """Formats: glb, bvh, npz (AMASS), pkl (published), blender (a script, .py), mp4, and the plugins' own."""
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
