"""Random changes of training pictures: the order of the draws, and their ranges."""

import pytest
import torch
from avatarctl_ego_hmr.augment import Augmentation

from avatarctl.device import Noise
from avatarctl.errors import DataError


def replayed(*numbers):
    return Noise.replay([torch.tensor(number) for number in numbers])


def test_draws_are_used_in_the_published_order():
    noise = replayed(0.5, -3.0, 1.0, 0.59, -1.0, 0.5, 0.0, 0.5, 1.0)

    found = Augmentation.drawn(noise)

    assert found.shift == pytest.approx((0.01, -0.02))
    assert (found.scale, found.rotation_deg, found.flip) == (1.3, -30, True)
    assert found.gains == pytest.approx((0.8, 1.0, 1.2))


def test_a_picture_that_is_not_turned_draws_no_angle():
    noise = replayed(0.0, 0.0, 0.0, 0.61, 0.51, 0.5, 0.5, 0.5)

    found = Augmentation.drawn(noise)

    assert (found.rotation_deg, found.flip) == (0, False)
    with pytest.raises(DataError, match="all 8 are used"):
        noise.uniform(())


def test_many_draws_have_the_published_shares_and_bounds():
    noise = Noise.seeded(0, "augmentation")
    found = [Augmentation.drawn(noise) for _ in range(2000)]

    turned = [one.rotation_deg for one in found if one.rotation_deg]
    assert abs(len(turned) / 2000 - 0.6) < 0.04  # four standard errors
    assert abs(sum(one.flip for one in found) / 2000 - 0.5) < 0.045
    assert max(map(abs, turned)) == 60
    assert (min(one.scale for one in found), max(one.scale for one in found)) == (0.7, 1.3)
    assert max(abs(part) for one in found for part in one.shift) == 0.02
    assert all(0.8 <= gain < 1.2 for one in found for gain in one.gains)


def test_as_it_stands_nothing_changes():
    assert Augmentation() == Augmentation(1.0, 0.0, False, (1.0, 1.0, 1.0), (0.0, 0.0))
