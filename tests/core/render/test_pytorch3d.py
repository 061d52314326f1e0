"""The pytorch3d backend: the real package where it imports, and its documented interface elsewhere."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import SimpleNamespace

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.errors import DependencyError
from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at
from avatarctl.render import Render, rasterize

HAS_PYTORCH3D = importlib.util.find_spec("pytorch3d") is not None
needs_pytorch3d = pytest.mark.skipif(not HAS_PYTORCH3D, reason="pytorch3d is not installed")
TRIANGLES = torch.tensor(
    [
        [[-1.0, -0.8, 2.0], [1.1, -0.7, 2.6], [0.2, 0.9, 3.1]],
        [[-0.3, -0.6, 1.4], [0.5, 0.3, 2.2], [-0.7, 0.6, 2.4]],
        [[0.0, 0.0, -1.0], [1.0, 0.0, -1.0], [0.0, 1.0, -1.0]],  # behind the camera
        [[0.0, 0.0, 1.0], [0.2, 0.2, 1.0], [0.4, 0.4, 1.0]],  # without area
        [[0.1, -0.9, 1.2], [math.nan, 0.3, 1.2], [0.4, 0.4, 1.2]],
        [[0.2, -0.5, 1.7], [0.9, 0.4, 1.8], [-0.1, 0.5, 1.6]],
    ]
).reshape(-1, 3)
FACES = torch.arange(18).view(-1, 3)
FACES[1] = FACES[1].flip(0)  # the only one that shows its outside


def _camera(size):
    return Camera(
        torch.tensor([[30.0, 0, size[1] / 2 + 1.3], [0, 34, size[0] / 2 - 2.1], [0, 0, 1]]),
        torch.eye(3),
        torch.zeros(3),
    )


def _documented(meshes, image_size, blur_radius, faces_per_pixel, bin_size, **flags):
    """`rasterize_meshes` as documented, by brute force in float64: x left, y up, 2 units the shorter side."""
    assert (blur_radius, faces_per_pixel, bin_size) == (0.0, 1, 0)
    assert flags == {"perspective_correct": True, "clip_barycentric_coords": False, "cull_backfaces": False}
    height, width = image_size
    y, x = (
        (count - 1 - 2 * torch.arange(count, dtype=torch.float64)) / min(image_size) for count in image_size
    )
    a, b, c = meshes.verts[0].double()[meshes.faces[0]].unbind(1)  # each [F, 3]
    p = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1).view(-1, 1, 2)

    def area(u, v, w):
        return (v[..., 0] - u[..., 0]) * (w[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (
            w[..., 0] - u[..., 0]
        )

    flat = torch.stack([area(p, b, c), area(p, c, a), area(p, a, b)], -1) / area(a, b, c)[:, None]
    z = torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)
    weights = flat / z
    weights = weights / weights.sum(-1, keepdim=True)
    depth = torch.where((flat > 0).all(-1), (weights * z).sum(-1), math.inf)
    near, face = depth.min(1)
    hit = near < math.inf
    picked = torch.where(hit[:, None], weights[torch.arange(len(face)), face], -1.0)
    shape = (1, height, width, 1)
    return (
        torch.where(hit, face, -1).view(shape),
        torch.where(hit, near, -1.0).float().view(shape),
        picked.float().view(*shape, 3),
        torch.zeros(shape),
    )


@pytest.fixture
def documented(monkeypatch):
    """A stand-in for the package with the two names of its documentation that are used."""
    renderer = SimpleNamespace(rasterize_meshes=_documented)
    structures = SimpleNamespace(Meshes=lambda verts, faces: SimpleNamespace(verts=verts, faces=faces))
    package = SimpleNamespace(renderer=renderer, structures=structures)
    for name, module in {"": package, ".renderer": renderer, ".structures": structures}.items():
        monkeypatch.setitem(sys.modules, f"pytorch3d{name}", module)


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("size", [(40, 40), (33, 52), (61, 27)])
def test_the_documented_interface_gives_the_fragments_of_the_software(documented, size, is_closed):
    pair = [
        rasterize(TRIANGLES, FACES, _camera(size), size, backend, is_closed=is_closed, is_strict=True)
        for backend in ("torch", "pytorch3d")
    ]
    same = pair[0].face == pair[1].face
    assert same.float().mean() > 0.998
    seen = same & (pair[0].face >= 0)
    assert set(pair[0].face[seen].tolist()) == ({1} if is_closed else {0, 1, 5})
    torch.testing.assert_close(pair[0].depth[same], pair[1].depth[same], rtol=0, atol=1e-5)
    torch.testing.assert_close(pair[0].barycentric[same], pair[1].barycentric[same], rtol=0, atol=1e-4)


def test_nothing_ahead_leaves_the_picture_empty(documented):
    found = rasterize(TRIANGLES, FACES[2:4], _camera((9, 9)), (9, 9), "pytorch3d")
    assert (found.face == -1).all()
    assert found.depth.isinf().all()
    assert (found.barycentric == 0).all()


@needs_pytorch3d
def test_pytorch3d_sees_what_the_software_sees():
    body, size = open_body(), (240, 180)
    eye = torch.tensor([0.7, 0.1, 2.4])
    camera = Camera(
        intrinsics_from_view(0.9, size), *look_at(eye, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    )
    pair = [
        rasterize(body.template, body.faces, camera, size, backend, is_strict=True)
        for backend in ("torch", "pytorch3d")
    ]
    same = pair[0].face == pair[1].face
    assert same.float().mean() > 0.998
    torch.testing.assert_close(pair[0].depth[same], pair[1].depth[same], rtol=0, atol=1e-4)


@pytest.mark.skipif(HAS_PYTORCH3D, reason="pytorch3d is installed")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: rasterize(TRIANGLES, FACES, _camera((9, 9)), (9, 9), "pytorch3d"),
        lambda: Render().using("pytorch3d"),
    ],
)
def test_where_it_is_missing_the_failure_names_what_stands_in(ask):
    with pytest.raises(DependencyError, match="'pytorch3d' is not installed") as caught:
        ask()
    assert "--renderer auto" in caught.value.hint
