"""Settings of infer, export and demo, and those that evaluation shares with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from avatarctl.config import Argument, StageSettings, WeightsPath

Count = Annotated[int, Field(ge=1, le=1000)]
NotNegative = Annotated[int, Field(ge=0)]
Strength = Annotated[float, Field(ge=0, le=1e4)]
Rate = Annotated[float, Field(ge=0, le=1000)]
Height = Annotated[int, Field(ge=128, le=4096)]
Renderer = Literal["auto", "torch", "numba", "pytorch3d"]
OWN_ONLY = (
    "scene", "camera", "keypoints", "box", "detector_models", "scene_up", "scene_unit", "fps",
)  # fmt: skip
"""Settings of infer that say something of the user's own pictures only."""


class Networks(StageSettings):
    """Which trained networks find bodies, and whose bodies they know."""

    weights: WeightsPath = "ego-toy"
    """Trained weights: a file or folder (native or official), run:NAME/N, latest, or ego-toy."""
    scene_network: WeightsPath | None = None
    """Network that says where the body is (stage 1) from other weights."""
    diffusion_network: WeightsPath | None = None
    """Network that says its pose (stage 2) from other weights."""
    collision: WeightsPath | None = None
    """Collision network (COAP or VolumetricSMPL) from other weights."""
    body: Literal["auto", "smpl", "open"] = "auto"
    """Bodies: licensed SMPL, or the open body; auto takes those that the weights were trained with."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""


class Sampling(StageSettings):
    """How bodies are sampled."""

    sampler: Literal["ddpm", "ddim5"] = "ddpm"
    """All 50 steps of diffusion, or five of them."""
    samples: Count = 1
    """Bodies of each person."""
    fuse: bool = True
    """Take joints that are not seen from the room alone."""
    guidance: Literal["auto", "coap", "volumetric", "none"] = "auto"
    """Push bodies out of the room; auto takes the collision network that there is, and none with ddim5."""
    collision_weight: Strength | None = None
    """Strength of this for each body; left out: 0.4 with COAP (published: 2 for batches of 5), else 30."""
    loosen: bool = True
    """Hips count as seen where the knees are."""
    batch_size: Count = 5
    """People computed at once."""


class Infer(Sampling, Networks):
    """Several bodies for each person in a picture, in the scanned room."""

    data: Path | None = None
    """Folder of EgoBody, or of recordings in its layout, in place of pictures of one's own."""
    images: Annotated[Argument[list[Path]], Field(validate_default=True)] = []
    """Pictures of people."""
    scene: Annotated[Path | None, Field(validate_default=True)] = None
    """The room: a mesh or points (.ply, .obj, .glb, .stl, .off)."""
    camera: Annotated[Path | None, Field(validate_default=True)] = None
    """The camera (.json): fx, fy, cx, cy, and world_from_camera where the room has axes of its own."""
    keypoints: Path | None = None
    """OpenPose keypoints (.json): a file, a folder, or a pattern in quotes; left out: they are detected."""
    box: list[str] = []
    """Box around the person as left:top:width:height in pixels, one for each picture in turn."""
    detector: Literal["auto", "mediapipe", "none"] = "auto"
    """Who finds keypoints that are not given; with none and a box, all of them count as seen."""
    detector_models: Path | None = None
    """Folder with pose_detection.tflite and pose_landmark_full.tflite; left out: an installed MediaPipe's."""
    scene_up: Literal["auto", "y", "z"] = "auto"
    """Axis of the room that points up."""
    scene_unit: Literal["auto", "m", "cm", "mm"] = "auto"
    """Unit of the room's coordinates and of the camera's place."""
    split: Literal["train", "val", "test"] = "test"
    """Split of the data."""
    every: Count = 1
    """Of the data, every so many frames."""
    translations: Path | None = None
    """Where the bodies are, from stage 1: results.pkl or recovered.npz; left out: the network says it."""
    places: bool = False
    """The published stage 1 alone: where bodies are, and the likeliest pose; its results.pkl others take."""
    samples: Count = 5
    """Bodies of each person; the published tests draw one."""
    to: list[str] | None = None
    """Formats: glb, ply, obj, npz, motion, png, pkl (published results_seed_N.pkl); left out: glb, or motion
    of sequences."""
    fps: Rate = 0.0
    """Pictures are a sequence at this rate; 0: they are single ones, and recordings are taken at 30."""
    pictures: NotNegative = 20
    """Draw so many people at most, evenly spread; 0 draws none."""
    renderer: Renderer = "auto"
    """Rasteriser of the pictures."""

    @field_validator("images")
    @classmethod
    def _pictures_or_data(cls, value: list[Path], info: ValidationInfo) -> list[Path]:
        if not value and info.data.get("data") is None:
            raise PydanticKnownError("missing")
        if value and info.data.get("data") is not None:
            raise ValueError("name pictures, or --data FOLDER, not both")
        return value

    @field_validator("scene", "camera")
    @classmethod
    def _with_pictures(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("images"):
            raise PydanticKnownError("missing")
        return value

    @field_validator(*OWN_ONLY)
    @classmethod
    def _without_data(cls, value: object, info: ValidationInfo) -> object:
        # A settings file names every field: only what differs from its default was meant.
        if info.data.get("data") is not None and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("goes with pictures of one's own; --data brings its own")
        return value

    @field_validator("every", "translations")
    @classmethod
    def _with_data(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("data") is None and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("goes with --data only")
        return value

    @field_validator("places")
    @classmethod
    def _finds_places(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("translations") is not None:
            raise ValueError("finds what --translations gives; leave out one of them")
        return value

    @field_validator("box")
    @classmethod
    def _are_boxes(cls, value: list[str]) -> list[str]:
        for words in value:
            box_of(words)
        return value


def box_of(words: str) -> tuple[float, float, float, float]:
    """Left, top, width and height, pixels.

    Raises:
        ValueError: The words are none.
    """
    try:
        left, top, width, height = (float(word) for word in words.split(":"))
    except ValueError:
        raise ValueError(f"found '{words[:40]}', expected left:top:width:height") from None
    if not (0 < width < 1e6 and 0 < height < 1e6 and abs(left) < 1e6 and abs(top) < 1e6):
        raise ValueError(f"found '{words[:40]}', expected a width and a height above 0")
    return left, top, width, height


class Export(StageSettings):
    """Recovered bodies in other formats."""

    source: Argument[Path]
    """Run folder of infer ego-hmr, its recovered.npz, or published results_seed_N.pkl with --data."""
    to: list[str] = ["glb", "npz"]
    """Formats: glb, ply, obj, npz (SMPL parameters), motion (AMASS), png (pictures), pkl (published
    results_seed_N.pkl; results.pkl where the source does not tell the seed N)."""
    axes: Literal["scene", "camera", "kinect"] = "scene"
    """Axes of meshes and npz: the room's, the picture's camera's, or EgoBody's master Kinect's."""
    sample: int = -1
    """Which of the samples, from 0; -1 takes all."""
    people: Annotated[int, Field(ge=0)] = 0
    """So many people at most, evenly spread; 0 takes all."""
    data: Path | None = None
    """Folder of the recordings, for published results, and where it has moved."""
    split: Literal["train", "val", "test"] = "test"
    """Split of the data that published results are of."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    fps: Annotated[float, Field(ge=1, le=1000)] = 30.0
    """Rate of a sequence, for motion."""
    renderer: Renderer = "auto"
    """Rasteriser of pictures."""


class Demo(Sampling, Networks):
    """People in an office scan."""

    people: Annotated[int, Field(ge=1, le=8)] = 2
    """People placed in the office."""
    samples: Count = 5
    """Bodies of each."""
    size: Height = 480
    """Height of the pictures, pixels."""
    turntable: bool = True
    """Also make a film of the bodies, seen from all sides that the scan has."""
    renderer: Renderer = "auto"
    """Rasteriser of the pictures."""
