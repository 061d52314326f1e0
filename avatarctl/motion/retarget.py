"""BVH skeletons to SMPL by rotation transfer with a rest-pose correction (spec open-motion).

Each SMPL joint takes the change of one source joint since the source's reference pose; limbs are corrected by the minimal
rotation between the two rest directions, so that their bones point exactly where the source's point.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatarctl.body import BodyModel, open_body
from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.errors import DataError
from avatarctl.geometry.kinematics import joint_positions, local_rotations
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle, minimal_rotation
from avatarctl.motion.bvh import Bvh
from avatarctl.motion.motion import Motion

Z_FROM_Y = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
LIMBS = ("hip", "knee", "shoulder", "elbow", "wrist")


@dataclass(frozen=True)
class Rig:
    """Which source joint drives each SMPL joint.

    `takes` maps the SMPL joint to a source joint, or to two (half way between them); `bones` maps the joint of a limb to
    the source joint its bone leads to ("" for none). Names hold a {s} where the side's word stands.
    """

    name: str
    sides: tuple[str, str]
    takes: dict[str, str | tuple[str, str]]
    bones: dict[str, str]
    is_z_up: bool = False


def _rig(name: str, sides: tuple[str, str], spine: str, arm: str, leg: str, is_z_up: bool = False) -> Rig:
    """A rig from three short tables: "source" words in the order of the SMPL joints, bones after a colon."""
    takes: dict[str, str | tuple[str, str]] = {}
    bones: dict[str, str] = {}
    joints = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    for joint, word in zip(joints, spine.split(), strict=True):
        first, _, second = word.partition("+")
        takes[joint] = (first, second) if second else first
    for joint, word in zip(("collar", "shoulder", "elbow", "wrist"), arm.split(), strict=True):
        takes[joint], _, bones[joint] = word.partition(":")
    for joint, word in zip(("hip", "knee", "ankle"), leg.split(), strict=True):
        takes[joint], _, bones[joint] = word.partition(":")
    return Rig(name, sides, takes, bones, is_z_up)


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
        "{s}Shoulder {s}Arm:{s}ForeArm {s}ForeArm:{s}Hand {s}Hand:",
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
}  # fmt: skip


def find_rig(path: Path, bvh: Bvh) -> Rig:
    """The rig of a skeleton, by its joint names.

    Raises:
        DataError: The skeleton is of no known family; the message lists the joints that are missing.
    """
    names = set(bvh.names)
    for word, family in (("abdomen", "cmu-daz"), ("LowerBack", "cmu-motionbuilder"), ("lowerback", "cmu-max")):
        if word in names:
            rig = RIGS[family]
            break
    else:
        rig = RIGS["fair"]
    wanted = {name for joint in BODY for name in _sources(rig, joint)}
    missing = sorted(wanted - names)
    if missing:
        raise DataError(
            f"{path}: HIERARCHY: unknown skeleton; nearest family '{rig.name}' lacks {', '.join(missing[:6])}",
            hint=f"known families: {', '.join(RIGS)}; rename the joints to one of them",
        )
    return rig


def _fill(rig: Rig, word: str, joint: str) -> str:
    index = 0 if joint.startswith("left") else 1
    return word.replace("{s}", rig.sides[index]).replace("{h}", "lr"[index])


def _sources(rig: Rig, joint: str) -> tuple[str, ...]:
    kind = joint.partition("_")[2] if joint.startswith(("left_", "right_")) else joint
    took = rig.takes["ankle" if kind == "foot" else kind]
    return tuple(_fill(rig, word, joint) for word in ((took,) if isinstance(took, str) else took))


def retarget(
    bvh: Bvh, rig: Rig, *, reference_is_first: bool, body: BodyModel | None = None, skip_first: bool | None = None
) -> Motion:
    """The motion of a BVH clip on an SMPL skeleton.

    Args:
        reference_is_first: The first frame is the T-pose (and no motion); else the pose with all angles zero is.
        body: Target body; the open one when left out.
        skip_first: Drop the first frame; as `reference_is_first` when left out.
    """
    body = body or open_body()
    rest = body.rest_joints[: len(BODY)].double()
    rotations, places = bvh.world()
    if reference_is_first:
        rotations0, places0 = rotations[0], places[0]
    else:
        rotations0, places0 = _zero_pose(bvh)
    if rig.is_z_up:
        axes = Z_FROM_Y.T  # y-up from z-up
        rotations, places = axes @ rotations, places @ axes.T
        rotations0, places0 = axes @ rotations0, places0 @ axes.T
    if reference_is_first if skip_first is None else skip_first:
        rotations, places = rotations[1:], places[1:]
    source = _Source(bvh, rig, rotations, places, rotations0, places0)
    world = _transfer(source, rest)
    local = local_rotations(world, BODY_PARENTS)
    posed = joint_positions(world, rest - rest[0], BODY_PARENTS)
    root = _root(source, rest, posed)
    root = root - _floor(body, root, posed, rest)
    local = torch.cat([(Z_FROM_Y @ local[:, 0])[:, None], local[:, 1:]], dim=1)
    return Motion(
        poses=axis_angle_from_matrix(local).float(),
        root=(root @ Z_FROM_Y.T - rest[0]).float(),
        fps=round(bvh.fps, 2) if abs(bvh.fps - round(bvh.fps)) > 0.05 else float(round(bvh.fps)),
    )


@dataclass(frozen=True)
class _Source:
    bvh: Bvh
    rig: Rig
    rotations: Tensor
    places: Tensor
    rotations0: Tensor
    places0: Tensor

    def index(self, name: str) -> int:
        return self.bvh.names.index(name)

    def change(self, name: str) -> Tensor:
        """World rotation since the reference pose [T, 3, 3]."""
        joint = self.index(name)
        return self.rotations[:, joint] @ self.rotations0[joint].T

    def bone0(self, start: str, end: str) -> Tensor:
        """Direction of a bone in the reference pose [3], zeros where it has no length."""
        return self.places0[self.index(end)] - self.places0[self.index(start)]


def _zero_pose(bvh: Bvh) -> tuple[Tensor, Tensor]:
    still = Bvh(bvh.names, bvh.parents, bvh.offsets, bvh.channels, bvh.values[:1] * 0, bvh.fps)
    rotations, places = still.world()
    return rotations[0], places[0]


def _reference_yaw(source: _Source) -> Tensor:
    """Turns the reference pose about y so that it faces +z [3, 3] (open-motion, step 1)."""
    left, right = (source.index(_sources(source.rig, f"{side}_hip")[0]) for side in ("left", "right"))
    line = source.places0[left] - source.places0[right]
    line = torch.stack([line[0], torch.zeros_like(line[1]), line[2]])
    return minimal_rotation(line, torch.tensor([1.0, 0, 0], dtype=line.dtype))


def _transfer(source: _Source, rest: Tensor) -> Tensor:
    """World rotations of the 22 SMPL joints [T, 22, 3, 3] (open-motion, steps 1-4)."""
    yaw = _reference_yaw(source)
    world = []
    for joint, name in enumerate(BODY):
        if name.endswith("_foot"):
            world.append(world[joint - 3])
            continue
        words = _sources(source.rig, name)
        change = source.change(words[0])
        if len(words) == 2:
            difference = axis_angle_from_matrix(change.mT @ source.change(words[1]))
            change = change @ matrix_from_axis_angle(difference / 2)
        world.append(change @ yaw.T @ _correction(source, yaw, rest, joint, name))
    return torch.stack(world, dim=1)


def _correction(source: _Source, yaw: Tensor, rest: Tensor, joint: int, name: str) -> Tensor:
    """Minimal rotation from the SMPL bone's rest direction to the source's [3, 3] (open-motion, step 3)."""
    eye = torch.eye(3, dtype=rest.dtype)
    kind = name.partition("_")[2]
    end = source.rig.bones.get(kind, "")
    if not end or kind not in (*LIMBS, "ankle"):
        return eye
    end = _fill(source.rig, end, name)
    if end not in source.bvh.names:
        return eye
    target = yaw @ source.bone0(_sources(source.rig, name)[0], end)
    if kind == "wrist":
        ours = rest[joint] - rest[joint - 2]
    else:
        child = BODY_PARENTS.index(joint)
        ours = rest[child] - rest[joint]
    if kind == "ankle":
        flat = torch.tensor([1.0, 0.0, 1.0], dtype=rest.dtype)
        target, ours = target * flat, ours * flat
    if target.norm() < 1e-6 or ours.norm() < 1e-6:
        return eye
    return minimal_rotation(ours, target)


def _leg(places: Tensor, hip: int, knee: int, ankle: int) -> Tensor:
    return (places[knee] - places[hip]).norm() + (places[ankle] - places[knee]).norm()


def _root(source: _Source, rest: Tensor, posed: Tensor) -> Tensor:
    """Pelvis places [T, 3], metres, y up: the hips' mid-point follows the source's, scaled by leg length (step 5)."""
    hips = [source.index(_sources(source.rig, f"{side}_hip")[0]) for side in ("left", "right")]
    legs = [source.index(_sources(source.rig, f"left_{kind}")[0]) for kind in ("hip", "knee", "ankle")]
    length = _leg(source.places0, *legs)
    if length < 1e-6:
        raise DataError("the BVH skeleton's legs have no length", hint="export it again with bone lengths")
    scale = _leg(rest, 1, 4, 7) / length
    return scale * source.places[:, hips].mean(1) - posed[:, 1:3].mean(1)


def _floor(body: BodyModel, root: Tensor, posed: Tensor, rest: Tensor) -> Tensor:
    """How far the clip stands above the floor, as a vector along y [3] (step 6)."""
    sole = body.template[:, 1].min().double()
    ankle = (posed[:, 7:9, 1] + root[:, 1:2]).amin(1) - (rest[7:9, 1].min() - sole)
    toe = (posed[:, 10:12, 1] + root[:, 1:2]).amin(1) - (rest[10:12, 1].min() - sole)
    height = torch.quantile(torch.minimum(ankle, toe), 0.02)
    return torch.stack([torch.zeros_like(height), height, torch.zeros_like(height)])
