"""Which joints of a foreign skeleton drive the SMPL joints: the four known families, or a user's table (spec open-motion)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from avatarctl.body.tables import BODY
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.motion.bvh import Bvh

TABLE = "skeleton.csv"
"""A user's table of this name is looked for beside a BVH file whose skeleton is of no known family."""
REFERENCES = ("first_frame", "zero_rotation")
HINT = (
    f"describe the skeleton in {TABLE} beside the file: a line SMPL_JOINT,SOURCE_JOINT,JOINT_THE_BONE_LEADS_TO for each of "
    "the SMPL joints, for example left_hip,LeftUpLeg,LeftLeg; and up,z or reference,first_frame where that holds"
)


@dataclass(frozen=True)
class Rig:
    """Which source joint drives each SMPL joint.

    `takes` maps a SMPL joint to the source joint whose rotation it takes, or to two (half way between them); feet ride
    with their ankles and are not listed. `bones` maps a limb's joint to the source joint its bone leads to. `reference` is
    "" where each file has to be looked at.
    """

    name: str
    takes: dict[str, tuple[str, ...]]
    bones: dict[str, str]
    is_z_up: bool = False
    reference: str = ""


def _rig(name: str, sides: tuple[str, str], spine: str, arm: str, leg: str, is_z_up: bool = False) -> Rig:
    """A rig from three rows of words in the order of the SMPL joints: {s} is the side, {h} l or r, bones after a colon."""
    words = dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), spine.split(), strict=True))
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
    "smpl": _rig(
        "smpl", ("left", "right"),
        "pelvis spine1 spine2 spine3 neck head",
        "{s}_collar {s}_shoulder:{s}_elbow {s}_elbow:{s}_wrist {s}_wrist",
        "{s}_hip:{s}_knee {s}_knee:{s}_ankle {s}_ankle:{s}_foot",
    ),
}  # fmt: skip
SIGNS = {"abdomen": "cmu-daz", "LowerBack": "cmu-motionbuilder", "lowerback": "cmu-max", "left_hip": "smpl"}
"""A joint that tells the family; without any of them a skeleton is compared with the fair one."""


def find_rig(path: Path, bvh: Bvh, table: str | Path | None = None) -> Rig:
    """The rig of a skeleton: a user's table where given, else by its joint names, else a table beside the file.

    Raises:
        DataError: The skeleton is of no known family, or the table is wrong; the message lists what is missing.
    """
    if table is not None:
        return read_rig(table, bvh)
    names = set(bvh.names)
    rig = RIGS[next((family for word, family in SIGNS.items() if word in names), "fair")]
    missing = sorted({name for taken in rig.takes.values() for name in taken} - names)
    if not missing:
        return rig
    beside = Path(path).parent / TABLE
    if beside.is_file():
        return read_rig(beside, bvh)
    raise DataError(
        f"{path}: HIERARCHY: unknown skeleton; the nearest family, {rig.name}, also has {', '.join(missing[:6])}", hint=HINT
    )


def read_rig(path: str | Path, bvh: Bvh) -> Rig:
    """The rig in a user's table, with columns SMPL joint, source joint (A+B for half way) and end of the bone.

    Raises:
        DataError: A line names a joint that does not exist, or a joint is missing.
    """
    path = check_input_file(path, "a table of joints")
    takes: dict[str, tuple[str, ...]] = {}
    bones: dict[str, str] = {}
    words: dict[str, str] = {}
    for number, line in _lines(path):
        joint, source, end = (*line, "", "")[:3]
        if joint in ("up", "reference"):
            words[joint] = source
            continue
        if joint not in BODY:
            raise DataError(f"{path}: line {number}: '{joint}'; expected one of {', '.join(BODY)}", hint=HINT)
        takes[joint] = tuple(source.split("+"))
        if end:
            bones[joint] = end
        for name in (*takes[joint], *bones.get(joint, "").split()):
            if name not in bvh.names:
                raise DataError(f"{path}: line {number}: no joint '{name}' in the BVH file; it has {', '.join(bvh.names[:40])}", hint=HINT)
    missing = [joint for joint in BODY if joint not in takes and not joint.endswith("_foot")]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)}: missing; expected a line for each", hint=HINT)
    if words.get("up", "y") not in ("y", "z") or words.get("reference", "first_frame") not in REFERENCES:
        raise DataError(f"{path}: up, reference: found {words}; expected y or z, {' or '.join(REFERENCES)}", hint=HINT)
    return Rig(path.stem, takes, bones, words.get("up") == "z", words.get("reference", ""))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: no readable table: {error}", hint=HINT) from error
    stripped = [(number, [word.strip() for word in row]) for number, row in enumerate(rows, start=1)]
    return [(number, row) for number, row in stripped if row and row[0] and row[0] != "smpl" and row[0][0] != "#"]
