"""Triangle meshes: normals, components, cuts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


class Mesh(NamedTuple):
    """`vertices` [V, 3] float64 and `faces` [F, 3] int64."""

    vertices: np.ndarray
    faces: np.ndarray

    def turned(self) -> Mesh:
        """The same surface, its faces wound the other way round."""
        return Mesh(self.vertices, self.faces[:, [0, 2, 1]])

    def normals(self) -> np.ndarray:
        """Unit normals of the vertices, faces weighted by their angle there [V, 3]."""
        import trimesh

        mesh = trimesh.Trimesh(self.vertices, self.faces, process=False)
        normals: np.ndarray = trimesh.geometry.weighted_vertex_normals(  # type: ignore[no-untyped-call]
            len(self.vertices), self.faces, mesh.face_normals, self._angles()
        )
        return normals

    def _angles(self) -> np.ndarray:
        """Of the faces' corners, radians [F, 3]; 0 in faces that are a line."""
        from trimesh.util import diagonal_dot, unitize

        first, second, third = self.vertices[self.faces].transpose(1, 0, 2)
        along, across, opposite = unitize(second - first), unitize(third - first), unitize(third - second)
        cosines = np.stack([diagonal_dot(along, across), -diagonal_dot(along, opposite)], axis=1)
        # numpy's arccos, which trimesh takes, rounds by the processor, and what cancels is only rounding
        two = torch.from_numpy(cosines.clip(-1, 1)).acos().numpy()
        found = np.column_stack([two, np.pi - two[:, 0] - two[:, 1]])
        found[(found < 1e-8).any(axis=1)] = 0
        return found

    def volume(self) -> float:
        """What it encloses, counted from its middle; negative where faces look inwards."""
        a, b, c = (self.vertices - self.vertices.mean(0))[self.faces].transpose(1, 0, 2)
        return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)

    def write(self, path: Path) -> Path:
        """Write vertices and faces as Wavefront .obj."""
        with path.open("w", encoding="ascii") as file:
            np.savetxt(file, self.vertices, "v %.8f %.8f %.8f")
            np.savetxt(file, self.faces + 1, "f %d %d %d")
        return path


def kept(mesh: Mesh, faces: np.ndarray) -> Mesh:
    """Some faces of a mesh (bool [F]) and the vertices that they use, in their order."""
    chosen = mesh.faces[faces]
    used, which = np.unique(chosen, return_inverse=True)
    return Mesh(mesh.vertices[used], which.reshape(-1, 3))


def component_sizes(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Faces in each part that hangs together by shared edges [K], and the part of each face [F]."""
    import igl

    _, part = igl.facet_components(np.ascontiguousarray(mesh.faces, np.int64))
    return np.bincount(part), part


def largest(mesh: Mesh) -> Mesh:
    """The part with most faces; all such parts where several are equally large."""
    sizes, part = component_sizes(mesh)
    return kept(mesh, (sizes == sizes.max())[part])


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals of the vertices, the area-weighted mean of the faces around each [..., V, 3].

    Args:
        vertices: Metres [..., V, 3].
        faces: Counter-clockwise seen from outside [F, 3].
    """
    expect(vertices, "... V 3", "vertices")
    expect(faces, "F 3", "faces")
    corners = [vertices.index_select(-2, faces[:, corner]) for corner in range(3)]
    areas = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner], areas)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)
