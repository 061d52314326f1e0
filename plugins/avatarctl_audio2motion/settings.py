"""Settings of infer, export and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl.config import Argument, StageSettings, WeightsPath

Count = Annotated[int, Field(ge=1, le=1000)]
Guidance = Annotated[float, Field(ge=0, le=100)]
Mode = Literal["both", "face", "body"]
Renderer = Literal["auto", "torch", "numba", "pytorch3d"]
Height = Annotated[int, Field(ge=0, le=4096)]
KEY_STEP = 30
"""Frames from one key pose to the next."""
SHORTEST_OVERLAP = 30


class Networks(StageSettings):
    """Which trained networks generate, and whom."""

    weights: WeightsPath = "open-toy"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or open-toy."""
    face: WeightsPath | None = None
    """Face network from other weights."""
    body: WeightsPath | None = None
    """Body network from other weights."""
    guide: WeightsPath | None = None
    """Guide network (key poses) from other weights."""
    vqvae: WeightsPath | None = None
    """Codec of the guide's codes from other weights."""
    person: str = ""
    """Person by name (PXB184), or the folder of the person's avatar; left out: whom the weights name."""
    stats: Path | None = None
    """The person's data_stats.pth, or a folder that holds it; left out: what the weights bring."""
    log_compression: bool = False
    """Logarithm of the audio features, where neither the weights nor an audio model beside them say."""


class Sampling(StageSettings):
    """How motion is sampled."""

    mode: Mode = "both"
    """What is generated."""
    steps: str = "ddim100"
    """Diffusion steps kept of 1000: 50, ddim50, or one count for each of several equal sections: 10,20,30."""
    guidance: Guidance = 10.0
    """Guidance strength of the face; 1 is none."""
    body_guidance: Guidance = 2.0
    """Guidance strength of the body; 1 is none."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.94
    """Probability mass that each code of a key pose is drawn from; more is more diverse."""
    window: Annotated[int, Field(ge=0, multiple_of=KEY_STEP)] = 0
    """Frames generated at once, thirty a second; 0 takes as many as the networks were made for (600)."""
    overlap: Annotated[int, Field(ge=SHORTEST_OVERLAP, multiple_of=KEY_STEP)] = 150
    """Frames that two windows of a longer clip share."""
    batch_size: Count = 8
    """Samples computed at once."""

    @field_validator("overlap")
    @classmethod
    def _shorter_than_window(cls, value: int, info: ValidationInfo) -> int:
        window = info.data.get("window", 0)
        if window and value > window // 2:
            raise ValueError(f"expected at most half of the window, {window // 2 // KEY_STEP * KEY_STEP}")
        return value


class Infer(Sampling, Networks):
    """Face, body and a film from any sound file."""

    sound: Argument[Path]
    """Sound file: wav, flac, mp3, ogg, m4a, mp4; one voice, or two voices in two channels."""
    partner: Path | None = None
    """Sound file of the partner's voice, where the first file holds one voice."""
    turns: Path | None = None
    """Who speaks when (.rttm), where the file holds both voices in one channel."""
    speaker: str = ""
    """The speaker in the turns who is to move; left out: the first."""
    resampler: Literal["published", "soxr"] = "published"
    """How other rates are brought to 48 kHz."""
    samples: Count = 1
    """Results, each from its own noise."""
    repeats: Count = 1
    """Repetitions of each sample; the number of results is samples times repeats."""
    keys: Path | None = None
    """Key poses, one a second [K, 104] (.npy), in place of the guide's; rows of NaN are left to the guide."""
    results: bool = False
    """Also write results.npy in the published structure."""
    to: list[str] = ["glb", "bvh"]
    """Formats beside motion.npz: glb, bvh, pkl (published), blender (a script, .py), and the plugins' own."""
    video: bool = False
    """Also make video.mp4, with sound."""
    size: Height = 0
    """Height of the film in pixels; 0: 720, or a drawn avatar's own."""
    look: Literal["full", "draft", "shape"] = "full"
    """A drawn avatar as published, at half the texels (draft), or without texture (shape)."""
    renderer: Renderer = "auto"
    """Rasteriser of the film."""

    @field_validator("to")
    @classmethod
    def _film_is_apart(cls, value: list[str]) -> list[str]:
        if "mp4" in value:
            raise ValueError("mp4: the film with sound is made by --video")
        return value

    @field_validator("speaker")
    @classmethod
    def _needs_turns(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("turns") is None:
            raise ValueError("goes with --turns only")
        return value


class Export(StageSettings):
    """Generated motion in other formats."""

    source: Argument[Path]
    """Run folder of infer audio2motion, a motion file, generated.npz, or results.npy of the body."""
    to: list[str] = ["glb", "bvh"]
    """Formats: glb, bvh, npz (AMASS), pkl (published), blender (a script, .py), mp4, and the plugins' own."""
    number: Annotated[int, Field(ge=0)] = 0
    """Which of the motions, from 0: repetition times samples plus sample."""
    person: str = ""
    """Person by name, or the folder of the person's avatar; left out: whom the file names."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    size: Height = 0
    """Height of mp4 in pixels; 0: 720, or a drawn avatar's own."""
    renderer: Renderer = "auto"
    """Rasteriser of mp4."""


class Demo(Sampling, Networks):
    """A voice to a moving person."""

    sound: Path | None = None
    """Sound file; left out: an embedded speech."""
    seconds: Annotated[float, Field(ge=1, le=3600)] = 11.0
    """Length that is taken of the sound, from its start."""
    steps: str = "ddim50"
    """Diffusion steps kept of 1000: 50, ddim50, or one count for each of several equal sections: 10,20,30."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.97
    """Probability mass that each code of a key pose is drawn from; more is more diverse."""
    samples: Count = 1
    """Results, all in one film."""
    size: Annotated[int, Field(ge=128, le=2048)] = 400
    """Height of each result in the film, pixels."""
    renderer: Renderer = "auto"
    """Rasteriser of the film."""
    web: bool = False
    """Serve a page on this machine to record a voice and see it move, instead of a report."""
    port: Annotated[int, Field(ge=0, lt=65536)] = 7860
    """Port of the page; 0 takes a free one."""
