"""Settings of the export target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl_generative_avatar.settings import Chosen

Pose = Literal["canonical", "label"]
Format = Literal["obj", "ply", "glb"]


class Export(Chosen):
    """New people as meshes: at rest with skinning weights, as their labels pose them, or moving."""

    pose: Annotated[list[Pose], Field(min_length=1)] = ["canonical"]
    """canonical: T-pose and mean shape, its glb with a skeleton; label: as the person's label poses it."""
    voxels: Annotated[int, Field(ge=16, le=1024)] = 256
    """Samples along each side of the box around the body."""
    published_mesh: bool = False
    """Extract as the published code does: on a grid that drifts, mirrored, in colours of joints."""
    to: Annotated[list[Format], Field(min_length=1)] = ["ply", "glb"]
    """Formats; all have colours."""
    motion: str | None = None
    """What moves the canonical glb: a motion file (.npz, .bvh, .pkl), an embedded clip, or run:NAME/N."""

    @field_validator("motion")
    @classmethod
    def _is_shown(cls, value: str | None, info: ValidationInfo) -> str | None:
        given = info.data
        if value is None or not {"pose", "to", "published_mesh"} <= given.keys():
            return value
        if "canonical" not in given["pose"]:
            raise ValueError(f"moves nothing in --pose {', '.join(given['pose'])}; expected --pose canonical")
        if "glb" not in given["to"]:
            raise ValueError(f"moves nothing in --to {', '.join(given['to'])}; expected --to glb")
        if given["published_mesh"]:
            raise ValueError(
                "no skeleton fits a published mesh, which is mirrored; leave --published-mesh out"
            )
        return value
