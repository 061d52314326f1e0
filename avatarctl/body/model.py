"""One functional body model for the SMPL family, taken in stages: shape, pose, skin.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model" (2015); hands and face follow SMPL-H and SMPL-X. The
joints follow from a kinematic chain alone; vertices are computed when they are asked for. Nothing is stored
between calls but the file's own arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.geometry.shapes import expect
from avatarctl.geometry.skinning import blend

if TYPE_CHECKING:
    import smplx


@dataclass(frozen=True)
class BodyModel:
    """The arrays of one body file.

    `template` [V, 3] metres, `shape_directions` [V, 3, K], `pose_directions` [9 (J - 1), 3 V], `regressor`
    [J, V], `weights` [V, J], `faces` [F, 3]; `expressions` counts the last K directions that are facial
    expressions.
    """

    family: str
    gender: str
    parents: tuple[int, ...]
    template: Tensor
    shape_directions: Tensor
    pose_directions: Tensor
    regressor: Tensor
    weights: Tensor
    faces: Tensor
    source: str
    expressions: int = 0
    hands_mean: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_joints(self) -> int:
        """Joints of the skeleton."""
        return len(self.parents)

    @property
    def num_betas(self) -> int:
        """Shape coefficients the file has, expressions not counted."""
        return self.shape_directions.shape[-1] - self.expressions

    @property
    def is_open(self) -> bool:
        """Whether this is the embedded open body."""
        return self.source == "open"

    @cached_property
    def rest_joints(self) -> Tensor:
        """Joints of the mean shape at rest, metres [J, 3]."""
        return self.regressor @ self.template

    def to(self, device: torch.device | str | None = None, *, dtype: torch.dtype | None = None) -> BodyModel:
        """The same model on another device, or in another format of floating-point numbers."""
        names = "template", "shape_directions", "pose_directions", "regressor", "weights"
        moved = {name: getattr(self, name).to(device=device, dtype=dtype) for name in names}
        return replace(self, **moved, faces=self.faces.to(device=device))

    def shape(self, betas: Tensor | None = None, expression: Tensor | None = None) -> Shaped:
        """The body at rest with a shape.

        Args:
            betas: Shape coefficients in standard deviations, up to `num_betas` of them [..., K].
            expression: Facial coefficients of SMPL-X [..., E].
        """
        if betas is None and expression is None:
            return Shaped(self, self.rest_joints, self.template)
        vertices = self.template
        for values, first, most in (
            (betas, 0, self.num_betas),
            (expression, self.num_betas, self.expressions),
        ):
            if values is not None:
                count = min(values.shape[-1], most)
                vertices = vertices + torch.einsum(
                    "vck,...k->...vc", self.shape_directions[..., first : first + count], values[..., :count]
                )
        return Shaped(self, self.regressor @ vertices, vertices)

    def to_smplx(self) -> smplx.SMPL:
        """The same body as a module of the `smplx` package."""
        from avatarctl.body.bridge import to_smplx

        return to_smplx(self)


@dataclass(frozen=True)
class Shaped:
    """A body at rest: `joints` [..., J, 3] and `vertices` [..., V, 3], metres."""

    model: BodyModel
    joints: Tensor
    vertices: Tensor

    def pose(self, poses: Tensor, transl: Tensor | None = None) -> Posed:
        """The body in a pose.

        Args:
            poses: Axis-angle of the first joints, root first; the joints left out stay at rest [..., N, 3].
            transl: Added after posing, metres [..., 3].
        """
        expect(poses, "... 3", "poses")
        missing = self.model.num_joints - poses.shape[-2]
        if missing < 0:
            raise ValueError(
                f"poses has {poses.shape[-2]} joints, {self.model.family} has {self.model.num_joints}"
            )
        local = matrix_from_axis_angle_smpl(poses)
        if missing:
            eye = torch.eye(3, dtype=poses.dtype, device=poses.device)
            local = torch.cat([local, eye.expand(*local.shape[:-3], missing, 3, 3)], dim=-3)
        return self.pose_matrices(local, transl)

    def pose_matrices(self, local: Tensor, transl: Tensor | None = None) -> Posed:
        """The body in a pose given as local rotation matrices [..., J, 3, 3]."""
        joints = self.joints
        extra = local.dim() - 1 - joints.dim()
        if joints.dim() > 2 and extra > 0:
            joints = joints.reshape(*joints.shape[:-2], *(1,) * extra, *joints.shape[-2:])
        world, places = forward_kinematics(local, joints, self.model.parents, transl)
        return Posed(self, local, world, places, transl)


@dataclass(frozen=True)
class Posed:
    """A posed body: `joints` [..., J, 3] metres and `rotations`, world [..., J, 3, 3]."""

    shaped: Shaped
    local: Tensor
    rotations: Tensor
    joints: Tensor
    transl: Tensor | None

    def vertices(self, chunk: int = 64) -> Tensor:
        """Skinned vertices, metres [..., V, 3], computed a few frames at a time.

        Args:
            chunk: Frames in one piece; bounds the memory.
        """
        model, leading = self.shaped.model, self.local.shape[:-3]
        count, joints = leading.numel(), model.num_joints
        eye = torch.eye(3, dtype=self.local.dtype, device=self.local.device)
        bends = (self.local[..., 1:, :, :] - eye).reshape(count, model.pose_directions.shape[0])
        places = self.joints if self.transl is None else self.joints - self.transl.unsqueeze(-2)
        world, places = self.rotations.reshape(count, joints, 3, 3), places.reshape(count, joints, 3)
        rest, rest_joints = (_spread(one, leading) for one in (self.shaped.vertices, self.shaped.joints))
        pieces = [rest.new_zeros(0, *rest.shape[1:])]
        for first in range(0, count, chunk):
            part = slice(first, first + chunk)
            bent = rest[part] + (bends[part] @ model.pose_directions).reshape(-1, *rest.shape[1:])
            pieces.append(blend(bent, model.weights, world[part], places[part], rest_joints[part]))
        vertices = torch.cat(pieces).reshape(*leading, *rest.shape[1:])
        return vertices if self.transl is None else vertices + self.transl.unsqueeze(-2)


def _spread(rest: Tensor, leading: torch.Size) -> Tensor:
    """A rest place for each pose [prod(leading), N, 3]; those of a shape [..., N, 3] serve all its poses."""
    if rest.dim() > 2:
        shapes = rest.shape[:-2]
        rest = rest.reshape(*shapes, *(1,) * (len(leading) - len(shapes)), *rest.shape[-2:])
    return rest.expand(*leading, *rest.shape[-2:]).reshape(leading.numel(), *rest.shape[-2:])
