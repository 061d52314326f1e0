"""Settings of the export target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avatarctl_video_avatar.settings import Avatar
from avatarctl_video_avatar.settings_train import Frames

Kind = Literal["canonical", "frame", "motion"]
Format = Literal["obj", "npy", "ply", "glb"]


class Export(Avatar):
    """The avatar's surface as a mesh: in its canonical pose, in recorded frames, or moving."""

    pose: list[Kind] | None = None
    """canonical: star pose; frame: recorded frames, each extracted in its pose; motion: the canonical mesh
    moved. Left out: canonical and frame, or motion where --motion is given."""
    view: str | None = None
    """Camera whose pictures, and place in the files, frames have; left out: 2, as published, or the first."""
    frames: Frames = "0:1"
    """Frames of it, START:END:STEP; published: 0:-1:2, which leaves out the last."""
    motion: str | None = None
    """Motion file or embedded clip that moves the mesh; left out: all recorded frames move it."""
    fps: Annotated[float, Field(ge=1, le=1000)] = 30.0
    """Rate of recorded frames, for motion."""
    resolution: Annotated[int, Field(ge=8, le=2048)] = 256
    """Samples along each side of the body's box."""
    level: Annotated[float, Field(gt=-0.1, lt=0.1)] = 0.0
    """Signed distance of the surface, metres (published name mcthreshold)."""
    dense: bool = False
    """Evaluate all samples, as published, in place of those near the surface: slow, the same mesh."""
    refine: Literal["always", "trained"] = "always"
    """Correct poses by the pose decoder: always, as published, or if the training did, as pictures do."""
    rest: Literal["star", "t"] = "star"
    """Pose of the canonical obj and ply: star, legs apart, or T; the glb holds both."""
    normals: bool = False
    """Also draw the published picture of normals for each frame."""
    to: list[Format] | None = None
    """Formats; left out: obj, npy (published record) and ply of frames, ply and glb of the star pose, glb of
    motions. ply and glb have colours; obj and ply of a motion are one file a frame."""

    @field_validator("motion")
    @classmethod
    def _is_shown(cls, value: str | None, info: ValidationInfo) -> str | None:
        pose = info.data.get("pose")
        if value is not None and pose is not None and "motion" not in pose:
            raise ValueError(f"moves nothing in --pose {', '.join(pose)}; expected --pose motion")
        return value
