"""What every raw data set is turned into before it is prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avatarctl_video_avatar.prepared import Camera, Fit, Sex


@dataclass(frozen=True)
class Shot:
    """One picture of one camera; pixels are read when they are asked for."""

    image: Callable[[], np.ndarray]
    """RGB uint8 [H, W, 3], as decoded."""
    mask: Callable[[], np.ndarray]
    """Where the person is, uint8 [H, W], 0 or 255."""
    camera: Camera


@dataclass(frozen=True)
class Recording:
    """A person's recording: the fitted body of each frame, and what each camera saw."""

    name: str
    fits: dict[str, Fit]
    """By frame name, in order (spec 2.9)."""
    views: dict[str, dict[str, Shot]]
    """By name of the view, then of the frame."""
    sex: Sex
    """Of the body whose star pose is the base shape."""
    pad: float
    """Free room around bodies in cubes of signed distances, metres (spec 3.1)."""
    delta: float
    """How far the dilated mesh lies outside, in halves of its cube's side."""
    dataset: str
    """Its data set, as the prepare target is called."""
    betas: np.ndarray | None = None
    """Shape of the canonical body [10]; left out, the mean over all frames."""
