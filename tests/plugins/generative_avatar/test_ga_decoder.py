"""Look-up in planes and decoder, against torch's own sampling and derivatives."""

from __future__ import annotations

import pytest
import torch
from avatarctl_generative_avatar.model.decoder import Decoder, Planes
from avatarctl_generative_avatar.model.layers import initialise
from torch import Tensor
from torch.nn import functional

from avatarctl.device import Noise

SIZE, WARP = 8, 1.9


@pytest.fixture
def decoder() -> Decoder:
    made = Decoder().double()
    initialise(made, Noise.seeded(1, "decoder"))
    return made


def planes_and_places(count: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    noise = Noise.seeded(2, "planes")
    planes = noise.normal((2, 3, 32, SIZE, SIZE), torch.float64)
    places = 0.6 * noise.normal((count, 3), torch.float64)
    return planes, places, noise.integers(0, 2, (count,))


def plain(decoder: Decoder, planes: Tensor, places: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value [K], colours [K, 32] and the derivative in scaled places [K, 3] by torch alone."""
    scaled = (places * (2 / WARP)).detach().requires_grad_()
    axes = [(0, 1), (0, 2), (2, 1)]
    grid = torch.stack([scaled[:, list(pair)] for pair in axes])[:, None].expand(-1, 2, -1, -1)
    found = [
        functional.grid_sample(
            planes[:, plane], grid[plane][:, None], padding_mode="zeros", align_corners=False
        )
        for plane in range(3)
    ]
    features = torch.stack(found).mean(0)[:, :, 0].mT  # [2, K, 32]
    out = decoder.net(features[sample, torch.arange(len(places))])
    (slope,) = torch.autograd.grad(out[:, 0].sum(), scaled, create_graph=True)
    return out[:, 0], torch.sigmoid(out[:, 1:]) * 1.002 - 0.001, slope


def ours(decoder: Decoder, planes: Tensor, places: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    looked = Planes(planes, WARP)
    corners = looked.corners(places, sample)
    hidden = decoder.hidden(looked.features(corners))
    return decoder.value(hidden), decoder.colours(hidden), looked.gradient(corners, decoder.slope(hidden))


@pytest.mark.parametrize("count", [0, 1, 40])
def test_values_and_slopes_are_those_of_sampling_and_autograd(decoder, count):
    planes, places, sample = planes_and_places(count)
    for found, wanted in zip(
        ours(decoder, planes, places, sample), plain(decoder, planes, places, sample), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_losses_on_slopes_reach_planes_and_decoder(decoder):
    planes, places, sample = planes_and_places()
    planes.requires_grad_()
    inputs = [planes, *decoder.parameters()]
    made = []
    for function in (ours, plain):
        value, colours, slope = function(decoder, planes, places, sample)
        loss = value.square().sum() + colours.square().sum() + (slope.norm(dim=-1) - 1).square().sum()
        made.append(torch.autograd.grad(loss, inputs))
    for found, wanted in zip(*made, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_planes_of_innermost_channels_are_not_copied():
    made = torch.zeros(2, 96, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    planes = made.unflatten(1, (3, 32))
    assert Planes(planes, WARP).rows.data_ptr() == planes.data_ptr()


def test_places_far_outside_read_nothing(decoder):
    planes, _, _ = planes_and_places()
    places = torch.tensor([[1e30, 0.0, -1e30], [5.0, 5.0, 5.0]], dtype=torch.float64)
    looked = Planes(planes, WARP)
    corners = looked.corners(places, torch.tensor([0, 1]))
    assert not looked.features(corners).any()
    assert not looked.gradient(corners, torch.ones(2, 32, dtype=torch.float64)).any()
