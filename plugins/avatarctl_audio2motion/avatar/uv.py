"""Between a mesh and its texture: what each texel shows, and values carried both ways (spec 7.4)."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import zipfile
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from avatarctl.config.user import cache_folder
from avatarctl.errors import AvatarError, DataError
from avatarctl.files import atomic
from avatarctl.geometry.cameras import Camera
from avatarctl.render import rasterize
from avatarctl_audio2motion.avatar.fields import HINT, Fields

log = logging.getLogger(__name__)
REACH = 100
"""Empty texels this far from any triangle stay empty."""
LEAST_AREA = 1e-6
"""Twice the area in the unit square below which a triangle's barycentric coordinates are damped."""
LEAST_LENGTH = 1e-5
"""Vectors shorter than this are not scaled to length 1."""


@dataclass(frozen=True)
class Topology:
    """A mesh and its unwrapping: `faces` and `uv_faces` [F, 3], `uvs` [U, 2] with v = 0 at the top.

    `vertex_uvs` [N, k] lists the uvs of each vertex, filled up with its first one.
    """

    faces: Tensor
    uv_faces: Tensor
    uvs: Tensor
    vertex_uvs: Tensor


@dataclass(frozen=True)
class TexelMaps:
    """What texels show: the three `vertices` of a face [S, S, 3], -1 where none, and their share of each,
    `barycentric` [S, S, 3], zeros where none."""

    vertices: Tensor
    barycentric: Tensor


class UvMaps(nn.Module):
    """A mesh with the maps of one texture size.

    Args:
        maps: In-painted, of `made_maps` or of a checkpoint.
    """

    faces: Tensor
    uv_faces: Tensor
    uvs: Tensor
    vertex_uvs: Tensor
    corners: Tensor
    shares: Tensor

    def __init__(self, topology: Topology, maps: TexelMaps) -> None:
        super().__init__()
        self.size = len(maps.vertices)
        buffers = {
            "faces": topology.faces,
            "uv_faces": topology.uv_faces,
            "uvs": topology.uvs,
            "vertex_uvs": topology.vertex_uvs,
            "corners": maps.vertices.flatten(0, 1).T.clamp(min=0).int(),
            "shares": maps.barycentric.flatten(0, 1).T,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.contiguous(), persistent=False)

    def to_uv(self, values: Tensor) -> Tensor:
        """Values of the vertices [B, N, C] as a texture [B, C, S, S], 0 where nothing is shown."""
        rows = values.mT.contiguous()
        image = rows.index_select(2, self.corners[0]).mul_(self.shares[0])
        for corner in (1, 2):
            image.addcmul_(rows.index_select(2, self.corners[corner]), self.shares[corner])
        return image.unflatten(2, (self.size, self.size))

    def from_uv(self, texture: Tensor) -> Tensor:
        """Values of the vertices [B, N, C] in a texture [B, C, H, W]."""
        grid = (2 * self.uvs - 1).expand(len(texture), 1, -1, -1)
        # parity: corners of the texture are centres of texels here, in to_uv their outer corners; a vertex'
        # first uv counts as often as it fills the list up (spec 9, 30 and 31).
        values = grid_sample(texture, grid, align_corners=True).squeeze(2).mT
        return values[:, self.vertex_uvs].mean(2)

    def face_normals(self, vertices: Tensor) -> Tensor:
        """Unit normals of the faces [B, F, 3] of vertices [B, N, 3]."""
        a, b, c = (vertices.index_select(1, self.faces[:, corner]) for corner in range(3))
        return _unit(torch.linalg.cross(b - a, c - a))

    def vertex_normals(self, vertices: Tensor) -> Tensor:
        """Unit normals of vertices [B, N, 3], the mean over their faces whatever the faces' areas."""
        normals, total = self.face_normals(vertices), torch.zeros_like(vertices)
        for corner in range(3):
            total.index_add_(1, self.faces[:, corner], normals)
        return _unit(total)

    def view_cosine(self, vertices: Tensor, places: Tensor) -> Tensor:
        """Cosine between normals and lines of sight [B, N], negative where a vertex faces the camera.

        Args:
            vertices: [B, N, 3].
            places: Of the cameras [B, 3].
        """
        return (self.vertex_normals(vertices) * _unit(vertices - places.unsqueeze(1))).sum(-1)


def _unit(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length < LEAST_LENGTH, 1.0, length)


