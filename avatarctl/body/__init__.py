"""Body models of the SMPL family."""

from avatarctl.body.model import BodyModel, Posed, Shaped
from avatarctl.body.service import Bodies, open_body

__all__ = ["Bodies", "BodyModel", "Posed", "Shaped", "open_body"]
