"""Settings that training, rendering and extraction share; defaults are the published ones (spec 4.12)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import Group

Kind = Literal["smpl", "open"]
Sex = Literal["neutral", "male", "female"]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Metres = Annotated[float, Field(ge=0.0, le=10.0)]


class Rendering(Group):
    """How rays are sampled and points are brought to the canonical body."""

    n_samples: Annotated[int, Field(ge=2, le=1024)] = 128
    """Samples of a ray."""
    inner_sampling: bool = True
    """Sample inside the body's mesh; otherwise between near and far."""
    use_dilated: bool = True
    """That mesh is the dilated one, which leaves room for clothes."""
    box_margin: Metres = 0.05
    """Room around the body in its box."""
    n_iter_backward: Annotated[int, Field(ge=1, le=20)] = 3
    """Passes of the skinning network for each point."""
    sdf_threshold: Metres = 0.05
    """Farther outside the body than this nothing is seen."""
    perturb: bool = True
    """Depths of each ray are shifted by chance, also when an avatar is shown, as published."""
    kick_in_iter: NotNegative = 60000
    """Step from which poses are refined."""
    anneal_end: NotNegative = 50000
    """Step at which the cosine in the opacity is fully there."""
    non_rigid_kick_in_iter: NotNegative = 0
    """With non-rigid motion: step from which it is told the pose."""
    non_rigid_full_band_iter: Positive = 500000
    """With non-rigid motion: step at which it has all its frequencies."""


class Network(Group):
    """Sizes of the networks."""

    sdf: Literal["triplane", "mlp"] = "triplane"
    """Detail of the surface: three planes with window attention, or one plain network."""
    deform: Literal["skinning", "nonrigid"] = "skinning"
    """How points reach the canonical body: skinning network, or nearest vertices and non-rigid network."""
    img_resolution: Annotated[int, Field(ge=16, le=4096, multiple_of=16)] = 512
    """Texels of a plane's side."""
    img_channels: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 24
    """Channels of a plane."""
    box_warp: Positive = 3
    """Side of the cube that the planes cover, whole metres."""
    hidden: Positive = 256
    """Width of the surface and colour networks."""
    features: Positive = 256
    """Numbers that the surface tells the colour."""
    skinning_hidden: Positive = 128
    """Width of the skinning network."""
    pose_hidden: Positive = 256
    """Width of the pose decoder."""
