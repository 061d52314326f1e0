"""What grids around the canonical body hold: skinning weights and signed distances (spec 2.5, 4.8)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.checkpoints.arrays import read_npy
from avatarctl.config.user import cache_folder
from avatarctl.errors import DataError
from avatarctl.files import atomic, is_file
from avatarctl_generative_avatar.deform import grids
from avatarctl_generative_avatar.deform.grids import Shape

log = logging.getLogger(__name__)

SKINNING: Shape = (16, 64, 64)
DISTANCES: Shape = (32, 128, 128)
NEIGHBOURS = 10
NEAREST, FARTHEST = 3e-5, 0.1
"""Limits of the distances to them, metres."""
FORM = b"generative-avatar volumes 1"
"""Changes with what is computed here, so that nothing older is taken from the cache."""
Compute = Callable[[BodyModel, Tensor, Tensor], Tensor]
CHUNK = 1 << 15
"""Places interpolated at a time: about what a processor's cache holds."""


def kept(compute: Compute, body: BodyModel, vertices: Tensor, nodes: Tensor) -> Tensor:
    """What `skinning` or `distances` makes of a body, from the user's cache where it is there."""
    name = f"{compute.__name__}-{_digest(body, vertices)}.npy"
    path = cache_folder() / "generative-avatar" / name
    made = _read(path, nodes.shape[:3])
    if made is None:
        log.info("computing %s around the body (once per body)", compute.__name__)
        made = compute(body, vertices, nodes)
        try:
            with atomic(path) as temporary:
                np.save(temporary, made.numpy())
        except DataError as error:
            log.warning("%s; it will be computed again", error)
    return made


def skinning(body: BodyModel, vertices: Tensor, nodes: Tensor) -> Tensor:
    """Weights of the nearest vertices, averaged by the inverse of their distances [24, D, H, W]."""
    from scipy.spatial import cKDTree

    tree = cKDTree(vertices.cpu().numpy())
    distances, found = tree.query(nodes.cpu().reshape(-1, 3).numpy(), NEIGHBOURS)
    shares = 1 / distances.clip(NEAREST, FARTHEST)
    shares /= shares.sum(axis=1, keepdims=True)
    weights = body.weights.cpu()[torch.from_numpy(found)]  # [nodes, 10, 24]
    rows = (torch.from_numpy(shares).float().unsqueeze(1) @ weights).squeeze(1)
    return rows.T.unflatten(1, nodes.shape[:3]).contiguous()


def distances(body: BodyModel, vertices: Tensor, nodes: Tensor) -> Tensor:
    """Signed distances of nodes to the surface, metres, positive inside [1, 1, D, H, W]."""
    import igl

    places = nodes.cpu().reshape(-1, 3).double().numpy()
    mesh = vertices.cpu().double().numpy(), body.faces.cpu().numpy()
    # Apart: `signed_distance` with this sign gives distances that are right to 0.3 mm only.
    squares = igl.point_mesh_squared_distance(places, *mesh)[0]
    is_inside = igl.fast_winding_number(*mesh, places) > 0.5
    signed = np.sqrt(squares) * np.where(is_inside, 1, -1)
    return torch.from_numpy(signed).float().view(1, 1, *nodes.shape[:3])


def load_sdf(path: str | Path) -> Tensor:
    """Signed distances of a file (sdf_smpl.npy), metres, positive inside [1, 1, D, H, W].

    Raises:
        DataError: The file is something else.
    """
    hint = "take sdf_smpl.npy from its makers' page again, or leave it out: it is then computed from the body"
    array = read_npy(path, "signed distances around the body (sdf_smpl.npy)")
    if array.dtype.kind != "f":
        raise DataError(f"{path}: found {array.dtype}; expected an array of floats", hint=hint)
    if array.ndim != 5 or array.shape[:2] != (1, 1) or min(array.shape[2:]) < 2:
        raise DataError(f"{path}: found shape {list(array.shape)}; expected [1, 1, D, H, W]", hint=hint)
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds numbers that are not finite", hint=hint)
    middle = array[0, 0, array.shape[2] // 2]
    if array.max() <= 0 or array.min() >= 0 or middle[0, 0] >= 0:
        raise DataError(
            f"{path}: from {array.min():g} to {array.max():g}, {middle[0, 0]:g} in a corner; expected "
            "distances that are positive inside of the body and negative outside",
            hint=hint,
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def interpolated(volume: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Values [K] of a volume [D, H, W] and their gradients [K, 3] in normalised places [K, 3].

    Beyond the border lie the values of the border. Sums go in the order of torch's `grid_sample`: where 1e8
    stands beside small numbers the last bits decide.
    """
    pieces = [_interpolated(volume, part) for part in places.split(CHUNK)]
    values, gradients = zip(*pieces, strict=True)
    return torch.cat(values), torch.cat(gradients)


def _interpolated(volume: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    inner = grids.bordered(places, shape)
    is_free = (inner > 0) & (inner < grids.last(places, shape))
    first, share = grids.corners(inner, shape)
    near = volume.flatten()[first + grids.steps(shape, places.device)[:, None]]  # [8, K]
    sides = [(1 - one, one) for one in share.unbind(-1)]
    value = torch.zeros_like(near[0])
    slopes = [torch.zeros_like(value) for _ in range(3)]
    for corner, one in enumerate(near):
        up = corner & 1, corner >> 1 & 1, corner >> 2
        x, y, z = (side[which] for side, which in zip(sides, up, strict=True))
        value += one * (x * y * z)
        for slope, is_up, first_side, second_side in zip(slopes, up, (y, x, x), (z, z, y), strict=True):
            term = one * first_side * second_side
            slope.add_(term) if is_up else slope.sub_(term)
    return value, torch.stack(slopes, dim=-1) * is_free * (grids.last(places, shape) / 2)


def _digest(body: BodyModel, vertices: Tensor) -> str:
    total = hashlib.sha256(FORM)
    for part in (vertices, body.weights, body.faces):
        total.update(part.cpu().numpy().tobytes())
    return total.hexdigest()[:32]


def _read(path: Path, shape: Sequence[int]) -> Tensor | None:
    """What an earlier call kept; None if none did, or the file is damaged."""
    if not is_file(path):
        return None
    try:
        array = read_npy(path, "a volume around a body")
    except DataError:
        return None
    return torch.from_numpy(array) if array.shape[-3:] == tuple(shape) else None
