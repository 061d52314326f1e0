"""All that a plugin's entry module may import: what it declares, and the mark of its hooks."""

from avatarctl.plugin.spec import hookimpl
from avatarctl.plugin.target import Asset, Checkup, Diagnosis, Format, Layout, Link, Stage, Target, Weights

__all__ = [
    "Asset",
    "Checkup",
    "Diagnosis",
    "Format",
    "Layout",
    "Link",
    "Stage",
    "Target",
    "Weights",
    "hookimpl",
]
