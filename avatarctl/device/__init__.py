"""Where and how numbers are computed: device choice, precision, chunks that fit, named noise, ranks."""

from avatarctl.device.choose import choose
from avatarctl.device.noise import Noise
from avatarctl.device.precision import precision

__all__ = ["Noise", "choose", "precision"]
