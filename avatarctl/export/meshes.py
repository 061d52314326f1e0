"""Meshes as files: .obj by `Mesh.write`, .ply with the colours of vertices; glTF is in `gltf`."""

from __future__ import annotations

import torch
import trimesh
from torch import Tensor

from avatarctl.geometry.meshes import Mesh


def coloured(mesh: Mesh, colours: Tensor) -> trimesh.Trimesh:
    """A mesh with the colours of its vertices, 0 to 1 [V, 3], which writes itself."""
    painted = (colours.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=painted, process=False)
