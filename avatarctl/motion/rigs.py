"""Which joints of a foreign skeleton drive the SMPL joints, and which of its poses is the reference.

Four families are known (spec open-motion), and SMPL's own joint names. A user's table beside the file adds to
what is known, or replaces it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from avatarctl.body.tables import BODY
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.motion.bvh import Bvh

TABLE = "skeleton.csv"
"""A user's table of this name is looked for beside a BVH file."""
REFERENCES = ("first_frame", "zero_rotation")
T_POSE_DEG = 15.0
"""How far a T-pose's limbs may be off: up to 8 degrees in the embedded clips, where no motion is below 20."""
HINT = (
    f"describe the skeleton in {TABLE} beside the file: a line SMPL_JOINT,SOURCE_JOINT,END_OF_ITS_BONE"
    " for each of the SMPL joints, for example left_hip,LeftUpLeg,LeftLeg; and up,z or reference,first_frame"
    " where that holds"
)


@dataclass(frozen=True)
class Rig:
    """Which source joint drives each SMPL joint.

    `takes` maps a SMPL joint to the source joint whose rotation it takes, or to two (half way between them);
    feet ride with their ankles. `bones` maps a limb's joint to the source joint its bone leads to.
    `reference` is "" where each file is looked at. `is_smpl` says that it is SMPL's own skeleton.
    """

    name: str
    takes: dict[str, tuple[str, ...]]
    bones: dict[str, str]
    is_z_up: bool = False
    reference: str = ""
    is_smpl: bool = False


def _rig(name: str, sides: tuple[str, str], spine: str, arm: str, leg: str, is_z_up: bool = False) -> Rig:
    """A rig from rows of words in the joints' order: {s} is the side, {h} l or r, bones after a colon."""
    spine_joints = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    words = dict(zip(spine_joints, spine.split(), strict=True))
    for side, word in zip(("left", "right"), sides, strict=True):
        limbs = f"{arm} {leg}".format(s=word, h=side[0]).split()
        kinds = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        words |= {f"{side}_{kind}": limb for kind, limb in zip(kinds, limbs, strict=True)}
    return Rig(
        name,
        takes={joint: tuple(word.partition(":")[0].split("+")) for joint, word in words.items()},
        bones={joint: end for joint, word in words.items() if (end := word.partition(":")[2])},
        is_z_up=is_z_up,
    )


RIGS = {
    "cmu-daz": _rig(
        "cmu-daz", ("l", "r"),
        "hip abdomen abdomen+chest chest neck head",
        "{s}Collar {s}Shldr:{s}ForeArm {s}ForeArm:{s}Hand {s}Hand:{s}Mid1",
        "{s}Thigh:{s}Shin {s}Shin:{s}Foot {s}Foot:{s}Foot_end",
    ),
    "cmu-motionbuilder": _rig(
        "cmu-motionbuilder", ("Left", "Right"),
        "Hips LowerBack Spine Spine1 Neck Head",
        "{s}Shoulder {s}Arm:{s}ForeArm {s}ForeArm:{s}Hand {s}Hand",
        "{s}UpLeg:{s}Leg {s}Leg:{s}Foot {s}Foot:{s}ToeBase",
    ),
    "cmu-max": _rig(
        "cmu-max", ("Left", "Right"),
        "Hips lowerback Chest Chest2 Neck Head",
        "{s}Collar {s}Shoulder:{s}Elbow {s}Elbow:{s}Wrist {s}Wrist:{h}hand",
        "{s}Hip:{s}Knee {s}Knee:{s}Ankle {s}Ankle:{s}Toe",
    ),
    "fair": _rig(
        "fair", ("Left", "Right"),
        "Hips Spine Spine1 Spine3 Neck Head",
        "{s}Shoulder {s}Arm:{s}ForeArm {s}ForeArm:{s}Hand {s}Hand:{s}HandEnd",
        "{s}UpLeg:{s}Leg {s}Leg:{s}Foot {s}Foot:{s}ToeBase",
        is_z_up=True,
    ),
    "smpl": Rig("smpl", {joint: (joint,) for joint in BODY}, {}, reference="zero_rotation", is_smpl=True),
}  # fmt: skip
SIGNS = {
    "abdomen": "cmu-daz", "LowerBack": "cmu-motionbuilder", "lowerback": "cmu-max", "left_hip": "smpl"
}  # fmt: skip
"""A joint that tells the family; without any of them a skeleton is compared with the fair one."""


