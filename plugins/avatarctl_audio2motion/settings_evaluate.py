"""Settings of eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from avatarctl_audio2motion.settings import Count, Networks, Sampling


class Evaluate(Sampling, Networks):
    """Scores of generated motion: a results file, or the test scenes of a prepared store."""

    results: Path | None = None
    """results.npy to score, of face or body; then nothing is generated."""
    store: Annotated[Path | None, Field(validate_default=True)] = None
    """Prepared store (avatarctl prepare conversations), whose scenes motion is generated for."""
    repeats: Count = 5
    """Repetitions of each sample (published: 5)."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Chunks of the split, in the published order; 0 takes all."""
    chunk: Annotated[int, Field(ge=30, multiple_of=30)] = 600
    """Frames of a chunk, thirty a second."""
    split: str = "test"
    """Split of the store."""
    keys: Literal["guide", "recorded"] = "guide"
    """Key poses of the body: the guide's, or the recorded ones (published, without a guide)."""
    pairs: Annotated[int, Field(ge=1)] = 10_000
    """Random pairs of frames for Div_g."""
    lips: Path | None = None
    """Numbers of the lip vertices (text, or .npy), for their error in millimetres; needs --person FOLDER."""
    keep: bool = False
    """Also write what was generated: results_face.npy, results_body.npy."""

    @field_validator("store")
    @classmethod
    def _one_source(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) == (info.data.get("results") is None):
            wanted = "name either a results file (--results) or a prepared store (--store)"
            raise ValueError(wanted) if value else PydanticCustomError("missing", wanted)
        return value
