"""Motion: reading, writing, resampling, retargeting, tracker signals."""

from avatarctl.motion.motion import Motion
from avatarctl.motion.tracking import Tracking

__all__ = ["Motion", "Tracking"]
