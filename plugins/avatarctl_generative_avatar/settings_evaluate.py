"""Settings of the eval target (spec 1.3, 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from avatarctl_generative_avatar.settings import Chance, People, Sampling, words_of
from avatarctl_generative_avatar.settings_model import NotNegative, Positive

Metric = Literal["fid5k_full", "fid50k_full", "fid5k_face", "fid50k"]


class Evaluate(People):
    """How near the pictures, normals and faces of new people come to those of a collection of photos."""

    data: Path
    """Photos with labels and normals: a zip or a folder."""
    metrics: Annotated[list[Metric], Field(min_length=1)] = ["fid5k_full"]
    """5000 or 50000 people: all three kinds (_full), faces (_face), or pictures alone."""
    features: Literal["inception", "efflite0"] = "inception"
    """What sees the pictures: the network of FID, from a file of yours, or one that the extra `metrics`
    brings, whose distances are no FID."""
    inception: Path | None = None
    """Weights of Inception-v3: pt_inception-2015-12-05-6726825d.pth."""
    number: Literal[0] | Annotated[int, Field(ge=2)] = 0
    """People in place of 5000 or 50000; 0 for these. Distances of other numbers cannot be compared."""
    resolution: NotNegative = 0
    """Side of the real photos, pixels; 0: that of the generator's pictures (published: 256 by default)."""
    sums: Literal["float64", "published"] = "float64"
    """How statistics are summed: in float64, or in float32 as published, 1e-4 off."""
    truncation: Annotated[float, Field(ge=-2.0, le=2.0)] = 1.0
    """How far people are from the mean person; published numbers are of 1."""
    poses: str | None = None
    """Labels that poses are drawn from; left out: those of the photos, as published."""
    noise: Chance = "published"
    """Fine detail of people and depths of samples: as published, or the trained detail without jitter."""
    sampling: Sampling = Sampling(ray_start=-0.3, ray_end=0.3, fits=False)
    """Samples of rays; the defaults are those of the published evaluation."""
    batch: Positive = 4
    """People made together."""
    cache: bool = True
    """Keep the statistics of the photos in the user's cache, by their content."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics(cls, value: Any) -> Any:
        return words_of(value)
