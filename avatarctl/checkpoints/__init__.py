"""Weights: avatarctl's own files, foreign files read safely, strict loading, and what any file holds."""

from avatarctl.checkpoints.load import load_strict
from avatarctl.checkpoints.official import Weights, open_weights

__all__ = ["Weights", "load_strict", "open_weights"]
