"""What one picture gives a rendering or a training step (spec 4.3, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


def to(part: Any, device: torch.device | str) -> Any:
    """A dataclass of tensors and plain values on a device."""
    moved = {
        field.name: value.to(device)
        for field in fields(part)
        if isinstance(value := getattr(part, field.name), Tensor | Pose | Rays | Shot | Patches)
    }
    return replace(part, **moved)


class _Moves:
    def to(self, device: torch.device | str) -> Any:
        """The same on a device."""
        return to(self, device)


@dataclass(frozen=True)
class Pose(_Moves):
    """A body's pose as networks and bones need it, float32, in the body's own frame.

    `joints` [24, 3] are the canonical ones in T-pose; `star` [24, 4, 4] leads from T-pose to star pose
    (published name gtfs_02v); `rotations` [24, 3, 3] and `offsets` [24, 3] are relative to parents (dst_Rs,
    dst_Ts); `numbers` [69] is what the pose decoder is told (dst_posevec); `vertices` [6890, 3] stand posed,
    metres.
    """

    joints: Tensor
    star: Tensor
    rotations: Tensor
    offsets: Tensor
    numbers: Tensor
    vertices: Tensor


@dataclass(frozen=True)
class Rays(_Moves):
    """n rays in the body's frame, float32: unit directions, colours 0 to 1, opacity of masks, depths, metres.

    `depths` [n, S] are the places to sample (z_vals); `hits` [n] says whether a ray is rendered (hit_mask).
    """

    origins: Tensor
    directions: Tensor
    colours: Tensor
    alpha: Tensor
    near: Tensor
    far: Tensor
    depths: Tensor
    hits: Tensor

    def __getitem__(self, rows: Any) -> Rays:
        return Rays(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class Shot(_Moves):
    """The camera of one picture.

    `intrinsics` [3, 3]; `extrinsics` [4, 4] from the body's frame to the camera (E'), `world` [4, 4] from the
    world (camera_e), float32; `turn` [3, 3] = R(Rh)^T and `place` [3] = Th of the body (rh, th); width and
    height in pixels of the strided picture.
    """

    intrinsics: Tensor
    extrinsics: Tensor
    world: Tensor
    turn: Tensor
    place: Tensor
    width: int
    height: int
    view: str
    frame: str
    index: int
    """Place of the frame in its view (geo_latent_code_idx)."""


@dataclass(frozen=True)
class Patches(_Moves):
    """The patches of a training sample: colours [N, P, P, 3], which pixels have a ray [N, P, P], row-major in
    the order of the rays, and where each patch's rays begin [N + 1]."""

    colours: Tensor
    masks: Tensor
    bounds: Tensor


@dataclass(frozen=True)
class Sample(_Moves):
    """One picture, or patches of it. `box` [H, W] tells in a whole one which pixels meet the body's box."""

    shot: Shot
    pose: Pose
    rays: Rays
    background: Tensor
    """Colour 0 to 1 [3]."""
    patches: Patches | None = None
    box: Tensor | None = None


@dataclass(frozen=True)
class Subject(_Moves):
    """What stays the same for a person: `skinning` [6890, 24] of the neutral body, and the volume of signed
    distances in star pose, `grid` [N, N, N] float32 from `bbmin` to `bbmax` (scalars)."""

    skinning: Tensor
    grid: Tensor
    bbmin: Tensor
    bbmax: Tensor
