"""Fragments: ray casting in float64 as the oracle, the hard cases, and one backend against the other."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.errors import DependencyError, SettingsError
from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at
from avatarctl.render import rasterize, software
from avatarctl.render.rasterize import recomputed

needs_numba = pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="numba is not installed")
BACKENDS = ["torch", pytest.param("numba", marks=needs_numba)]
UP = torch.tensor([0.0, 1.0, 0.0])


def _front(size=(16, 16), focal=16.0, centre=None):
    """A camera at the origin that looks along +z."""
    x, y = centre or (size[1] / 2, size[0] / 2)
    return Camera(torch.tensor([[focal, 0, x], [0, focal, y], [0, 0, 1]]), torch.eye(3), torch.zeros(3))


def _cast(vertices, faces, camera, size):
    """Nearest face [H, W] and its depth by intersecting every ray with every triangle, float64."""
    camera = Camera(camera.intrinsics.double(), camera.rotation.double(), camera.translation.double())
    rays = camera.rays(size).reshape(-1, 1, 3)
    a, b, c = (vertices.double()[faces[:, corner]] for corner in range(3))
    p = torch.linalg.cross(rays, (c - a).expand(len(rays), -1, 3))
    det = (p * (b - a)).sum(-1)
    s = camera.centre - a
    u = (s * p).sum(-1) / det
    q = torch.linalg.cross(s, b - a)
    v = (rays * q).sum(-1) / det
    depth = (q * (c - a)).sum(-1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (depth > 0)
    depth = torch.where(hit, depth, math.inf)
    nearest, face = depth.min(1)
    return torch.where(nearest < math.inf, face, -1).view(size), nearest.view(size)


def _random_scene(seed):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.rand(60, 1, 3, generator=draw) * 2 - 1
    vertices = (centres + 0.8 * torch.rand(60, 3, 3, generator=draw) - 0.4).reshape(-1, 3)
    size = (40 + seed, 65 - 2 * seed)
    intrinsics = torch.tensor([[60.0 + seed, 0, 20 + seed], [0, 55, 30 - seed], [0, 0, 1]])
    eye = torch.tensor([0.3 * seed - 1, 0.5, 3.0])
    return (
        vertices,
        torch.arange(180).view(-1, 3),
        Camera(intrinsics, *look_at(eye, torch.zeros(3), UP)),
        size,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(10))
def test_fragments_equal_ray_casting(seed, backend):
    vertices, faces, camera, size = _random_scene(seed)
    found = rasterize(vertices, faces, camera, size, backend)
    face, depth = _cast(vertices, faces, camera, size)
    same = found.face == face
    assert same.float().mean() > 0.999  # float32 against float64: a pixel centre on an edge may go either way
    seen = same & (face >= 0)
    assert seen.sum() > 200
    torch.testing.assert_close(found.depth[seen].double(), depth[seen], rtol=0, atol=1e-5)
    places = (vertices[faces[face[seen]]] * found.barycentric[seen].unsqueeze(-1)).sum(1)
    rays = camera.centre + camera.rays(size)[seen] * depth[seen].float().unsqueeze(-1)
    torch.testing.assert_close(places, rays, rtol=0, atol=1e-4)  # 1 m across, seen from 3 m


@needs_numba
@pytest.mark.parametrize("is_closed", [False, True])
def test_the_backends_agree_on_the_body(is_closed):
    body = open_body()
    for angle, size in ((0.3, (200, 160)), (2.0, (333, 512))):
        eye = torch.tensor([2.5 * math.sin(angle), 0.0, 2.5 * math.cos(angle)])
        camera = Camera(intrinsics_from_view(0.9, size), *look_at(eye, torch.tensor([0.0, -0.3, 0]), UP))
        pair = [
            rasterize(body.template, body.faces, camera, size, b, is_closed=is_closed)
            for b in ("torch", "numba")
        ]
        assert (pair[0].face >= 0).sum() > 2000
        for part in ("face", "barycentric", "depth"):
            torch.testing.assert_close(getattr(pair[0], part), getattr(pair[1], part), rtol=0, atol=0)


def test_backs_of_a_closed_body_are_never_seen():
    body, size = open_body(), (150, 120)
    camera = Camera(intrinsics_from_view(0.9, size), *look_at(torch.tensor([1.0, 0.2, 2.3]), -0.3 * UP, UP))
    both = [rasterize(body.template, body.faces, camera, size, "torch", is_closed=c) for c in (True, False)]
    assert (both[0].face != both[1].face).float().mean() < 1e-3  # where the surface runs through itself


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_seen_of_a_mesh_behind_the_camera(backend):
    found = rasterize(
        torch.tensor([[-1.0, -1, -2], [1, -1, -2], [0, 1, -2]]),
        torch.tensor([[0, 1, 2]]),
        _front(),
        (16, 16),
        backend,
    )
    assert (found.face == -1).all()
    assert found.depth.isinf().all()
    assert (found.barycentric == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("corner", [[0.0, 1, -0.5], [0.0, 1, 0.0], [0.0, 1, math.nan], [math.inf, 1, 2]])
def test_a_face_with_a_corner_that_cannot_be_projected_is_left_out(backend, corner):
    vertices = torch.tensor([[-1.0, -1, 2], [1, -1, 2], corner, [0.0, 1, 3]])
    found = rasterize(vertices, torch.tensor([[0, 1, 2], [0, 1, 3]]), _front(), (16, 16), backend)
    assert set(found.face.unique().tolist()) == {-1, 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_beside_the_picture_leave_it_empty(backend):
    triangle = torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]])
    vertices = torch.cat(
        [triangle + torch.tensor(step) for step in ([9.0, 0, 0], [-9, 0, 0], [0, 9, 0], [0, -9.0, 0])]
    )
    found = rasterize(vertices, torch.arange(12).view(-1, 3), _front(), (16, 16), backend)
    assert (found.face == -1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_face_larger_than_the_picture_fills_it(backend):
    vertices = torch.tensor([[-900.0, -900, 1], [900, -900, 1], [0, 1900, 1]])
    found = rasterize(vertices, torch.tensor([[0, 1, 2]]), _front((9, 31)), (9, 31), backend)
    assert (found.face == 0).all()
    torch.testing.assert_close(found.depth, torch.ones(9, 31))


@pytest.mark.parametrize("backend", BACKENDS)
def test_principal_point_and_size_place_a_square(backend):
    square = torch.tensor([[0.0, 0, 1], [4, 0, 1], [4, 3, 1], [0, 3, 1]])
    camera = _front((12, 30), 1.0, (20.0, 5.0))
    found = rasterize(square, torch.tensor([[0, 1, 2], [0, 2, 3]]), camera, (12, 30), backend)
    expected = torch.zeros(12, 30, dtype=torch.bool)
    expected[5:8, 20:24] = True
    assert torch.equal(found.face >= 0, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_degenerate_faces_are_not_seen(backend):
    vertices = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0.5, 0, 1], [0, 1, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 0, 3], [1, 1, 1], [0, 1, 3]])
    found = rasterize(vertices, faces, _front(), (16, 16), backend)
    assert set(found.face.unique().tolist()) == {-1, 3}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vertex_on_a_pixel_centre_is_seen_once_by_the_smallest_face(backend):
    ring = [[math.cos(angle), math.sin(angle), 1.0] for angle in torch.arange(6) * math.pi / 3]
    camera = _front((9, 9), 3.0)  # the middle of the fan projects to (4.5, 4.5)
    fan = torch.tensor([[0, 1 + i, 1 + (i + 1) % 6] for i in range(6)])
    found = rasterize(torch.tensor([[0.0, 0, 1], *ring]), fan.flip(0), camera, (9, 9), backend)
    assert found.face[4, 4] == 0
    torch.testing.assert_close(found.barycentric[4, 4].sort().values, torch.tensor([0.0, 0, 1]))
    assert (found.face[3:6, 3:6] >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_strictly_a_pixel_centre_on_an_edge_sees_neither_face(backend):
    square = torch.tensor([[0.0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])  # their common edge runs through pixel centres
    camera = _front((4, 4), 1.0, (0.0, 0.0))
    plain = rasterize(square, faces, camera, (4, 4), backend)
    strict = rasterize(square, faces, camera, (4, 4), backend, is_strict=True)
    assert (plain.face >= 0).all()
    assert torch.equal(strict.face >= 0, ~torch.eye(4, dtype=torch.bool))
    assert torch.equal(strict.face[strict.face >= 0], plain.face[strict.face >= 0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_coincident_faces_the_smaller_index_is_seen(backend):
    draw = torch.Generator().manual_seed(4)
    corners = torch.tensor([[-0.9, -0.8, 1.1], [1.0, -0.7, 1.7], [0.1, 0.9, 2.3]]) + 0.1 * torch.rand(
        3, 3, generator=draw
    )
    vertices = torch.cat([corners, corners, corners[[2, 0, 1]]])
    faces = torch.tensor([[0, 1, 2], [4, 3, 5], [6, 7, 8], [1, 2, 0]])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        found = rasterize(vertices, faces[order], _front((64, 64), 64), (64, 64), backend)
        assert set(found.face.unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_pixel_falls_between_the_faces_of_a_grid(backend):
    draw = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    inner = (x > 0) & (x < 20) & (y > 0) & (y < 20)
    jitter = 0.4 * (torch.rand(21, 21, 2, generator=draw) - 0.5) * inner.unsqueeze(-1)
    plane = torch.cat([torch.stack([x, y], -1) * 4.8 + 3 * jitter, torch.ones(21, 21, 1)], -1).reshape(-1, 3)
    corner = (torch.arange(20)[:, None] * 21 + torch.arange(20)).flatten()
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + 22], 1),
            torch.stack([corner, corner + 22, corner + 21], 1),
        ]
    )
    found = rasterize(plane, faces, _front((96, 96), 1.0, (0.0, 0.0)), (96, 96), backend)
    assert (found.face >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("leading", [(0,), (2,), (2, 3), (2, 0)])
def test_leading_dimensions_are_kept(backend, leading):
    vertices, faces, camera, size = _random_scene(3)
    shifts = 0.05 * torch.arange(math.prod(leading), dtype=torch.float32).view(*leading, 1, 1)
    found = rasterize(vertices + shifts, faces, camera, size, backend)
    assert found.face.shape == (*leading, *size)
    assert found.barycentric.shape == (*leading, *size, 3)
    for index, shift in enumerate(shifts.flatten()):
        one = rasterize(vertices + shift, faces, camera, size, backend)
        assert torch.equal(found.face.view(-1, *size)[index], one.face)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_mesh_may_have_its_own_camera(backend):
    vertices, faces, _, size = _random_scene(3)
    eyes = torch.tensor([[0.0, 0.5, 3], [2.0, 1, 2]])
    intrinsics = intrinsics_from_view(0.8, size)
    both = rasterize(
        vertices.expand(2, -1, 3),
        faces,
        Camera(intrinsics, *look_at(eyes, torch.zeros(3), UP)),
        size,
        backend,
    )
    for index, eye in enumerate(eyes):
        one = rasterize(vertices, faces, Camera(intrinsics, *look_at(eye, torch.zeros(3), UP)), size, backend)
        assert torch.equal(both.face[index], one.face)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mesh_without_faces_is_not_seen(backend):
    found = rasterize(torch.rand(4, 3), torch.zeros(0, 3, dtype=torch.int64), _front(), (16, 16), backend)
    assert (found.face == -1).all()


def test_blocks_of_any_size_give_the_same_fragments():
    vertices, faces, camera, size = _random_scene(5)
    pixels, depth = camera.project(vertices)
    whole = software.zbuffer(pixels, depth, faces, size, 0.01)
    for block in (1, 7, 1000):
        for part, other in zip(
            whole, software.zbuffer(pixels, depth, faces, size, 0.01, block=block), strict=True
        ):
            assert torch.equal(part, other)


def test_recomputed_fragments_equal_the_rasterised_ones():
    vertices, faces, camera, size = _random_scene(2)
    found = rasterize(vertices, faces, camera, size, "torch")
    again = recomputed(found, vertices, faces, camera)
    torch.testing.assert_close(again.barycentric, found.barycentric, rtol=0, atol=1e-4)
    torch.testing.assert_close(again.depth, found.depth, rtol=0, atol=1e-5)


def test_recomputed_barycentrics_have_the_gradient_of_finite_differences():
    vertices, faces, camera, size = _random_scene(1)
    camera = Camera(camera.intrinsics.double(), camera.rotation.double(), camera.translation.double())
    vertices = vertices.double()[:45]
    faces = faces[:15]
    found = rasterize(vertices, faces, camera, size, "torch")
    seen = found.face >= 0

    def fragments(vertices, translation):
        moved = recomputed(found, vertices, faces, Camera(camera.intrinsics, camera.rotation, translation))
        return moved.barycentric[seen][::7], moved.depth[seen][::7]

    inputs = vertices.clone().requires_grad_(), camera.translation.clone().requires_grad_()
    assert torch.autograd.gradcheck(fragments, inputs)


def test_a_face_that_names_no_vertex_is_refused():
    with pytest.raises(ValueError, match="faces name vertices 0 to 3; there are 3"):
        rasterize(torch.rand(3, 3), torch.tensor([[0, 1, 3]]), _front(), (16, 16))


def test_an_unknown_backend_is_refused():
    with pytest.raises(SettingsError, match="'opengl'; expected one of auto, torch, numba, pytorch3d"):
        rasterize(torch.rand(3, 3), torch.tensor([[0, 1, 2]]), _front(), (16, 16), "opengl")


def test_numba_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(DependencyError) as caught:
        rasterize(torch.rand(3, 3), torch.tensor([[0, 1, 2]]), _front(), (16, 16), "numba")
    assert 'pip install "avatarctl[fast]"' in caught.value.hint