def find_rig(path: str | Path, bvh: Bvh) -> Rig:
    """The rig of a skeleton by its joint names, as changed by the table beside the file where there is one.

    Raises:
        DataError: The skeleton is of no known family, or the table is wrong; the message lists what lacks.
    """
    nearest = RIGS[next((family for word, family in SIGNS.items() if word in bvh.names), "fair")]
    missing = sorted({name for taken in nearest.takes.values() for name in taken} - set(bvh.names))
    table = Path(path).parent / TABLE
    if table.is_file():
        rig = read_rig(table, bvh.names, Rig(table.stem, {}, {}) if missing else nearest)
    elif missing:
        raise DataError(
            f"{path}: HIERARCHY: unknown skeleton; the nearest family, {nearest.name}, also has "
            f"{', '.join(missing[:6])}",
            hint=HINT,
        )
    else:
        rig = nearest
    hip, knee, ankle = (bvh.names.index(rig.takes[f"left_{kind}"][0]) for kind in ("hip", "knee", "ankle"))
    if leg_length(bvh.rest(), hip, knee, ankle) < 1e-6:
        raise DataError(
            f"{path}: OFFSET of '{bvh.names[knee]}': the legs have no length",
            hint="export it again with bone lengths",
        )
    return rig


def read_rig(path: str | Path, names: Sequence[str], known: Rig) -> Rig:
    """The known rig with a user's lines: SMPL joint, source joint (A+B for half way), end of the bone.

    Args:
        names: The joints of the skeleton.

    Raises:
        DataError: A line names a joint that does not exist, or a joint is missing.
    """
    path = check_input_file(path, "a table of joints")
    takes: dict[str, tuple[str, ...]] = {}
    bones: dict[str, str] = {}
    words = {"up": "z" if known.is_z_up else "y", "reference": known.reference}
    for number, line in _lines(path):
        joint, source, end = (*line, "", "")[:3]
        if joint in words:
            words[joint] = source
            continue
        if joint not in BODY:
            raise DataError(f"{path}: line {number}: '{joint}'; expected one of {', '.join(BODY)}", hint=HINT)
        takes[joint] = tuple(source.split("+"))
        bones[joint] = end
        for name in (*takes[joint], *([end] if end else [])):
            if name not in names:
                has = ", ".join(names[:40])
                raise DataError(
                    f"{path}: line {number}: no joint '{name}' in the skeleton; it has {has}", hint=HINT
                )
    rig = replace(
        known,
        takes=known.takes | takes,
        bones={joint: end for joint, end in (known.bones | bones).items() if end},
        is_z_up=words["up"] == "z",
        reference=words["reference"],
        is_smpl=known.is_smpl and not takes,
    )
    missing = [joint for joint in BODY if joint not in rig.takes and not joint.endswith("_foot")]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing; expected a line for each", hint=HINT)
    if words["up"] not in ("y", "z") or words["reference"] not in ("", *REFERENCES):
        raise DataError(
            f"{path}: up '{words['up']}', reference '{words['reference']}'; expected y or z, "
            f"{' or '.join(REFERENCES)}",
            hint=HINT,
        )
    return rig


def reference_is_first(bvh: Bvh, rig: Rig) -> bool:
    """Whether the first frame is the reference pose, and no motion.

    The rig decides where it says so. Else the first frame is when its upper arms and forearms lie along the
    line of the hips and its thighs and shins point straight down; else the pose with all angles zero is.
    """
    if rig.reference or len(bvh) < 2:
        return rig.reference == "first_frame" and len(bvh) > 1
    places = bvh[:1].world()[1][0]
    left, right = (places[bvh.names.index(rig.takes[f"{side}_hip"][0])] for side in ("left", "right"))
    down = torch.tensor([0.0, 0.0, -1.0] if rig.is_z_up else [0.0, -1.0, 0.0], dtype=places.dtype)
    wanted = {
        "left_shoulder": left - right, "left_elbow": left - right, "left_hip": down, "left_knee": down,
        "right_shoulder": right - left, "right_elbow": right - left, "right_hip": down, "right_knee": down,
    }  # fmt: skip
    if any(joint not in rig.bones for joint in wanted):
        return False
    bones = {
        joint: places[bvh.names.index(rig.bones[joint])] - places[bvh.names.index(rig.takes[joint][0])]
        for joint in wanted
    }
    return all(_angle_deg(bones[joint], wanted[joint]) < T_POSE_DEG for joint in wanted)


def leg_length(places: Tensor, hip: int, knee: int, ankle: int) -> float:
    """Thigh and shin together, in the unit of the places [J, 3]."""
    return float((places[knee] - places[hip]).norm() + (places[ankle] - places[knee]).norm())


def _angle_deg(first: Tensor, second: Tensor) -> float:
    cross, dot = torch.linalg.cross(first, second).norm(), first @ second
    return math.degrees(torch.atan2(cross, dot))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: no readable table: {error}", hint=HINT) from error
    stripped = [(number, [word.strip() for word in row]) for number, row in enumerate(rows, start=1)]
    is_line = [bool(row) and bool(row[0]) and row[0] != "smpl" and row[0][0] != "#" for _, row in stripped]
    return [pair for pair, keep in zip(stripped, is_line, strict=True) if keep]
