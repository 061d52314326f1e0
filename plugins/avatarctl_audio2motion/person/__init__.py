"""The capture skeleton as a person: its 104 numbers to a `Motion` and back, the open person, its face."""

from avatarctl_audio2motion.person.loading import load
from avatarctl_audio2motion.person.person import Errors, Person

__all__ = ["Errors", "Person", "load"]