def read_topology(assets: Fields) -> Topology:
    """The mesh of a person's assets: topology.vi, vti, vt and v2uv.

    Raises:
        DataError: One is missing, or names vertices or uvs that are not there.
    """
    faces = assets.array("topology.vi", "F 3", torch.int64)
    uvs = assets.array("topology.vt", "U 2")
    vertex_uvs = assets.array("topology.v2uv", "N K", torch.int64)
    uv_faces = assets.array("topology.vti", f"{len(faces)} 3", torch.int64)
    limits = {"vi": (faces, len(vertex_uvs)), "vti": (uv_faces, len(uvs)), "v2uv": (vertex_uvs, len(uvs))}
    for name, (indices, limit) in limits.items():
        if not indices.numel() or not 0 <= int(indices.min()) <= int(indices.max()) < limit:
            raise DataError(
                f"{assets.source}: 'topology.{name}' has to hold numbers from 0 to {limit - 1}", hint=HINT
            )
    return Topology(faces, uv_faces, uvs, vertex_uvs)


def made_maps(topology: Topology, size: int) -> TexelMaps:
    """In-painted maps of a texture of size x size, from the user's cache where they were made before."""
    name = hashlib.sha256(f"{size} {REACH} {_has_sklearn()}".encode())
    for tensor in (topology.faces, topology.uv_faces, topology.uvs):
        name.update(tensor.cpu().contiguous().numpy().tobytes())
    path = cache_folder() / "texel-maps" / f"{name.hexdigest()[:32]}.npz"
    try:
        with np.load(path) as file:
            return TexelMaps(*(torch.from_numpy(file[part]) for part in ("vertices", "barycentric")))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        maps = inpainted(texel_maps(topology, size))
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, vertices=maps.vertices.int().numpy(), barycentric=maps.barycentric.numpy())
    except AvatarError as error:
        log.info("texel maps are not kept for the next time: %s", error)
    return maps


def texel_faces(topology: Topology, size: int) -> Tensor:
    """The first triangle that each texel's centre lies in, not on its edge; -1 where none [size, size]."""
    uvs = topology.uvs.cpu()
    flat = torch.cat([uvs * size, torch.ones(len(uvs), 1)], dim=1)
    plain = Camera(torch.eye(3), torch.eye(3), torch.zeros(3))
    return rasterize(flat, topology.uv_faces.cpu(), plain, (size, size), is_strict=True).face


def texel_maps(topology: Topology, size: int) -> TexelMaps:
    """Maps of a texture of size x size, not in-painted."""
    face = texel_faces(topology, size)
    rows, columns = (face >= 0).nonzero(as_tuple=True)
    shown = face[rows, columns]
    centres = (torch.stack([columns, rows], dim=1) + 0.5) / size
    a, b, c = topology.uvs.cpu()[topology.uv_faces.cpu()[shown]].unbind(1)
    area = _cross(b - a, c - a)
    area = torch.where(area < 0, area.clamp(max=-LEAST_AREA), area.clamp(min=LEAST_AREA))
    to_corners = [corner - centres for corner in (a, b, c)]
    edges = [_cross(to_corners[corner - 2], to_corners[corner - 1]) for corner in range(3)]
    barycentric = torch.zeros(size, size, 3)
    barycentric[rows, columns] = torch.stack(edges, dim=1) / area.unsqueeze(1)
    vertices = torch.full((size, size, 3), -1)
    vertices[rows, columns] = topology.faces.cpu()[shown]
    return TexelMaps(vertices, barycentric)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def inpainted(maps: TexelMaps) -> TexelMaps:
    """Maps in which empty texels show what the nearest one shows that is not empty, if it is near."""
    is_empty = maps.vertices[..., 0] < 0
    empty, valid = is_empty.nonzero(), (~is_empty).nonzero()
    if not len(valid):
        return maps
    distance, nearest = _nearest(valid.numpy(), empty.numpy())
    is_near = torch.from_numpy(distance < REACH)
    to, source = empty[is_near].T, valid[torch.from_numpy(nearest)[is_near]].T
    vertices, barycentric = maps.vertices.clone(), maps.barycentric.clone()
    vertices[to[0], to[1]] = maps.vertices[source[0], source[1]]
    barycentric[to[0], to[1]] = maps.barycentric[source[0], source[1]]
    return TexelMaps(vertices, barycentric)


def _has_sklearn() -> bool:
    return importlib.util.find_spec("sklearn") is not None


def _nearest(points: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [Q] to the nearest of some points, and which it is [Q].

    parity: where several are equally near, the published maps have the choice of scikit-learn's tree with
    its points in the order of rows (spec 7.4).
    """
    if _has_sklearn():
        from sklearn.neighbors import KDTree

        distance, index = KDTree(points).query(queries, k=1)
        return distance[:, 0], index[:, 0]
    from scipy.spatial import cKDTree

    log.info(
        "without scikit-learn about 1 %% of the texels outside the triangles show another, equally near one "
        'than in the published maps; for those: pip install "avatarctl[avatar]"'
    )
    distance, index = cKDTree(points).query(queries)
    return distance, index
