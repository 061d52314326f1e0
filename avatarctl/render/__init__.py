"""Pictures and films of bodies and motions."""

from avatarctl.render.rasterize import Fragments, rasterize
from avatarctl.render.service import Render
from avatarctl.render.stage import COLOURS, Actor
from avatarctl.render.video import Film

__all__ = ["COLOURS", "Actor", "Film", "Fragments", "Render", "rasterize"]
