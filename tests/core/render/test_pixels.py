"""Pixels from samples: float64 means as the oracle, shapes whose shares are known, boxes and bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatarctl.geometry.cameras import Camera
from avatarctl.render import Fragments, rasterize
from avatarctl.render.pixels import as_bytes, averaged, box


def _fragments(is_hit):
    face = torch.where(is_hit, 0, -1)
    return Fragments(face, torch.zeros(*face.shape, 3), torch.zeros(face.shape))


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (4, 1), (0, 3)])
@pytest.mark.parametrize("empty", [0.0, 1.0])
def test_pixels_are_means_of_their_samples(samples, size, empty):
    draw = torch.Generator().manual_seed(samples)
    rows, columns = size
    every = torch.rand(rows * samples, columns * samples, 4, generator=draw)
    is_hit = torch.rand(rows * samples, columns * samples, generator=draw) < 0.6
    means, cover = averaged(_fragments(is_hit), every[is_hit], samples, empty=empty)
    every[~is_hit] = empty
    wanted = every.double().view(rows, samples, columns, samples, 4).mean((1, 3))
    share = is_hit.double().view(rows, samples, columns, samples).mean((1, 3))
    torch.testing.assert_close(means.double(), wanted, rtol=0, atol=3e-7)  # nine float32 sums below 9
    torch.testing.assert_close(cover.double(), share, rtol=0, atol=6e-8)  # one float32 quotient


def test_a_rectangle_covers_the_share_of_a_pixel_that_it_lies_on():
    # In pixels: columns 1 to 2.5, rows 0.5 to 2; x doubles as the value.
    vertices = torch.tensor([[1.0, 0.5, 1.0], [2.5, 0.5, 1.0], [2.5, 2.0, 1.0], [1.0, 2.0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    camera = Camera(torch.eye(3), torch.eye(3), torch.zeros(3))
    found = rasterize(vertices, faces, camera.window(0, 0, 2), (6, 8))
    means, cover = averaged(found, found.interpolate(vertices[:, :1], faces), 2)
    assert cover.tolist() == [[0, 0.5, 0.25, 0], [0, 1, 0.5, 0], [0, 0, 0, 0]]
    x = torch.tensor([[0, 1.5, 2.25, 0], [0, 1.5, 2.25, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(means[..., 0], x * cover)


def test_boxes_hold_all_vertices_and_end_with_the_picture():
    places = torch.tensor([[2.4, 5.0], [3.0, 7.2], [2.9, 6.0]])
    assert box(places, (20, 30)) == (2, 5, 3, 8)
    assert box(places, (6, 3)) == (2, 5, 3, 6)
    assert box(places - 3, (20, 30)) == (0, 2, 0, 5)
    assert box(places + 50, (20, 30)) == (30, 20, 30, 20)


def test_bytes_are_the_nearest_and_what_is_beyond_is_cut_off():
    levels = torch.arange(256, dtype=torch.float64)
    near = torch.stack([levels - 0.49, levels, levels + 0.49]).float() / 255
    assert (as_bytes(near) == levels.numpy()).all()
    assert as_bytes(torch.tensor([-0.3, 1.7])).tolist() == [0, 255]


def test_bytes_of_channels_turned_last_lie_in_a_row():
    picture = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = as_bytes(picture.permute(1, 2, 0))
    assert found.dtype == np.uint8
    assert found.shape == (4, 5, 3)
    assert found.flags.c_contiguous
