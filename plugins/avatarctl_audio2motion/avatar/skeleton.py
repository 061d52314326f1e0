"""The capture skeleton and its skin: 104 body parameters to joint states to vertices, and back (spec 7.3).

A body parameter drives joint channels (tx ty tz rx ry rz sc) through a linear map; a joint's state is a
similarity (place, turn, scale) in its parent's axes. Lengths are those of the assets until `global_scaling`
brings vertices to the renderer's unit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_quaternion, quaternion_product
from avatarctl_audio2motion.avatar.fields import HINT, Fields

CHANNELS = 7
"""Of a joint: translation, Euler angles in radians, binary logarithm of the scale."""
INFLUENCES = 8
"""Most joints that move a vertex."""


@dataclass(frozen=True)
class States:
    """Joints: `places` [..., J, 3], `quaternions` wxyz [..., J, 4] and `scales` [..., J, 1]."""

    places: Tensor
    quaternions: Tensor
    scales: Tensor

    @property
    def linear(self) -> Tensor:
        """Rotation times scale [..., J, 3, 3]."""
        return matrix_from_quaternion(self.quaternions) * self.scales.unsqueeze(-1)


@dataclass(frozen=True)
class Skeleton:
    """A person's skeleton and skinned template.

    `parents` are -1 for roots and stand before their children. `pre_rotation` wxyz [J, 4] and `offsets`
    [J, 3] place a joint in its parent's axes; `transform` [7J, P] and `transform_offsets` [7J] make its
    channels from P parameters, of which the last S are the person's own `scale` [S]. `template` [N, 3] is
    moved by the joints of `skin` [N, J].
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    pre_rotation: Tensor
    offsets: Tensor
    transform: Tensor
    transform_offsets: Tensor
    scale: Tensor
    template: Tensor
    skin: Tensor
    global_scaling: float

    @property
    def num_pose(self) -> int:
        """Body parameters of a pose (published: 104)."""
        return self.transform.shape[1] - len(self.scale)

    def to(self, device: torch.device) -> Skeleton:
        """The same on a device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def channels(self, pose: Tensor) -> Tensor:
        """Joint channels [..., 7J] of body parameters [..., P - S], with the person's scale."""
        parameters = torch.cat([pose, self.scale.expand((*pose.shape[:-1], -1))], dim=-1)
        return parameters @ self.transform.mT + self.transform_offsets

    def states(self, pose: Tensor) -> States:
        """Global joint states of body parameters [..., P - S]."""
        return self._globals(self.channels(pose))

    @cached_property
    def bind(self) -> States:
        """Joint states in which the template fits the skeleton: all parameters zero, the scale too."""
        return self._globals(self.transform_offsets)

    def matrices(self, pose: Tensor) -> Tensor:
        """What each joint does to the template: linear part and shift side by side [..., J, 3, 4]."""
        states, bind = self.states(pose), self.bind
        linear = states.linear @ (bind.linear / bind.scales.unsqueeze(-1).square()).mT  # inverse of bind
        shift = states.places - (linear @ bind.places.unsqueeze(-1)).squeeze(-1)
        return torch.cat([linear, shift.unsqueeze(-1)], dim=-1)

    def posed(self, pose: Tensor, delta: Tensor | None = None) -> Tensor:
        """Vertices in the renderer's unit [..., N, 3].

        Args:
            pose: Body parameters [..., P - S].
            delta: Added to the template before it is moved [..., N, 3].
        """
        rest = self.template if delta is None else self.template + delta
        blended = self._blended(pose)
        moved = (blended[..., :3] @ rest.unsqueeze(-1)).squeeze(-1) + blended[..., 3]
        return moved * self.global_scaling

    def unposed(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """The `delta` that `posed` would make these vertices [..., N, 3] from, with the same pose."""
        blended = self._blended(pose)
        back = (vertices / self.global_scaling - blended[..., 3]).unsqueeze(-1)
        return torch.linalg.solve(blended[..., :3], back).squeeze(-1) - self.template

    def _blended(self, pose: Tensor) -> Tensor:
        """Each vertex' mix of its joints' motions [..., N, 3, 4]."""
        return (self.skin @ self.matrices(pose).flatten(-2)).unflatten(-1, (3, 4))

    def _globals(self, channels: Tensor) -> States:
        local = channels.unflatten(-1, (-1, CHANNELS))
        places = local[..., :3] + self.offsets
        turns = quaternion_product(self.pre_rotation, quaternion_from_euler(local[..., 3:6]))
        scales = local[..., 6:].exp2()
        for joints, parents in self._levels:
            above = States(places[..., parents, :], turns[..., parents, :], scales[..., parents, :])
            moved = (above.linear @ places[..., joints, :].unsqueeze(-1)).squeeze(-1) + above.places
            places = places.index_copy(-2, joints, moved)
            turned = quaternion_product(above.quaternions, turns[..., joints, :])
            turns = turns.index_copy(-2, joints, turned)
            scales = scales.index_copy(-2, joints, above.scales * scales[..., joints, :])
        return States(places, turns, scales)

    @cached_property
    def _levels(self) -> list[tuple[Tensor, Tensor]]:
        """Joints with equally many ancestors, and their parents, from the children of roots down."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        levels = []
        for depth in range(1, max(depths) + 1):
            joints = [joint for joint, found in enumerate(depths) if found == depth]
            pair = (joints, [self.parents[joint] for joint in joints])
            levels.append(tuple(torch.tensor(part, device=self.offsets.device) for part in pair))
        return [(joints, parents) for joints, parents in levels]


def quaternion_from_euler(angles: Tensor) -> Tensor:
    """Quaternions wxyz [..., 4] of Rz Ry Rx, angles in the order x, y, z [..., 3], radians."""
    (cx, cy, cz), (sx, sy, sz) = ((angles / 2).cos().unbind(-1), (angles / 2).sin().unbind(-1))
    return torch.stack(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ],
        dim=-1,
    )


def read_skeleton(assets: Fields) -> Skeleton:
    """The skeleton of a person's static assets: lbs_model_json, lbs_config_dict, lbs_template_verts,
    lbs_scale and global_scaling.

    Raises:
        DataError: One of them is missing or does not fit the others.
    """
    names, parents, rest = _bones(assets)
    joints = len(parents)
    transform = assets.array("lbs_config_dict.transform", f"{CHANNELS * joints} P")
    scale = assets.array("lbs_scale", "S")
    if len(scale) >= transform.shape[1]:
        raise DataError(
            f"{assets.source}: 'lbs_scale' has {len(scale)} numbers, 'lbs_config_dict.transform' only "
            f"{transform.shape[1]} columns for pose and scale",
            hint=HINT,
        )
    template = assets.array("lbs_template_verts", "N 3")
    return Skeleton(
        names=names,
        parents=parents,
        pre_rotation=rest["PreRotation"][:, [3, 0, 1, 2]],
        offsets=rest["TranslationOffset"],
        transform=transform,
        transform_offsets=assets.array("lbs_config_dict.transform_offsets", f"1 {CHANNELS * joints}")[0],
        scale=scale,
        template=template,
        skin=_skin(assets, len(template), joints),
        global_scaling=assets.number("global_scaling"),
    )


def _bones(assets: Fields) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, Tensor]]:
    """Names, parents, and rest turns [J, 4] and offsets [J, 3] of the joints."""
    where = "lbs_model_json.Skeleton.Bones"
    bones: Any = assets.value(where)
    if not isinstance(bones, list | tuple) or not bones:
        raise DataError(f"{assets.source}: '{where}' is no list of joints", hint=HINT)
    parents = []
    for joint in range(len(bones)):
        parent = int(assets.number(f"{where}.{joint}.Parent"))
        is_root = not 0 <= parent < len(bones)
        if not is_root and parent >= joint:
            raise DataError(
                f"{assets.source}: '{where}' has joint {joint} before its parent {parent}, "
                "expected parents first",
                hint=HINT,
            )
        parents.append(-1 if is_root else parent)
    names = tuple(str(assets.value(f"{where}.{joint}.Name")) for joint in range(len(bones)))
    rest = {
        name: torch.stack([assets.array(f"{where}.{joint}.{name}", str(size)) for joint in range(len(bones))])
        for name, size in (("PreRotation", 4), ("TranslationOffset", 3))
    }
    return names, tuple(parents), rest


def _skin(assets: Fields, vertices: int, joints: int) -> Tensor:
    """Share of each joint in each vertex [N, J]: the first 8 of the file, as they are."""
    where = "lbs_model_json.SkinnedModel."
    pairs = assets.array(where + "SkinningWeights", "K 2", torch.float64)
    starts = assets.array(where + "SkinningOffsets", str(vertices + 1), torch.int64)
    counts = starts.diff()
    joint = pairs[:, 0].long()
    is_sound = starts[0] == 0 and starts[-1] == len(pairs) and (counts > 0).all()
    if not is_sound or not ((joint >= 0) & (joint < joints)).all():
        raise DataError(
            f"{assets.source}: '{where}SkinningOffsets' and '{where}SkinningWeights' do not give each of "
            f"{vertices} vertices some of {joints} joints",
            hint=HINT,
        )
    vertex = torch.arange(vertices).repeat_interleave(counts)
    is_kept = torch.arange(len(pairs)) - starts[vertex] < INFLUENCES
    skin = torch.zeros(vertices, joints, dtype=torch.float32)
    kept = (vertex[is_kept], joint[is_kept])
    return skin.index_put(kept, pairs[is_kept, 1].float(), accumulate=True)
