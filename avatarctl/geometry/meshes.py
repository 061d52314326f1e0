"""Triangle meshes."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.geometry.shapes import expect


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
