"""The published evaluation's numbers of one sequence (spec 7.1), from joint places and rotations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import BODY_PARENTS, LEFT_WRIST, NUM_BODY, RIGHT_WRIST
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.metrics import Column
from avatarctl.metrics.motion import jitter, mpjve
from avatarctl.metrics.pose import mean_geodesic, mpjpe, mpjre, mpjre_agrol
from avatarctl.motion import Motion
from avatarctl.motion.tracking import FPS

HANDS = (LEFT_WRIST, RIGHT_WRIST)
UPPER = (3, 6, 9, *range(12, NUM_BODY))
"""Upper body of the evaluation; unlike the networks' upper half, without the root."""
LOWER = (0, 1, 2, 4, 5, 7, 8, 10, 11)
ALL_BUT_ROOT = tuple(range(1, NUM_BODY))

DEGREES, CENTIMETRES = math.degrees(1), 100.0
FACTORS = {
    "mpjre": DEGREES, "mpjre_agrol": DEGREES, "geodesic": DEGREES, "upperre": DEGREES, "lowerre": DEGREES,
    "rootre": DEGREES, "mpjpe": CENTIMETRES, "handpe": CENTIMETRES, "upperpe": CENTIMETRES,
    "lowerpe": CENTIMETRES, "rootpe": CENTIMETRES, "mpjve": CENTIMETRES, "pred_jitter": 1.0, "gt_jitter": 1.0,
}  # fmt: skip
"""From radians, metres and seconds to the units that are reported: degrees, cm, cm/s, m/s^3."""

COLUMNS = (
    Column("mpjre", "MPJRE", "deg"),
    Column("mpjpe", "MPJPE", "cm"),
    Column("mpjve", "MPJVE", "cm/s"),
    Column("handpe", "Hand", "cm"),
    Column("upperpe", "Upper", "cm"),
    Column("lowerpe", "Lower", "cm"),
    Column("rootpe", "Root", "cm"),
    Column("pred_jitter", "Jitter", "10²m/s³", scale=0.01),
)
"""The columns of the papers' tables, in their order."""
MORE = (
    Column("mpjre_agrol", "AGRoL RE", "deg"),
    Column("geodesic", "Geodesic", "deg"),
    Column("upperre", "Upper RE", "deg"),
    Column("lowerre", "Lower RE", "deg"),
    Column("rootre", "Root RE", "deg"),
    Column("gt_jitter", "True jitter", "10²m/s³", scale=0.01),
)
"""What the papers' tables leave out."""


@dataclass(frozen=True)
class Posture:
    """What is scored: joint `places` [N, 22, 3] metres and local `angles` [N, 22, 3], axis-angle, radians."""

    places: Tensor
    angles: Tensor

    @staticmethod
    def of(motion: Motion, body: BodyModel) -> Posture:
        """The joints of a body of mean shape in motion; nothing is skinned."""
        angles = motion.body_poses().float()
        rest = body.rest_joints[:NUM_BODY].to(angles)
        local = matrix_from_axis_angle_smpl(angles)
        return Posture(forward_kinematics(local, rest, BODY_PARENTS, motion.root.float())[1], angles)


def raw_scores(predicted: Posture, truth: Posture, fps: float = FPS) -> dict[str, float]:
    """Every metric in radians, metres and seconds; NaN where a clip is too short for it."""
    places, angles = (predicted.places, truth.places), (predicted.angles, truth.angles)
    numbers = {
        "mpjre": mpjre(*angles, ALL_BUT_ROOT),
        "mpjre_agrol": mpjre_agrol(*angles, ALL_BUT_ROOT),
        "geodesic": mean_geodesic(*angles, ALL_BUT_ROOT),
        "upperre": mpjre(*angles, UPPER),
        "lowerre": mpjre(*angles, LOWER),
        "rootre": mpjre(*angles, (0,)),
        "mpjpe": mpjpe(*places),
        "handpe": mpjpe(*places, HANDS),
        "upperpe": mpjpe(*places, UPPER),
        "lowerpe": mpjpe(*places, LOWER),
        "rootpe": mpjpe(*places, (0,)),
        "mpjve": mpjve(*places, fps),
        "pred_jitter": jitter(predicted.places, fps),
        "gt_jitter": jitter(truth.places, fps),
    }
    return {name: float(value) for name, value in numbers.items()}


def reported(raw: dict[str, float]) -> dict[str, float]:
    """Raw scores in the units of `FACTORS`."""
    return {name: value * FACTORS[name] for name, value in raw.items()}


def scores(predicted: Posture, truth: Posture) -> dict[str, float]:
    """Every metric in reported units: degrees, cm, cm/s, m/s^3."""
    return reported(raw_scores(predicted, truth))
