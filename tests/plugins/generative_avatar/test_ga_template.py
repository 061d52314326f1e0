"""The canonical body's volumes: computed, kept, read, looked up."""

import errno
import logging
import os

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar.deform import volumes
from avatarctl_generative_avatar.deform.template import FAR, SHELL, Template
from avatarctl_generative_avatar.evaluate import read_statistics
from torch.nn import functional

from avatarctl.body import open_body
from avatarctl.errors import DataError


@pytest.fixture(scope="module")
def template():
    return Template.of(open_body("smpl"))


def places_around(template, count=4000, room=1.3):
    """Places in the box and a little outside, and some of its nodes."""
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    nodes = template.box.nodes(volumes.DISTANCES).flatten(0, 2)[::5000]
    return torch.cat([template.denormalise(draws * room), nodes])


def looked_up(volume, template, places):
    """`grid_sample` of [1, C, D, H, W] [K, C]."""
    grid = template.normalise(places)[None, None, None]
    found = functional.grid_sample(volume, grid, padding_mode="border", align_corners=True)
    return found[0, :, 0, 0].T


def test_distances_and_gradients_are_those_of_grid_sample_to_the_bit(template):
    places = places_around(template).requires_grad_()
    wanted = looked_up(template.sdf, template, places)[:, 0]
    (slope,) = torch.autograd.grad(wanted.sum(), places)
    value, gradient = template.sdf_gradient_at(places.detach())
    assert torch.equal(value, wanted)
    assert torch.equal(gradient, slope)
    assert (value < -1e6).any()
    assert (value > 0).any()


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_lookups_take_any_leading_shape(template, shape):
    places = places_around(template, 6)[: max(int(np.prod(shape)), 0)].view(*shape, 3)
    wanted = looked_up(template.weights[None], template, places.view(-1, 3)).view(*shape, 24)
    torch.testing.assert_close(template.weights_at(places), wanted)
    value, gradient = template.sdf_gradient_at(places)
    assert value.shape == shape
    assert gradient.shape == (*shape, 3)
    assert torch.equal(template.sdf_at(places), value)


def test_distances_are_exact_on_nodes_and_filled_beyond_the_shell(template):
    import igl

    nodes = template.box.nodes(volumes.DISTANCES)[::5, ::9, ::9].reshape(-1, 3)
    vertices, faces = template.vertices.double().numpy(), template.faces.numpy()
    squares = igl.point_mesh_squared_distance(nodes.double().numpy(), vertices, faces)[0]
    inside = np.abs(igl.winding_number(vertices, faces, nodes.double().numpy())) > 0.5
    wanted = np.sqrt(squares) * np.where(inside, 1, -1)
    found = template.sdf[0, 0, ::5, ::9, ::9].flatten().numpy()
    shell = np.abs(wanted) < SHELL - 1e-5
    assert inside.any()
    np.testing.assert_allclose(found[shell], wanted[shell], atol=1e-5)
    assert (found[np.abs(wanted) > SHELL + 1e-5] == np.float32(FAR)).all()


def test_skinning_averages_ten_vertices_by_inverse_distance(template):
    nodes = template.box.nodes(volumes.SKINNING)
    distances = (nodes[3, 20, 30] - template.vertices).norm(dim=-1)
    nearest = distances.topk(10, largest=False)
    shares = 1 / nearest.values.clamp(3e-5, 0.1)
    wanted = (shares[:, None] * template.body.weights[nearest.indices]).sum(dim=0) / shares.sum()
    torch.testing.assert_close(template.weights[:, 3, 20, 30], wanted, atol=1e-6, rtol=1e-4)


def test_denormalise_inverts_normalise(template):
    places = places_around(template, 50)
    torch.testing.assert_close(template.denormalise(template.normalise(places)), places)


def test_palette_has_the_published_colours(template):
    assert template.palette.shape == (24, 3)
    assert (template.palette == 1).all(dim=1).sum() == 24 - 13
    assert (template.palette[9] * 255).tolist() == pytest.approx([227, 26, 28])


def kept(body=None):
    made = []

    def skinning(body, vertices, nodes):
        made.append(1)
        return torch.arange(8.0).view(1, 2, 2, 2)

    body = body or open_body("smpl")
    found = volumes.kept(skinning, body, body.template, torch.zeros(2, 2, 2, 3))
    assert torch.equal(found, torch.arange(8.0).view(1, 2, 2, 2))
    return len(made)


def test_volumes_are_computed_once_and_again_where_the_file_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert [kept(), kept()] == [1, 0]
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-9])
    assert [kept(), kept()] == [1, 0]


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert kept() == 1
    assert "will be computed again" in caplog.text


def test_a_cache_that_may_not_be_looked_into_is_as_good_as_none(tmp_path, monkeypatch):
    stat = os.stat

    def refused(path, *words, **more):
        if str(path).startswith(str(tmp_path / "avatarctl")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *words, **more)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "stat", refused)
    assert kept() == 1
    assert read_statistics(tmp_path / "avatarctl" / "statistics.npz", "float64") == {}


def written(tmp_path, array):
    path = tmp_path / "sdf_smpl.npy"
    np.save(path, array)
    return path


def good(shape=(1, 1, 4, 5, 6)):
    array = np.full(shape, -1.0)
    array[..., 1:3, 1:3, 1:3] = 0.5
    return array


def test_a_file_of_distances_is_read_as_float32(tmp_path):
    found = volumes.load_sdf(written(tmp_path, good()))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, good())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (good()[0], r"\[1, 4, 5, 6\].*\[1, 1, D, H, W\]"),
        (good().astype(int), "int64.*floats"),
        (-good(), "positive inside"),
        (np.abs(good()), "positive inside"),
        (np.where(good() > 0, np.nan, -1), "not finite"),
        (np.array([good(), None], dtype=object), "not a readable .npy"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, array, words):
    with pytest.raises(DataError, match=words):
        volumes.load_sdf(written(tmp_path, array))


def test_a_template_of_given_distances_fills_what_is_beyond_the_shell(template):
    found = Template.of(template.body, torch.tensor([-0.2, -0.05, 0.05, 0.2]).view(1, 1, 1, 2, 2)).sdf
    assert found.flatten().tolist() == pytest.approx([FAR, -0.05, 0.05, FAR])
