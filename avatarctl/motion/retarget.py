"""BVH skeletons to SMPL by rotation transfer with a rest-pose correction (spec open-motion).

Each SMPL joint takes the change of one source joint since the source's reference pose; limbs are corrected by
the minimal rotation between the two rest directions, so that their bones point exactly where the source's do.
A file that has SMPL's own skeleton is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.body import BodyModel, open_body
from avatarctl.body.tables import BODY, BODY_PARENTS, NAMES, PARENTS
from avatarctl.geometry.kinematics import joint_positions, local_rotations
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle, minimal_rotation
from avatarctl.motion.bvh import Bvh
from avatarctl.motion.motion import Z_FROM_Y, Motion, Skeleton
from avatarctl.motion.rigs import Rig, leg_length

LIMBS = ("hip", "knee", "shoulder", "elbow", "wrist")
LONGEST_LEG_M = 10.0
"""A longer leg of a SMPL skeleton is in centimetres."""


def retarget(bvh: Bvh, rig: Rig, *, reference_is_first: bool, body: BodyModel | None = None) -> Motion:
    """The motion of a BVH clip on an SMPL skeleton, z up, metres.

    Args:
        reference_is_first: The first frame is the reference pose (and no motion); else the pose with all
            angles zero is.
        body: Target body of mean shape; the open one when left out.
    """
    body = body or open_body()
    if rig.is_smpl:
        return _copied(bvh, body.rest_joints[0].double())
    return transferred(Source.of(bvh, rig, reference_is_first), body)


def transferred(source: Source, body: BodyModel) -> Motion:
    """The motion of a skeleton with another rest pose on a body of mean shape, z up, metres.

    It holds the fingers where the rig has them.
    """
    joints = len(NAMES["smplh"]) if any(name not in BODY for name in source.rig.takes) else len(BODY)
    rest = body.rest_joints[:joints].double()
    world = _transfer(source, rest)
    local = local_rotations(world, PARENTS["smplh"][:joints])
    posed = joint_positions(world[:, : len(BODY)], rest[: len(BODY)] - rest[0], BODY_PARENTS)
    root = _root(source, rest, posed)
    root = root - _floor(body, root, posed, rest)
    return from_y_up(local, root, rest[0], source.fps)


def from_y_up(local: Tensor, pelvis: Tensor, rest_pelvis: Tensor, fps: float) -> Motion:
    """A z-up motion from local rotations [T, J, 3, 3] and pelvis places [T, 3] with y up."""
    turn = torch.tensor(Z_FROM_Y, dtype=local.dtype)
    local = torch.cat([(turn @ local[:, 0])[:, None], local[:, 1:]], dim=1)
    return Motion(
        poses=axis_angle_from_matrix(local).float(),
        root=(pelvis @ turn.T - rest_pelvis).float(),
        fps=fps,
    )


@dataclass(frozen=True)
class Source:
    """A skeleton moving, y up: world rotations [T, J, 3, 3], places [T, J, 3] in any unit, and both in the
    reference pose; float64."""

    names: tuple[str, ...]
    rig: Rig
    fps: float
    rotations: Tensor
    places: Tensor
    rotations0: Tensor
    places0: Tensor

    @staticmethod
    def of(bvh: Bvh, rig: Rig, reference_is_first: bool) -> Source:
        """The clip of a BVH file; its first frame, or the pose with all angles zero, is the reference."""
        rotations, places = bvh.world()
        rotations0, places0 = torch.eye(3, dtype=places.dtype).expand(len(bvh.names), 3, 3), bvh.rest()
        if reference_is_first:
            rotations0, rotations = rotations[0], rotations[1:]
            places0, places = places[0], places[1:]
        if rig.is_z_up:
            axes = torch.tensor(Z_FROM_Y, dtype=places.dtype).T  # y-up from z-up
            rotations, places = axes @ rotations, places @ axes.T
            rotations0, places0 = axes @ rotations0, places0 @ axes.T
        return Source(bvh.names, rig, bvh.fps, rotations, places, rotations0, places0)

    def index(self, joint: str) -> int:
        """The (first) source joint that a SMPL joint takes its rotation from."""
        return self.names.index(self.rig.takes[joint][0])

    def change(self, joint: str) -> Tensor:
        """World rotation of a SMPL joint's source since the reference pose [T, 3, 3] (step 2)."""
        changes = []
        for name in self.rig.takes[joint]:
            index = self.names.index(name)
            changes.append(self.rotations[:, index] @ self.rotations0[index].T)
        if len(changes) == 1:
            return changes[0]
        between = axis_angle_from_matrix(changes[0].mT @ changes[1])
        return changes[0] @ matrix_from_axis_angle(between / 2)


def _transfer(source: Source, rest: Tensor) -> Tensor:
    """World rotations of the SMPL joints [T, J, 3, 3] (steps 1-4)."""
    turns = corrections(source, rest)
    world: list[Tensor] = []
    for joint, name in enumerate(NAMES["smplh"][: len(rest)]):
        if rides(source.rig, name):
            world.append(world[PARENTS["smplh"][joint]])
        else:
            world.append(source.change(name) @ turns[joint])
    return torch.stack(world, dim=1)


