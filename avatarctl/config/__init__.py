"""Typed settings: the base classes that every target's settings derive from."""

from avatarctl.config.settings import Argument, Group, StageSettings, WeightsPath

__all__ = ["Argument", "Group", "StageSettings", "WeightsPath"]
