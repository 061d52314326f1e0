"""Marching cubes against libigl and against what a surface must be."""

from __future__ import annotations

import igl
import numpy as np
import pytest
import trimesh

from avatarctl.geometry import marching
from avatarctl.geometry.meshes import Mesh


def closed_noise(seed: int, n: int = 12) -> np.ndarray:
    """Noise in a shell of ones [n, n, n]: every case occurs."""
    volume = np.ones((n, n, n))
    volume[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).normal(size=(n - 2,) * 3)
    return volume


def sorted_triangles(mesh: Mesh) -> np.ndarray:
    """Places of the corners, each triangle beginning with its smallest, in order [F, 9]."""
    corners = np.round(mesh.vertices, 9)[mesh.faces]
    first = np.lexsort(corners.transpose(2, 0, 1)[::-1], axis=1)[:, 0]
    rolled = corners[np.arange(len(corners))[:, None], (first[:, None] + np.arange(3)) % 3].reshape(-1, 9)
    return rolled[np.lexsort(rolled.T[::-1])]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_surface_of_noise_is_closed_and_wound_alike(seed):
    mesh = marching.dense(closed_noise(seed), 0.1)
    shell = trimesh.Trimesh(*mesh, process=False)
    assert shell.is_watertight
    assert shell.is_winding_consistent


def test_triangles_are_those_of_libigl():
    volume = closed_noise(2)
    places = np.stack(np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij"), axis=-1)
    # libigl counts x fastest, and takes for inside what is above the level
    flat, points = -volume.transpose(2, 1, 0).ravel(), places.transpose(2, 1, 0, 3).reshape(-1, 3)
    theirs = Mesh(*igl.marching_cubes(flat, points, 12, 12, 12, 0.0)[:2])
    np.testing.assert_allclose(sorted_triangles(marching.dense(volume)), sorted_triangles(theirs), atol=1e-8)


def test_a_vertex_stands_where_the_values_between_two_samples_reach_the_level():
    volume = np.full((2, 2, 2), 3.0)
    volume[0, 0, 0] = -1.0
    mesh = marching.dense(volume, 1.0)
    np.testing.assert_allclose(mesh.vertices, np.eye(3) / 2)  # along x, then y, then z
    assert len(mesh.faces) == 1


def test_faces_look_inwards_as_published():
    axis = np.linspace(-1, 1, 9)
    ball = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis), axis=-1), axis=-1) - 0.7
    mesh = marching.dense(ball)
    assert mesh.volume() < 0 < mesh.turned().volume()


def test_no_cells_give_no_triangles():
    mesh = marching.dense(np.ones((3, 3, 3)))
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
