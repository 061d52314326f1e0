"""Settings of infer, and those that evaluation and export share with it (spec 1.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl_generative_avatar.settings_model import NotNegative, Positive

Mode = Literal["samples", "canonical", "views", "interp", "animate"]
Panel = Literal["rgb", "raw", "normal", "mesh"]
Chance = Literal["const", "random", "published"]
Samples = Annotated[int, Field(ge=4, le=1024)]
PUBLISHED: dict[str, Mode] = {
    "gen_samples": "samples", "gen_cano": "canonical", "gen_novel_view": "views", "gen_interp": "interp",
    "gen_anim": "animate",
}  # fmt: skip
"""The published names of modes."""
ALIASES: dict[str, Mode] = {"sample": "samples", "anim": "animate"}


class Sampling(Group):
    """Samples of rays; the defaults are those of the published test script."""

    depth_resolution: Samples = 48
    """Samples of a ray in the first pass."""
    depth_resolution_importance: Annotated[int, Field(ge=0, le=1024)] = 48
    """Samples that the second pass puts where the first found something; 0 for no second pass."""
    ray_start: Annotated[float, Field(ge=-10.0, lt=0.0)] = -0.5
    """Where samples begin, metres from the plane z = 0 towards the camera."""
    ray_end: Annotated[float, Field(gt=0.0, le=10.0)] = 0.5
    """Where they end."""
    rays: Annotated[int, Field(ge=0, le=1024)] = 0
    """Rays along a side of the picture; 0: as in training, half as many as it has pixels."""
    fits: bool = True
    """Where a posed body reaches farther, begin and end there, with samples as dense."""
    chunk: Annotated[int, Field(ge=1024)] = 1 << 20
    """Samples worked on at a time; bounds the memory."""


class People(StageSettings):
    """Whose generator, and which people of it."""

    weights: WeightsPath = "latest"
    """Trained weights: a file (native, or a published snapshot), run:NAME/N, latest, or fashion-toy."""
    number: Positive = 1
    """People."""
    truncation: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.7
    """How far people are from the mean person: 0 not at all, 1 as far as in training."""
    poses: str | None = None
    """Labels that poses are drawn from: a .npy of them, photos (zip or folder), clips, or canonical."""
    body: Literal["auto", "smpl", "open"] = "auto"
    """Body that is posed: the licensed one or the open one; auto takes that of the training."""
    body_models: Path | None = None
    """Folder of the licensed body model; left out: the added assets."""
    sdf: Path | None = None
    """Signed distances of the canonical body (sdf_smpl.npy); left out: the added asset, else computed."""
    noise: Chance = "const"
    """Fine detail of people: the trained one, drawn once for each, or anew in each picture, as published."""
    jitter: bool = False
    """Shift samples by chance; noise published does."""
    sampling: Sampling = Sampling()
    """Samples of rays."""


class Chosen(People):
    """New people or those of a file, all or some."""

    people: Path | None = None
    """People of a run in place of new ones: people.npz, people/NNNNN.npz, the run's folder, or run:NAME/N."""
    pick: list[NotNegative] = []
    """Only these people, by the numbers in the names of their files; left out: all."""

    @field_validator("pick", mode="before")
    @classmethod
    def _picked(cls, value: Any) -> Any:
        return words_of(value)

    @field_validator("pick")
    @classmethod
    def _once(cls, value: list[int]) -> list[int]:
        return list(dict.fromkeys(value))


class Infer(Chosen):
    """New people: pictures, turning views, blends, films in any motion."""

    mode: Annotated[list[Mode], Field(min_length=1)] = ["samples"]
    """What to make: samples, canonical (arms out), views, interp or animate; or the published names."""
    panels: Annotated[list[Panel], Field(min_length=1)] = ["rgb"]
    """What to show side by side: the picture, as it is before super-resolution, its normals, its mesh."""
    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side of each panel, pixels; left out: that of the generator's pictures."""
    crop: Literal["none", "published", "all"] = "none"
    """Views: show the middle half alone, of all panels or, as published, of all but rgb."""
    motion: str | None = None
    """What animate shows: a motion file (.npz, .bvh, .pkl), an embedded clip, or a run, run:NAME/N."""
    animation: Literal["timed", "published"] = "timed"
    """At the motion's own speed, with its ups and downs; or every ninth frame in place, in mean shape."""
    camera: Literal["auto", "still", "swing", "orbit"] = "auto"
    """Path around the person: none, 40 degrees to each side, or all around; auto: swing for views."""
    turns: Annotated[float, Field(ge=-100.0, le=100.0)] = 1.0
    """With orbit: circles over the film."""
    azimuth: Annotated[float, Field(ge=-360.0, le=360.0)] = 0.0
    """Where the camera begins, degrees around the person: 0 is the front, 90 its right."""
    elevation: Annotated[float, Field(ge=-90.0, le=90.0)] = 0.0
    """Degrees from which the camera looks down."""
    frames: NotNegative = 0
    """Frames of a film; 0: 21 of a swing, 36 of an orbit, up to 100 of a motion."""
    fps: Annotated[float, Field(gt=0.0, le=240.0)] = 10.0
    """Frames a second of films; motions are brought to it."""
    steps: Annotated[int, Field(ge=2, le=100)] = 8
    """Steps of a blend between two people."""
    voxels: Annotated[int, Field(ge=16, le=1024)] = 256
    """Panel mesh: samples along each side of the box around the body."""
    batch: Positive = 1
    """Pictures of a film rendered together; more is faster on a GPU."""

    @field_validator("mode", mode="before")
    @classmethod
    def _modes(cls, value: Any) -> Any:
        """Published names by their plain words; several of them may be in one word, as published."""
        found: list[Any] = []
        for word in words_of(value):
            joined = [mode for name, mode in PUBLISHED.items() if isinstance(word, str) and name in word]
            found += [ALIASES[word]] if word in ALIASES else joined or [word]
        return list(dict.fromkeys(found))

    @field_validator("turns")
    @classmethod
    def _turns(cls, value: float, info: ValidationInfo) -> float:
        if value == 0 and info.data.get("camera") == "orbit":
            raise ValueError("an orbit of no circle; leave --camera out, or choose still")
        return value

    @field_validator("panels", mode="before")
    @classmethod
    def _panels(cls, value: Any) -> Any:
        return words_of(value)


def words_of(value: Any) -> list[Any]:
    """Words of a list; commas separate them too."""
    words = value if isinstance(value, list | tuple) else [value]
    return [
        part
        for word in words
        for part in ([one.strip() for one in word.split(",")] if isinstance(word, str) else [word])
    ]
