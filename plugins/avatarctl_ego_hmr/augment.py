"""Random changes of a training picture: the published draws, in their order (spec 3.5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from avatarctl.device import Noise

SHIFT, SCALE, ROTATION_DEG, GAIN = 0.02, 0.3, 30.0, 0.2
"""Strengths: shift in sides of the box, relative scale, angle, relative gain of colours."""
TURNED, MIRRORED = 0.6, 0.5
"""Shares of the pictures that are turned, and mirrored."""


@dataclass(frozen=True)
class Augmentation:
    """How a picture is changed; as it stands, not at all."""

    scale: float = 1.0
    """Side of the square that is cropped over that of the box."""
    rotation_deg: float = 0.0
    """The square is turned by this, from x to y."""
    flip: bool = False
    """The picture is mirrored."""
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of R, G, B."""
    shift: tuple[float, float] = (0.0, 0.0)
    """The centre moves right and down by so many sides of the box."""

    @staticmethod
    def draw(normal: Callable[[], float], uniform: Callable[[], float]) -> Augmentation:
        """A random change.

        Args:
            normal: A standard normal number at each call; published: `numpy.random.randn`.
            uniform: A number from [0, 1) at each call; published: `random.random`.
        """
        shift = (SHIFT * _within(normal(), 1), SHIFT * _within(normal(), 1))
        scale = 1 + SCALE * _within(normal(), 1)
        rotation_deg = ROTATION_DEG * _within(normal(), 2) if uniform() <= TURNED else 0.0
        flip = uniform() <= MIRRORED
        low, high = 1 - GAIN, 1 + GAIN
        red, green, blue = (low + (high - low) * uniform() for _ in range(3))
        return Augmentation(scale, rotation_deg, flip, (red, green, blue), shift)

    @staticmethod
    def drawn(noise: Noise) -> Augmentation:
        """A random change from a stream of our own."""
        return Augmentation.draw(
            lambda: float(noise.normal((), torch.float64)), lambda: float(noise.uniform((), torch.float64))
        )


def _within(number: float, limit: float) -> float:
    return math.copysign(min(abs(number), limit), number)
