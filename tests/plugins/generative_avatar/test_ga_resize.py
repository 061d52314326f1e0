"""Pictures in another size."""

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar.resize import resize
from torch.nn.functional import interpolate

SIZES = [
    ((64, 64), (48, 48)),
    ((96, 96), (64, 64)),
    ((10, 14), (23, 9)),
    ((32, 48), (16, 24)),
    ((5, 5), (1, 1)),
]


def by_torch(picture, height, width):
    channels = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)[None]
    return interpolate(channels, (height, width), mode="bilinear")[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_floats_are_mixed_bilinearly_without_anti_aliasing(size, wanted):
    picture = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    found = resize(picture, *wanted)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, by_torch(picture, *wanted), rtol=1e-12)


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_bytes_are_within_one_level_of_it(size, wanted):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = resize(picture, *wanted)
    assert found.dtype == np.uint8
    assert np.abs(found - by_torch(picture, *wanted)).max() < 1


def test_white_stays_white_and_the_same_size_the_same():
    white = np.full((13, 17, 3), 255, np.uint8)
    assert (resize(white, 40, 30) == 255).all()
    assert resize(white, 13, 17) is white


def test_halves_are_rounded_up():
    picture = np.array([[0, 0], [1, 1]], np.uint8)[..., None].repeat(3, axis=2)
    assert resize(picture, 1, 1).tolist() == [[[1, 1, 1]]]
