"""Which points are inside of meshes, against shapes whose inside is known."""

from __future__ import annotations

import igl
import numpy as np
import torch
import trimesh
from avatarctl_ego_hmr.collision.occupancy import inside

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.geometry.meshes import vertex_normals


def ball(radius: float = 1.0) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=radius)


def test_inside_of_balls_is_told_by_the_radius():
    mesh = ball()
    vertices = torch.from_numpy(mesh.vertices.copy()).float()
    points = Noise.seeded(0, "points").uniform((2, 3000, 3)) * 4 - 2
    found = inside(torch.stack([vertices, 1.5 * vertices]), torch.from_numpy(mesh.faces.copy()), points)
    for row, radius in zip(range(2), (1.0, 1.5), strict=True):
        distance = points[row].norm(dim=-1)
        clear = (distance - radius).abs() > 0.01 * radius
        assert torch.equal(found[row][clear], (distance < radius)[clear])


def test_parts_that_overlap_count_once():
    one, other = ball(), ball()
    other.apply_translation([0.5, 0, 0])
    both = trimesh.util.concatenate([one, other])
    points = torch.tensor([[[0.25, 0, 0], [-0.9, 0, 0], [1.4, 0, 0], [0.25, 1.2, 0]]])
    found = inside(torch.from_numpy(both.vertices.copy())[None], torch.from_numpy(both.faces.copy()), points)
    assert found.tolist() == [[True, True, True, False]]


def test_both_sides_of_a_body_are_told_apart():
    body = open_body("smpl")
    normals = vertex_normals(body.template, body.faces)
    points = torch.stack([body.template - 0.001 * normals, body.template + 0.001 * normals])
    found = inside(body.template.expand(2, -1, -1), body.faces, points)
    assert found[0].float().mean() > 0.98  # some fingers and lips are thinner than that
    assert found[1].float().mean() < 0.02


def test_fast_numbers_agree_with_exact_ones():
    body, noise = open_body("smpl"), Noise.seeded(0, "points")
    points = body.template[noise.permutation(6890)[:200]] + 0.05 * noise.normal((200, 3))
    found = inside(body.template[None], body.faces, points[None])[0]
    exact = igl.winding_number(
        body.template.double().numpy(), body.faces.numpy().astype(np.int64), points.double().numpy()
    )
    assert np.array_equal(found.numpy(), exact > 0.5)
