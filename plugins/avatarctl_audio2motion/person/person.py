"""A captured person as a skeleton: body parameters to a `Motion` of SMPL-H and back, with measured errors.

Bones follow open-motion's retargeting: each SMPL joint takes the change of one bone since the rest pose, and
limbs keep their directions. A skeleton with SMPL's own joints loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel, open_body
from avatarctl.body.tables import BODY, BODY_PARENTS, NAMES, PARENTS
from avatarctl.errors import DataError
from avatarctl.geometry.kinematics import global_rotations, joint_positions, local_rotations
from avatarctl.geometry.rotations import (
    geodesic,
    matrix_from_axis_angle_smpl,
    matrix_from_quaternion,
    minimal_rotation,
)
from avatarctl.motion import Motion
from avatarctl.motion.retarget import Source, corrections, from_y_up, rides, transferred
from avatarctl.motion.rigs import Rig, leg_length
from avatarctl_audio2motion.avatar.skeleton import Skeleton
from avatarctl_audio2motion.person.open import UNIT
from avatarctl_audio2motion.person.solve import Wanted, solve

if TYPE_CHECKING:
    from avatarctl.render import Render
    from avatarctl.render.video import Film
    from avatarctl_audio2motion.person.face import Face

SMPLH, PARENT = NAMES["smplh"], PARENTS["smplh"]
FPS = 30.0
FINGER = 0.1
"""How much a finger's turn counts beside a body bone's, where both cannot be met."""
LIMB_ENDS = ("knee", "ankle", "elbow", "wrist")


@dataclass(frozen=True)
class Errors:
    """What retargeting cost over some frames, and coming back.

    Limbs: angle between the capture's bone and the body's, degrees. Places: distance of knees, ankles, elbows
    and wrists from the capture's, scaled to the body, metres. Back: angle between the turns of the bones in
    the given pose and in the one solved from the motion, degrees, and the place of the hips, metres.
    """

    limbs_deg: float
    places_m: float
    back_deg: float
    back_m: float


@dataclass(frozen=True)
class Person:
    """A skeleton with what its bones are, and the face that its codes move, where that is known."""

    name: str
    skeleton: Skeleton
    rig: Rig
    face: Face | None = None
    jaw: int | None = None
    """The body parameter that opens the jaw, where it is known: radians."""

    @property
    def is_open(self) -> bool:
        """Whether the skeleton is the open body's own."""
        return self.rig.is_smpl

    def motion(self, pose: Tensor | np.ndarray, fps: float = FPS) -> Motion:
        """The motion of body parameters [T, 104] on the open body, SMPL-H with hands, z up.

        Raises:
            DataError: The poses have another width, no frames, or numbers that are not finite.
        """
        source = self._source(self._checked(pose), fps)
        body = open_body("smplh")
        if not self.is_open:
            return transferred(source, body)
        turns = [source.change(joint) for joint in SMPLH]
        local = local_rotations(torch.stack(turns, dim=1), PARENT)
        pelvis, rest = source.places[:, source.index("pelvis")], body.rest_joints[0].double()
        return from_y_up(local, pelvis * self._metres(source, body), rest, fps)

    def pose(self, motion: Motion) -> Tensor:
        """The body parameters [T, 104] nearest to a motion of the SMPL family, at its frame rate."""
        body = open_body("smplh")
        rest = body.rest_joints.double()
        upright = motion.to_skeleton("smplh").to_up("y")
        local = matrix_from_axis_angle_smpl(upright.body_poses(len(SMPLH)).double())
        world = global_rotations(local, PARENT)
        still = self._source(torch.zeros(1, self.skeleton.num_pose), motion.fps)
        hips = [still.index(f"{side}_hip") for side in ("left", "right")]
        places = joint_positions(world, rest, PARENT) + upright.root.double().unsqueeze(1)
        place = places[:, 1:3].mean(1) / self._metres(still, body)
        wanted = self._wanted(still, world, rest)
        return solve(self._exact, wanted, hips, place @ self._rest_axes).float()

    def errors(self, pose: Tensor | np.ndarray) -> Errors:
        """What `motion` and `pose` lose of body parameters [T, 104]."""
        pose, body = self._checked(pose), open_body("smplh")
        motion = self.motion(pose)
        source, again = self._source(pose, FPS), self._source(self.pose(motion).double(), FPS)
        scale = self._metres(source, body)
        local = matrix_from_axis_angle_smpl(motion.to_up("y").body_poses().double())
        rest = body.rest_joints[: len(BODY)].double()
        ours = joint_positions(global_rotations(local, BODY_PARENTS), rest, BODY_PARENTS)
        ours, theirs = ours - ours[:, 1:3].mean(1, keepdim=True), scale * _from_hips(source)
        angles, distances = [], []
        for joint in (BODY.index(f"{side}_{end}") for side in ("left", "right") for end in LIMB_ENDS):
            above = BODY_PARENTS[joint]
            end, start = (theirs[:, source.index(BODY[one])] for one in (joint, above))
            angles.append(_angle(ours[:, joint] - ours[:, above], end - start))
            distances.append((ours[:, joint] - end).norm(dim=1))
        bones = [source.index(joint) for joint in BODY if not rides(self.rig, joint)]
        moved = scale * (_hips(again) - _hips(source))
        return Errors(
            limbs_deg=math.degrees(torch.stack(angles).mean()),
            places_m=float(torch.stack(distances).mean()),
            back_deg=math.degrees(geodesic(again.rotations[:, bones], source.rotations[:, bones]).mean()),
            back_m=float((moved - moved.mean(0)).norm(dim=1).mean()),  # the floor may be another
        )

    def film(
        self,
        pose: Tensor | np.ndarray,
        face: Tensor | np.ndarray | None = None,
        *,
        sound: tuple[np.ndarray, int] | None = None,
        render: Render | None = None,
        fps: float = FPS,
        size: tuple[int, int] = (720, 720),
        title: str = "",
    ) -> Film:
        """The open body in these poses, whole and close up, with a face where the codes are the open face's.

        Args:
            pose: Body parameters [T, 104].
            face: Face codes [T, 256].
            sound: Samples [N, channels] and their rate.
            size: Rows and columns of the picture of the whole body; that of the head is as high.
            title: Written over the first one.
        """
        from avatarctl_audio2motion.person.film import film

        codes = None if face is None else torch.as_tensor(face)
        return film(self, self._checked(pose), codes, sound, render, fps, size, title)

    @cached_property
    def _exact(self) -> Skeleton:
        """The skeleton in float64."""
        values: dict[str, Any] = {
            each.name: getattr(self.skeleton, each.name) for each in fields(self.skeleton)
        }
        exact: dict[str, Any] = {
            name: value.double() for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self.skeleton, **exact)

    def _checked(self, pose: Tensor | np.ndarray) -> Tensor:
        pose = torch.as_tensor(pose).double()
        width = self.skeleton.num_pose
        if pose.dim() != 2 or pose.shape[1] != width or not len(pose):
            raise DataError(
                f"poses of {self.name}: found {list(pose.shape)}; expected [T, {width}], T at least 1",
                hint="each person has a skeleton of its own: name the one that the poses were made for",
            )
        bad = ~torch.isfinite(pose).all(1)
        if bad.any():
            frame = int(bad.nonzero()[0])
            raise DataError(f"poses of {self.name}: frame {frame}: numbers that are not finite")
        return pose

    def _source(self, pose: Tensor, fps: float) -> Source:
        """The bones of poses, float64 [T, 104], with y up, and those of the rest pose."""
        moved, still = self._exact.states(pose), self._exact.states(torch.zeros_like(pose[0]))
        rotations, rotations0 = (matrix_from_quaternion(one.quaternions) for one in (moved, still))
        axes0 = self._rest_axes
        axes = axes0
        if not self.is_open:
            chest = self.skeleton.names.index(self.rig.takes["spine3"][0])
            upward = (rotations[:, chest] @ rotations0[chest].T @ axes0[1]).mean(0)
            axes = _y_up_from(torch.eye(3, dtype=upward.dtype)[2] if self.rig.is_z_up else upward)
        return Source(
            names=self.skeleton.names,
            rig=self.rig,
            fps=fps,
            rotations=axes @ rotations,
            places=moved.places @ axes.T,
            rotations0=axes0 @ rotations0,
            places0=still.places @ axes0.T,
        )

    @cached_property
    def _rest_axes(self) -> Tensor:
        """Axes with y up of the axes that the skeleton has at rest [3, 3]."""
        places, names = (
            self._exact.states(torch.zeros(self.skeleton.num_pose).double()).places,
            self.skeleton.names,
        )
        head, left, right = (
            places[names.index(self.rig.takes[joint][0])] for joint in ("head", "left_hip", "right_hip")
        )
        return _y_up_from(head - (left + right) / 2)

    def _metres(self, source: Source, body: BodyModel) -> float:
        """What a length of the skeleton is on a body of mean shape: legs are as long."""
        if self.is_open:
            return 1 / UNIT
        joints = ("left_hip", "left_knee", "left_ankle")
        theirs = leg_length(source.places0, *(source.index(joint) for joint in joints))
        return leg_length(body.rest_joints, *(BODY.index(joint) for joint in joints)) / theirs

    def _wanted(self, still: Source, world: Tensor, rest: Tensor) -> Wanted:
        """How bones are to be turned for world rotations of the SMPL joints, y up [T, 52, 3, 3]."""
        turns = torch.eye(3).to(rest).expand(len(rest), 3, 3) if self.is_open else corrections(still, rest)
        bones: dict[int, Tensor] = {}
        weights = []
        for joint, name in enumerate(SMPLH):
            if name not in self.rig.takes or (not self.is_open and rides(self.rig, name)):
                continue
            for bone in map(still.names.index, self.rig.takes[name]):
                if bone not in bones:
                    turned = world[:, joint] @ turns[joint].T @ still.rotations0[bone]
                    bones[bone] = self._rest_axes.T @ turned
                    weights.append(1.0 if joint < len(BODY) else FINGER)
        return Wanted(list(bones), torch.stack(list(bones.values()), dim=1), torch.tensor(weights).to(rest))


def _y_up_from(upward: Tensor) -> Tensor:
    """The rotation [3, 3] that turns the axis nearest to a direction [3] to y."""
    axis = torch.zeros_like(upward)
    nearest = int(upward.abs().argmax())
    axis[nearest] = torch.sign(upward[nearest])
    return minimal_rotation(axis, torch.tensor([0.0, 1.0, 0.0], dtype=upward.dtype))


def _hips(source: Source) -> Tensor:
    """The mid-point of the hips [T, 3]."""
    return source.places[:, [source.index(f"{side}_hip") for side in ("left", "right")]].mean(1)


def _from_hips(source: Source) -> Tensor:
    """The bones' places as seen from the mid-point of the hips [T, J, 3]."""
    return source.places - _hips(source).unsqueeze(1)


def _angle(first: Tensor, second: Tensor) -> Tensor:
    """Angles between directions [T, 3], radians [T]."""
    return torch.atan2(torch.linalg.cross(first, second).norm(dim=1), (first * second).sum(1))
