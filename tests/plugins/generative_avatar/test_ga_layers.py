"""The layers against plain twins: zero insertion, filters sample by sample, finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from avatarctl_generative_avatar.model import layers
from torch import Tensor

from avatarctl.device import Noise

EXACT = {"rtol": 0, "atol": 1e-5}  # float32 sums of some ten numbers of size 1


@pytest.fixture
def noise() -> Noise:
    return Noise.seeded(0, "layers")


def spread(x: Tensor) -> Tensor:
    """A zero after each pixel."""
    count, channels, height, width = x.shape
    made = x.new_zeros(count, channels, height, 2, width, 2)
    made[:, :, :, 0, :, 0] = x
    return made.view(count, channels, 2 * height, 2 * width)


def filtered(x: Tensor, f: Tensor, before: int, after: int) -> Tensor:
    """Every channel convolved by itself."""
    x = F.pad(x, (before, after, before, after))
    channels = [F.conv2d(x[:, [one]], f.flip(0, 1)[None, None]) for one in range(x.shape[1])]
    return torch.cat(channels, dim=1)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last])
def test_resampling_is_filtering_between_inserted_zeros_and_skipped_pixels(noise, fmt):
    x = noise.normal((2, 3, 6, 8)).contiguous(memory_format=fmt)
    f = noise.uniform((4, 4))  # not symmetric
    up = filtered(spread(x), f * 4, 2, 1)
    torch.testing.assert_close(layers.upsample2d(x, f), up, **EXACT)
    down = filtered(x, f, 1, 1)[:, :, ::2, ::2]
    torch.testing.assert_close(layers.downsample2d(x, f), down, **EXACT)


def test_convolution_with_resampling_is_the_convolution_of_what_is_resampled(noise):
    x, weight = noise.normal((2, 3, 8, 8)), noise.normal((5, 3, 3, 3))
    f = layers.fir_filter()
    # upsampled: the filter and the kernel commute, and the kernel is turned by 180 degrees
    up = F.conv2d(filtered(spread(x), f * 4, 3, 2), weight.flip(2, 3))
    torch.testing.assert_close(layers.conv2d_resample(x, weight, f, up=2), up, rtol=1e-5, atol=1e-4)
    down = F.conv2d(filtered(x, f, 2, 2), weight)[:, :, ::2, ::2]
    torch.testing.assert_close(layers.conv2d_resample(x, weight, f, down=2), down, rtol=1e-5, atol=1e-4)
    small = weight[:, :, :1, :1]
    down = F.conv2d(filtered(x, f, 1, 1), small)[:, :, ::2, ::2]
    torch.testing.assert_close(layers.conv2d_resample(x, small, f, down=2), down, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_a_convolution_with_filters_of_its_own_for_each_picture(
    noise, up, demodulate
):
    x, weight, styles = noise.normal((3, 4, 6, 6)), noise.normal((5, 4, 3, 3)), noise.normal((3, 4))
    bias, added, f = noise.normal((5,)), noise.normal((3, 1, 6 * up, 6 * up)), layers.fir_filter()
    expected = []
    for one, style, extra in zip(x, styles, added, strict=True):
        own = weight * style[:, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        made = layers.conv2d_resample(one[None], own, f, up=up)
        expected.append(2 * (made + extra + bias[:, None, None]))
    given = {"up": up, "demodulate": demodulate, "bias": bias, "gain": 2.0}
    unfused = layers.modulated_conv2d(x, weight, styles, f, noise=added, **given)
    fused = [
        layers.modulated_conv2d(x[[n]], weight, styles[[n]], f, noise=added[[n]], fused=True, **given)
        for n in range(3)
    ]
    torch.testing.assert_close(unfused, torch.cat(expected), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(torch.cat(fused), torch.cat(expected), rtol=1e-5, atol=2e-5)


def test_blur_is_a_separable_filter_with_zeros_outside(noise):
    x, sigma = noise.normal((2, 3, 9, 12)), 1.4
    taps = torch.tensor([2.0 ** -((i / sigma) ** 2) for i in range(-4, 5)])
    taps = taps / taps.sum()
    expected = filtered(x, torch.outer(taps, taps), 4, 4)
    torch.testing.assert_close(layers.blur(x, sigma), expected, **EXACT)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_blur_of_less_than_a_pixel_leaves_the_picture(noise, sigma):
    x = noise.normal((1, 3, 4, 4))
    assert layers.blur(x, sigma) is x


def test_activation_is_clamped_before_and_after_the_same_with_and_without_gradients(noise):
    x = noise.normal((2, 3, 4, 4)) * 3
    expected = F.leaky_relu(x, 0.2).clamp(-0.4, 0.4)
    torch.testing.assert_close(layers.activate(x.clone(), limit=0.4), expected, rtol=0, atol=0)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(layers.activate(leaf * 1, limit=0.4), expected, rtol=0, atol=0)


def test_fully_connected_scales_weights_and_biases_when_it_is_used(noise):
    layer = layers.FullyConnected(7, 5, act="lrelu", lr=0.01, bias_init=3.0)
    layers.initialise(layer, noise)
    with torch.no_grad():
        layer.bias.copy_(noise.normal((5,)))
    x = noise.normal((2, 3, 7))
    expected = F.leaky_relu(x @ layer.weight.T * 0.01 / math.sqrt(7) + layer.bias * 0.01, 0.2) * math.sqrt(2)
    torch.testing.assert_close(layer(x), expected, **EXACT)
    assert layer(x[:0]).shape == (0, 3, 5)


@pytest.mark.parametrize("down", [1, 2])
def test_convolution_has_right_first_and_second_derivatives(noise, down):
    layer = layers.Convolution(2, 3, 3, down=down, limit=0.9)  # some values are clamped
    layers.initialise(layer, noise)
    layer.double()
    x = noise.normal((1, 2, 4, 4), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_initial_values_are_those_published(noise):
    layer = layers.FullyConnected(100, 80, lr=0.01, bias_init=1.0)
    layers.initialise(layer, noise)
    assert float(layer.weight.detach().std()) == pytest.approx(100, rel=0.03)  # 8000 draws: 0.8 %
    assert layer.bias.detach().unique().tolist() == [1.0]
    again = layers.FullyConnected(100, 80, lr=0.01, bias_init=1.0)
    layers.initialise(again, Noise.seeded(0, "layers"))
    assert torch.equal(again.weight, layer.weight)
