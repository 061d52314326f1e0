"""Settings of everything that reads a headset's log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import StageSettings


class LogSettings(StageSettings):
    """How a headset's log is read; the defaults are the headset app's."""

    rate: Literal["resample", "native"] = "resample"
    """Logs: resample to the networks' 60 frames a second, or take the frames as they are (published)."""
    skip_first: Annotated[int, Field(ge=0)] = 100
    """Logs: frames dropped at the start, while the user settles."""
    axes: Literal["unity", "openxr", "gltf", "unreal"] = "unity"
    """Logs: whose axes: unity (left-handed, y up), openxr, gltf (x to the left), or unreal (z up)."""
    units: Literal["m", "cm", "mm", "ft"] = "m"
    """Logs: unit of places."""
    quaternions: Literal["xyzw", "wxyz"] = "xyzw"
    """Logs: order of a quaternion's numbers."""
    swap_hands: bool = False
    """Logs: the left controller was in the right hand."""
    floor: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Logs: height of the floor, metres; -1.6 where heights are measured from the eyes."""
    lost_hands: Literal["keep", "hold", "extrapolate", "interpolate", "mask"] = "keep"
    """Logs: hands without tracking: keep (as logged), hold (beside the head), extrapolate, interpolate (to
    where they are found again), or mask (as if unknown: to where they mostly are)."""
