"""Surfaces: the body's own where the decoder adds nothing, the octree against the dense grid, pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh
from avatarctl_generative_avatar import label, mesh
from avatarctl_generative_avatar.deform import volumes
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.generator import Generator, build
from avatarctl_generative_avatar.model.sizes import GeneratorSizes
from scipy.spatial import cKDTree

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl.geometry import isosurface
from avatarctl.geometry.meshes import Mesh

SIZES = GeneratorSizes(img_resolution=32, plane_resolution=16, z_dim=8, w_dim=8, channel_max=8, sr_channels=8)
N = 48
COLOUR = (0.2, 0.5, 0.9)


@pytest.fixture(scope="module")
def template():
    """Of the open body, its signed distances on a grid half as fine as usual."""
    body = open_body("smpl")
    bare = Template.of(body, torch.zeros(1, 1, 2, 2, 2))
    return Template.of(body, volumes.distances(body, bare.vertices, bare.box.nodes((16, 64, 64))))


def generator(value: float = 0.0, wild: float = 0.0) -> Generator:
    """One whose decoder adds the same value everywhere, or wild ones, and paints everything `COLOUR`."""
    made = build(SIZES, Noise.seeded(0, "generator")).eval().requires_grad_(False)
    last = made.decoder.net[2]
    last.weight[0] *= wild
    last.weight[1:] = 0
    last.bias[0] = value
    colour = (torch.tensor(COLOUR) + 0.001) / 1.002
    last.bias[1:4] = torch.log(colour / (1 - colour))
    return made


def planes(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(1, 3, 32, 16, 16, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def labels():
    poses = 0.25 * torch.randn(1, 24, 3, generator=torch.Generator().manual_seed(1))
    poses[:, 0] = torch.tensor([math.pi, 0.0, 0.0])
    return label.made(poses, transl=torch.tensor([[0.1, 0.2, 0.0]]))


def to_surface(points: np.ndarray, vertices: torch.Tensor, faces: torch.Tensor) -> np.ndarray:
    """Distances of points to a mesh."""
    import igl

    squared, *_ = igl.point_mesh_squared_distance(
        points, vertices.double().numpy(), np.ascontiguousarray(faces.numpy(), np.int64)
    )
    return np.sqrt(squared)


@pytest.mark.parametrize("canonical", [True, False])
def test_a_decoder_that_adds_nothing_leaves_the_body(canonical, template, labels):
    found = mesh.extract(generator(), planes(), template, labels, N, canonical=canonical)
    body = template.vertices if canonical else Posing(template, labels).vertices[0]
    assert np.median(to_surface(found.vertices, body, template.faces)) < 0.006
    assert found.mesh.volume() > 0
    assert trimesh.Trimesh(found.vertices, found.faces, process=False).is_watertight
    torch.testing.assert_close(found.colours, torch.tensor(COLOUR).expand_as(found.colours))
    nearest = cKDTree(body.numpy()).query(found.vertices)[1]
    assert (found.weights - template.body.weights[nearest]).abs().mean() < 0.01
    assert (found.weights.sum(dim=1) - 1).abs().max() < 1e-3


def test_a_decoder_that_adds_a_distance_moves_the_surface_out(template, labels):
    thin = mesh.extract(generator(), planes(), template, labels, N, canonical=True)
    thick = mesh.extract(generator(0.02), planes(), template, labels, N, canonical=True)
    distances = to_surface(thick.vertices, template.vertices, template.faces)
    assert abs(np.median(distances) - 0.02) < 0.004
    assert thick.mesh.volume() > thin.mesh.volume()


@pytest.mark.parametrize("canonical", [True, False])
def test_samples_near_the_surface_give_the_mesh_of_all_samples(canonical, template, labels, monkeypatch):
    given = (generator(0.01, wild=0.3), planes(), template, labels, 32)
    found = mesh.extract(*given, canonical=canonical)
    monkeypatch.setattr(isosurface, "extract", isosurface.extract_dense)
    dense = mesh.extract(*given, canonical=canonical)
    np.testing.assert_array_equal(found.faces, dense.faces)
    np.testing.assert_allclose(found.vertices, dense.vertices, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.colours, dense.colours, rtol=0, atol=1e-6)


def test_chunks_change_nothing(template, labels):
    given = (generator(), planes(), template, labels, 24)
    for published in (False, True):
        whole, parts = (mesh.extract(*given, published=published, chunk=size) for size in (1 << 20, 1000))
        np.testing.assert_allclose(whole.vertices, parts.vertices, rtol=0, atol=1e-6)


def test_the_published_mesh_is_a_mirror_image_that_drifts_by_a_step_or_two(template, labels):
    ours = mesh.extract(generator(), planes(), template, labels, N)
    theirs = mesh.extract(generator(), planes(), template, labels, N, published=True)
    middle, side = mesh.box(Posing(template, labels).vertices[0])
    mirrored = ours.vertices * [-1, 1, 1] + [2 * float(middle[0]), 0, 0]
    step = mesh.ROOM * side / N
    assert np.quantile(cKDTree(mirrored).query(theirs.vertices)[0], 0.9) < 2.5 * step  # a hand may be lost
    assert theirs.mesh.volume() > 0


def test_published_colours_are_those_of_joints_in_bytes(template, labels):
    found = mesh.extract(generator(), planes(), template, labels, N, canonical=True, published=True)
    torch.testing.assert_close(found.weights, template.weights_at(torch.from_numpy(found.vertices).float()))
    head = found.weights[:, 15] > 0.9999
    assert head.any()
    wanted = torch.tensor([227, 26, 28]) * 0.999
    torch.testing.assert_close(found.colours[head] * 255, wanted.trunc().expand(int(head.sum()), 3))


def test_a_person_who_is_nowhere_is_said(template, labels):
    with pytest.raises(CheckpointError, match="no surface near the body") as caught:
        mesh.extract(generator(-1.0), planes(), template, labels, 24)
    assert "training" in caught.value.hint
    with pytest.raises(CheckpointError, match="no surface near the body"):
        mesh.extract(generator(-1.0), planes(), template, labels, 24, published=True)


def ball(middle: tuple[float, float, float], radius: float) -> Mesh:
    made = trimesh.creation.icosphere(4, radius)
    return Mesh(made.vertices + middle, np.asarray(made.faces))


def test_pictures_look_along_z_with_x_to_the_right_and_y_down():
    picture = mesh.mesh_picture(ball((0.5, -0.25, 0.1), 0.2), 100)
    assert picture.shape == (100, 100, 3)
    rows, columns = np.nonzero(picture[..., 0] < 255)
    assert abs(rows.mean() - 37.0) < 0.6
    assert abs(columns.mean() - 74.5) < 0.6
    assert np.ptp(columns) + 1 == pytest.approx(20, abs=1)
    down, right = np.mgrid[:100, :100]
    across = np.hypot(right + 0.5 - 75, down + 0.5 - 37.5) / 10
    inside = across < 0.8
    np.testing.assert_allclose(
        picture[..., 0][inside], 255 * np.sqrt(1 - across[inside] ** 2), rtol=0, atol=4
    )


def test_pictures_show_what_is_in_front():
    near, far = ball((0, 0, -0.5), 0.1), ball((0, 0, 0.5), 0.4)
    both = Mesh(
        np.concatenate([far.vertices, near.vertices]),
        np.concatenate([far.faces, near.faces + len(far.vertices)]),
    )
    alone, together = mesh.mesh_picture(near, 64), mesh.mesh_picture(both, 64)
    np.testing.assert_array_equal(together[30:34, 30:34], alone[30:34, 30:34])
    assert (together < 255).sum() > (alone < 255).sum()
