"""Nearest vertices, and the way back to the canonical body."""

import torch
from avatarctl_video_avatar.model.deform import Deformer, blended, turned, undone
from avatarctl_video_avatar.model.nearest import Nearest, skinning_of

from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle

DRAW = Noise.seeded(0, "deform")
VERTICES, SKINNING = DRAW.normal((300, 3)), torch.softmax(3 * DRAW.normal((300, 24)), -1)
POINTS = DRAW.normal((200, 3))


def bones(dtype=torch.float32):
    made = torch.eye(4, dtype=dtype).repeat(24, 1, 1)
    made[:, :3, :3] = matrix_from_axis_angle(0.4 * Noise.seeded(1, "bones").normal((24, 3), dtype))
    made[:, :3, 3] = 0.2 * Noise.seeded(2, "bones").normal((24, 3), dtype)
    return made


def network(points):
    """Skinning weights that depend on the place."""
    return torch.softmax(points @ torch.linspace(-2, 2, 72).view(3, 24), -1)


def test_tree_and_comparing_find_the_same(monkeypatch):
    nearest = Nearest(VERTICES)
    distances, which = nearest(POINTS, 10)
    nearest.tree = None
    monkeypatch.setattr("avatarctl_video_avatar.model.nearest.TABLE", 300 * 64)  # several portions
    others, those = nearest(POINTS, 10)
    torch.testing.assert_close(distances, others, rtol=1e-6, atol=1e-6)
    assert torch.equal(which, those)
    assert (distances.diff(dim=-1) >= 0).all()


def test_one_neighbour_keeps_its_column():
    distances, which = Nearest(VERTICES)(VERTICES[:5], 1)
    assert which.tolist() == [[0], [1], [2], [3], [4]]
    assert not distances.any()


def test_a_point_on_a_vertex_takes_its_weights():
    found = skinning_of(*Nearest(VERTICES)(VERTICES[:20], 10), SKINNING)
    torch.testing.assert_close(found, SKINNING[:20], rtol=0, atol=1e-5)


def test_neighbours_count_by_the_reciprocal_of_their_distance():
    distances, which = Nearest(VERTICES)(POINTS, 10)
    share = 1 / distances.double()
    share /= share.sum(-1, keepdim=True)
    wanted = torch.einsum("nk,nkj->nj", share, SKINNING.double()[which])
    torch.testing.assert_close(skinning_of(distances, which, SKINNING).double(), wanted, rtol=1e-5, atol=1e-6)


def test_undone_is_the_inverse_of_the_blended_matrix():
    weights = torch.softmax(DRAW.normal((200, 24), torch.float64), -1)
    points = POINTS.double()
    whole = torch.einsum("nj,jab->nab", weights, bones(torch.float64))
    homogeneous = torch.cat([points, torch.ones(len(points), 1, dtype=torch.float64)], -1)
    wanted = torch.linalg.solve(whole, homogeneous[..., None])[:, :3, 0]
    found = undone(points, blended(weights, bones(torch.float64)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_turned_normals_stay_normal_to_moved_surfaces_and_keep_their_length():
    motion = torch.cat([torch.eye(3) + 0.3 * DRAW.normal((50, 3, 3)), DRAW.normal((50, 3, 1))], -1)
    normals, other = DRAW.normal((50, 3)), DRAW.normal((50, 3))
    tangents = torch.linalg.cross(normals, other)
    moved = (motion[..., :3] @ tangents[..., None])[..., 0]
    found = turned(normals, motion)
    assert (found * moved).sum(-1).abs().max() < 1e-4
    torch.testing.assert_close(found.norm(dim=-1), normals.norm(dim=-1))


def test_turned_is_the_rotation_of_a_rigid_motion():
    rotation = matrix_from_axis_angle(DRAW.normal((50, 3)))
    motion = torch.cat([rotation, DRAW.normal((50, 3, 1))], -1)
    normals = DRAW.normal((50, 3))
    torch.testing.assert_close(
        turned(normals, motion), (rotation @ normals[..., None])[..., 0], rtol=1e-5, atol=1e-5
    )


def test_gradients_flow_through_the_last_pass_alone():
    moving, scale = bones().requires_grad_(), torch.ones((), requires_grad=True)
    deformer = Deformer(moving, Nearest(VERTICES), SKINNING, skinning=lambda y: network(scale * y), passes=3)
    whole = torch.autograd.grad(deformer(POINTS).points.square().sum(), (moving, scale))
    with torch.no_grad():
        found = deformer.start(POINTS)
        for _ in range(2):
            found = deformer.step(POINTS, found)
    last = torch.autograd.grad(deformer.step(POINTS, found).points.square().sum(), (moving, scale))
    for one, other in zip(whole, last, strict=True):
        assert torch.equal(one, other)
        assert one.abs().sum() > 0
    assert not deformer.start(POINTS).sampled.requires_grad


def test_non_rigid_motion_is_added_and_leaves_bones_alone():
    shift = torch.full((3,), 0.1, requires_grad=True)
    moving = bones().requires_grad_()
    deformer = Deformer(moving, Nearest(VERTICES), SKINNING, offset=lambda y: shift.expand(len(y), -1))
    found = deformer(POINTS)
    torch.testing.assert_close(found.points, deformer.start(POINTS).points + 0.1)
    assert found.predicted is None
    grads = torch.autograd.grad(found.points.sum(), (shift, moving), allow_unused=True)
    assert grads[0].tolist() == [200.0] * 3
    assert grads[1] is None
