"""Planes around the body: their window attention and the look-up of points."""

import pytest
import torch
from avatarctl_video_avatar.model import windows
from avatarctl_video_avatar.model.delta import DeltaSdf
from avatarctl_video_avatar.model.planes import Texels, corners, modulation
from avatarctl_video_avatar.model.windows import WINDOWS, WindowAttention, filtered, position_index

from avatarctl.device import Noise
from avatarctl.radiance import texels
from avatarctl.radiance.texels import mixed

SIZE, CHANNELS = 32, 8


def attentions(dtype=torch.float64):
    made = []
    for number, window in enumerate(WINDOWS.values()):
        one, noise = WindowAttention(CHANNELS, window).to(dtype), Noise.seeded(number, "attention")
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.copy_(0.5 * noise.normal(parameter.shape))
        made.append(one)
    return made


def plain_attention(image, one):
    """Window attention of one image [R, R, C], window by window and head by head."""
    window, size = one.window, CHANNELS // 2
    (table, qkv, proj), out = (one.relative_position_bias_table, one.qkv, one.proj), torch.zeros_like(image)
    for top in range(0, SIZE, window):
        for left in range(0, SIZE, window):
            part = image[top : top + window, left : left + window].reshape(-1, CHANNELS)
            given = part @ qkv.weight.T + qkv.bias
            heads = []
            for head in range(2):
                q, k, v = (given[:, at + head * size :][:, :size] for at in range(0, 3 * CHANNELS, CHANNELS))
                bias = table[one.relative_position_index, head]
                heads.append((q @ k.T / size**0.5 + bias).softmax(1) @ v)
            result = torch.cat(heads, 1) @ proj.weight.T + proj.bias
            out = out.clone()
            out[top : top + window, left : left + window] = result.view(window, window, CHANNELS)
    return out


@pytest.mark.parametrize("scores", [1, 1 << 19])
def test_filtered_planes_are_plain_window_attention_beside_the_planes(monkeypatch, scores):
    monkeypatch.setattr(windows, "SCORES", scores)  # strip by strip, and all at once
    made = attentions()
    given = Noise.seeded(9, "planes").normal((1, CHANNELS, SIZE, SIZE), torch.float64).requires_grad_()
    weight = Noise.seeded(10, "planes").normal((SIZE * SIZE, 4 * CHANNELS), torch.float64)
    images = given.permute(0, 2, 3, 1)
    copies = [torch.stack([plain_attention(image, one) for image in images]) for one in made] + [images]
    wanted = torch.stack([copy.unflatten(-1, (-1, 4)) for copy in copies], -2).reshape(SIZE * SIZE, -1)
    found = filtered(given, made)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)  # both in float64
    inputs = [given, *(parameter for one in made for parameter in one.parameters())]
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_pairs_of_texels_are_told_apart_by_their_distance():
    index = position_index(4)
    for query, key in ((0, 0), (5, 2), (2, 5), (15, 0)):
        down, right = query // 4 - key // 4, query % 4 - key % 4
        assert index[query, key] == (down + 3) * 7 + right + 3


def look_up(points, table, scale=2 / 3):
    index, weights = corners(points * scale, SIZE)
    return mixed(table, index.view(-1, 4), weights.view(-1, 4))


def plain_look_up(points, table):
    """The same by gathers and sums that autograd knows."""
    index, weights = corners(points * (2 / 3), SIZE)
    return (table[index.view(-1, 4)] * weights.view(-1, 4, 1)).sum(1)


def points_and_table(count=40, spread=1.2):
    points = spread * Noise.seeded(3, "points").normal((count, 3), torch.float64)
    table = Noise.seeded(4, "table").normal((3 * SIZE * SIZE, CHANNELS), torch.float64)
    return points.requires_grad_(), table.requires_grad_()


def test_look_up_is_zero_padded_bilinear_sampling_with_aligned_corners():
    points, table = points_and_table()
    assert (points.abs() > 1.5).any(), "some points are outside"
    images = table.view(3, SIZE, SIZE, CHANNELS).permute(0, 3, 1, 2)
    places = points * (2 / 3)
    grid = torch.stack([places, places.roll(-1, dims=1)], dim=-1).transpose(0, 1)[:, None]
    theirs = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=True)
    wanted, found = theirs[:, :, 0].permute(2, 0, 1).flatten(0, 1), look_up(points, table)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    weight = Noise.seeded(5, "weight").normal(found.shape, torch.float64)
    for ours, other in zip(
        torch.autograd.grad((found * weight).sum(), (points, table)),
        torch.autograd.grad((wanted * weight).sum(), (points, table)),
        strict=True,
    ):
        torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_gradients_of_gradients_are_those_of_plain_gathers(monkeypatch, count):
    monkeypatch.setattr(texels, "ROWS", 7)
    points, table = points_and_table(count)
    found = []
    for read in (look_up, plain_look_up):
        values = read(points, table).sin()  # so that the second derivative in the points is not 0
        (slopes,) = torch.autograd.grad(values.sum(), points, create_graph=True)
        loss = (slopes**2).sum() + (values**3).sum()
        found.append((slopes, *torch.autograd.grad(loss, (points, table))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_gradient_in_the_points_does_not_pay_for_one_of_the_planes(monkeypatch):
    spread = []
    monkeypatch.setattr(texels, "_spread", lambda *given: spread.append(given))
    points, table = points_and_table()
    torch.autograd.grad(look_up(points, table).sum(), points, create_graph=True)
    assert not spread


def test_points_that_are_far_or_not_finite_read_nothing_of_the_planes():
    far = torch.tensor([[1e30, 0.0, 0.0], [0.0, -1e30, 9.0], [float("nan")] * 3, [float("inf")] * 3])
    index, weights = corners(far, SIZE)
    assert index.min() >= 0
    assert index.max() < 3 * SIZE * SIZE
    assert not weights[:2, 0].any()


def test_each_plane_is_modulated_by_the_axis_that_it_drops():
    place = torch.tensor([[0.3, -0.7, 1.1]])
    found = modulation(place)[0]
    for plane, axis in enumerate((2, 0, 1)):
        for copy in range(4):
            low, high = (2.0 ** (2 * copy + step) * place[0, axis] for step in (0, 1))
            wanted = torch.stack([low.sin(), low.cos(), high.sin(), high.cos()])
            torch.testing.assert_close(found[plane, 4 * copy : 4 * copy + 4], wanted)


def test_features_are_modulated_texels():
    points, table = points_and_table(5)
    table = table.detach().repeat(1, 4)
    found = Texels(table, SIZE, 2 / 3)(points)
    read = look_up(points, table).view(5, 3, -1, 16)
    torch.testing.assert_close(found, (read * modulation(points)[:, :, None]).flatten(2))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((24, 8, 3), "img_resolution is 24"), ((16, 6, 3), "img_channels is 6"), ((16, 8, 0), "box_warp 0")],
)
def test_sizes_that_no_planes_have_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        DeltaSdf(*sizes, 16, 4)
