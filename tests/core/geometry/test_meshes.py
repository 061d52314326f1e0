"""Normals of meshes."""

from __future__ import annotations

import pytest
import torch

from avatarctl.geometry.meshes import vertex_normals


def _octahedron():
    corners = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    top = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    return corners, torch.tensor(top + [[b, a, 5] for a, b, _ in top])


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (0,)])
def test_normals_of_an_octahedron_point_along_its_corners(leading):
    corners, faces = _octahedron()
    normals = vertex_normals(corners.expand(*leading, 6, 3), faces)
    torch.testing.assert_close(normals, corners.expand(*leading, 6, 3))


def test_a_vertex_without_faces_has_no_normal():
    corners, faces = _octahedron()
    normals = vertex_normals(torch.cat([corners, torch.ones(1, 3)]), faces)
    assert normals[-1].tolist() == [0, 0, 0]
