"""Settings of eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl_ego_hmr.settings import Count, Networks, Sampling


class Evaluate(Sampling, Networks):
    """Errors of visible and hidden joints, diversity, collision, contact."""

    data: Path | None = None
    """Folder of EgoBody, or of recordings in its layout; left out: made-up people in the embedded office."""
    split: Literal["train", "val", "test"] = "test"
    """Split that is scored."""
    results: Path | None = None
    """Bodies that are scored, without a network: results_seed_N.pkl, recovered.npz, or a run of infer."""
    places: bool = False
    """Score where bodies are and the likeliest pose of stage 1, as its published test does."""
    translations: Path | None = None
    """Where the bodies are, from stage 1: results.pkl or recovered.npz; left out: the network says it."""
    every: Count = 1
    """Score every so many frames."""
    mask_alignment: bool = True
    """Align to the visible joints for PA-MPJPE, as published by default; else to all."""
    people: Annotated[int, Field(ge=1, le=200)] = 24
    """People that are made up where there is no data."""

    @field_validator("translations")
    @classmethod
    def _says_places_alone(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("results") is not None:
            raise ValueError("--results says where bodies are; leave out one of them")
        if value is not None and info.data.get("places"):
            raise ValueError("gives what --places scores; leave out one of them")
        return value
