"""The published evaluation's numbers of one sequence (spec 7), and sound ones where they are flawed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body.tables import BODY_PARENTS, LEFT_WRIST, NUM_BODY, RIGHT_WRIST
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.metrics import Column
from avatarctl.metrics.motion import jitter, mpjve
from avatarctl.metrics.pose import angles_between, mean_geodesic, mpjpe, mpjre_agrol, vector_errors
from avatarctl.motion import Motion
from avatarctl.motion.tracking import FPS
from avatarctl_sparse_tracking.model.vqvae import HALVES

HANDS = (LEFT_WRIST, RIGHT_WRIST)
UPPER = (3, 6, 9, *range(12, NUM_BODY))
"""Upper body of the evaluation; unlike the networks' upper half, without the root."""
LOWER = (0, 1, 2, 4, 5, 7, 8, 10, 11)
ALL = tuple(range(NUM_BODY))
ALL_BUT_ROOT = ALL[1:]

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
class Scheme:
    """What an evaluation poses and which joints its numbers take (spec 7.1, 7.2).

    Joints that are not `posed` stay at rest in estimate and truth; `is_placed` says whether the bodies stand
    where they are; `rotations` are the joints of mpjre, `upper` those of upperre and upperpe.
    """

    posed: tuple[int, ...] = ALL
    is_placed: bool = True
    rotations: tuple[int, ...] = ALL_BUT_ROOT
    upper: tuple[int, ...] = UPPER

    def posture(self, motion: Motion, body: BodyModel) -> Posture:
        """What is scored of a motion."""
        if self.posed != ALL:
            poses = torch.zeros_like(motion.body_poses())
            poses[:, list(self.posed)] = motion.body_poses()[:, list(self.posed)]
            motion = motion.replace(poses=poses)
        if not self.is_placed:
            motion = motion.replace(root=torch.zeros_like(motion.root))
        return Posture.of(motion, body)


WHOLE = Scheme()
UPPER_HALF = Scheme(posed=HALVES["upper"])
"""The upper diffusion alone (published `first`)."""
AUTOENCODED = {
    "upper": Scheme(HALVES["upper"], rotations=ALL, upper=HALVES["upper"]),
    "lower": Scheme(HALVES["lower"], is_placed=False, rotations=ALL, upper=HALVES["upper"]),
}
"""A half's VQ-VAE. parity: here mpjre takes the root and all joints at rest, and the upper set the root."""


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


def raw_scores(
    predicted: Posture, truth: Posture, scheme: Scheme = WHOLE, *, fps: float = FPS
) -> dict[str, float]:
    """Every metric in radians, metres and seconds; NaN where a clip is too short for it."""
    places, angles = (predicted.places, truth.places), (predicted.angles, truth.angles)
    turned = vector_errors(*angles)  # [N, 22], of which each mpjre takes some joints
    numbers = {
        "mpjre": turned[:, list(scheme.rotations)].mean(),
        "mpjre_agrol": mpjre_agrol(*angles, scheme.rotations),
        "geodesic": mean_geodesic(*angles, scheme.rotations),
        "upperre": turned[:, list(scheme.upper)].mean(),
        "lowerre": turned[:, list(LOWER)].mean(),
        "rootre": turned[:, 0].mean(),
        "mpjpe": mpjpe(*places),
        "handpe": mpjpe(*places, HANDS),
        "upperpe": mpjpe(*places, scheme.upper),
        "lowerpe": mpjpe(*places, LOWER),
        "rootpe": mpjpe(*places, (0,)),
        "mpjve": mpjve(*places, fps),
        "pred_jitter": jitter(predicted.places, fps),
        "gt_jitter": jitter(truth.places, fps),
    }
    return {name: float(value) for name, value in numbers.items()}


def raw_corrected(
    predicted: Posture, truth: Posture, scheme: Scheme = WHOLE, *, fps: float = FPS
) -> dict[str, float]:
    """The metrics whose published formula is flawed, by a sound one; names and units as `raw_scores`.

    Angles between rotations instead of differences of axis-angle vectors; joints that nothing moved are left
    out; and velocities take the frame rate that the clip has.

    Args:
        fps: True frame rate.
    """
    angles = angles_between(predicted.angles, truth.angles)  # [N, 22]
    sets = {"mpjre": scheme.rotations, "upperre": scheme.upper, "lowerre": LOWER, "rootre": (0,)}
    moved = {name: [joint for joint in joints if joint in scheme.posed] for name, joints in sets.items()}
    numbers = {name: angles[:, joints].mean() for name, joints in moved.items() if joints}
    places, true_places = (posture.places[:, list(scheme.posed)] for posture in (predicted, truth))
    numbers |= {
        "mpjpe": mpjpe(places, true_places),
        "mpjve": mpjve(places, true_places, fps),
        "pred_jitter": jitter(places, fps),
        "gt_jitter": jitter(true_places, fps),
    }
    return {name: float(value) for name, value in numbers.items()}


def reported(raw: dict[str, float]) -> dict[str, float]:
    """Raw scores in the units of `FACTORS`."""
    return {name: value * FACTORS[name] for name, value in raw.items()}


def scores(predicted: Posture, truth: Posture, scheme: Scheme = WHOLE) -> dict[str, float]:
    """Every metric in reported units: degrees, cm, cm/s, m/s^3."""
    return reported(raw_scores(predicted, truth, scheme))