def rides(rig: Rig, joint: str) -> bool:
    """Whether a SMPL joint keeps its rest pose against its parent: feet, and what the rig does not drive."""
    return joint.endswith("_foot") or joint not in rig.takes


def corrections(source: Source, rest: Tensor) -> Tensor:
    """What leads from the change of each SMPL joint's source to the joint's world rotation [J, 3, 3].

    Args:
        rest: The SMPL joints at rest, metres, float64 [J, 3].
    """
    line = source.places0[source.index("left_hip")] - source.places0[source.index("right_hip")]
    line = line * torch.tensor([1.0, 0.0, 1.0], dtype=line.dtype)
    yaw = minimal_rotation(line, torch.tensor([1.0, 0.0, 0.0], dtype=line.dtype))
    return torch.stack([yaw.T @ _correction(source, yaw, rest, joint) for joint in range(len(rest))])


def _correction(source: Source, yaw: Tensor, rest: Tensor, joint: int) -> Tensor:
    """Minimal rotation from the SMPL bone's rest direction to the source's [3, 3] (step 3)."""
    name, parents = NAMES["smplh"][joint], PARENTS["smplh"]
    kind = name.partition("_")[2]
    eye = torch.eye(3, dtype=rest.dtype)
    end = source.rig.bones.get(name)
    if end not in source.names or (joint < len(BODY) and kind not in (*LIMBS, "ankle")):
        return eye
    target = yaw @ (source.places0[source.names.index(end)] - source.places0[source.index(name)])
    if kind == "wrist" and len(rest) > len(BODY):
        ours = rest[NAMES["smplh"].index(f"{name.partition('_')[0]}_middle1")] - rest[joint]
    elif (
        kind == "wrist" or joint not in parents[: len(rest)]
    ):  # a bone without end goes on as its parent does
        ours = rest[joint] - rest[parents[joint]]
    else:
        ours = rest[parents.index(joint)] - rest[joint]
    if kind == "ankle":  # yaw only, so that a flat foot stays flat
        flat = torch.tensor([1.0, 0.0, 1.0], dtype=rest.dtype)
        target, ours = target * flat, ours * flat
    if target.norm() < 1e-6 or ours.norm() < 1e-6:
        return eye
    return minimal_rotation(ours, target)


def _root(source: Source, rest: Tensor, posed: Tensor) -> Tensor:
    """Pelvis places [T, 3]: the hips' mid-point follows the source's, scaled by leg length (step 5)."""
    hips = [source.index(f"{side}_hip") for side in ("left", "right")]
    theirs = leg_length(source.places0, *(source.index(f"left_{kind}") for kind in ("hip", "knee", "ankle")))
    ours = leg_length(rest, *(BODY.index(f"left_{kind}") for kind in ("hip", "knee", "ankle")))
    return ours / theirs * source.places[:, hips].mean(1) - posed[:, 1:3].mean(1)


def _floor(body: BodyModel, root: Tensor, posed: Tensor, rest: Tensor) -> Tensor:
    """How far the clip stands above the floor, as a vector along y [3] (step 6)."""
    sole = body.template[:, 1].min().double()
    ankle = (posed[:, 7:9, 1] + root[:, 1:2]).amin(1) - (rest[7:9, 1].min() - sole)
    toe = (posed[:, 10:12, 1] + root[:, 1:2]).amin(1) - (rest[10:12, 1].min() - sole)
    height = torch.quantile(torch.minimum(ankle, toe), 0.02)
    return torch.stack([torch.zeros_like(height), height, torch.zeros_like(height)])


def _copied(bvh: Bvh, rest_pelvis: Tensor) -> Motion:
    """The motion of a file with SMPL's own skeleton: rotations and places as they are.

    The root's OFFSET, where there is one, is the pelvis's place at rest: the translation is counted from it.
    """
    family: Skeleton = "smplh"
    if "jaw" in bvh.names:
        family = "smplx"
    elif "left_hand" in bvh.names:
        family = "smpl"
    local, (rotations, places) = bvh.local()[0], bvh.world()
    joints = [bvh.names.index(name) if name in bvh.names else -1 for name in NAMES[family]]
    while joints[-1] < 0:
        joints.pop()
    still = torch.eye(3, dtype=local.dtype).expand(len(bvh), 3, 3)
    turns = [local[:, joint] if joint >= 0 else still for joint in joints[1:]]
    leg = leg_length(bvh.rest(), *(bvh.names.index(f"left_{kind}") for kind in ("hip", "knee", "ankle")))
    unit = 0.01 if leg > LONGEST_LEG_M else 1.0
    offset = unit * torch.from_numpy(bvh.offsets[joints[0]])
    motion = from_y_up(
        torch.stack([rotations[:, joints[0]], *turns], dim=1),
        unit * places[:, joints[0]],
        offset if offset.any() else rest_pelvis,
        bvh.fps,
    )
    return motion.replace(skeleton=family)
