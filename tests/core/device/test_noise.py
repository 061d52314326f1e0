import numpy as np
import pytest
import torch

from avatarctl.device import Noise
from avatarctl.device.noise import stream_seed
from avatarctl.errors import CheckpointError, DataError


def draws(noise):
    return [
        noise.normal((3, 2)),
        noise.uniform((4,)),
        noise.integers(2, 9, (5,)),
        noise.permutation(6),
        noise.normal((), dtype=torch.float64),
    ]


def equal(one, other):
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def test_a_stream_depends_on_seed_name_and_rank_and_on_nothing_else():
    first = draws(Noise.seeded(0, "sampling"))
    torch.manual_seed(99)
    torch.randn(7)
    other = Noise.seeded(0, "augmentation")
    other.normal((50,))
    assert equal(draws(Noise.seeded(0, "sampling")), first)
    for changed in (Noise.seeded(1, "sampling"), other, Noise.seeded(0, "sampling", rank=1)):
        assert not equal(draws(changed), first)


def test_a_stream_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    draws(Noise.seeded(0, "sampling"))
    assert torch.equal(torch.get_rng_state(), before)


def test_streams_of_neighbouring_seeds_are_uncorrelated():
    columns = torch.stack([Noise.seeded(seed, "x").normal((20_000,)) for seed in range(8)])
    correlation = torch.corrcoef(columns) - torch.eye(8)
    assert correlation.abs().max() < 5 / 20_000**0.5  # five standard errors
    seeds = {stream_seed(seed, name, rank) for seed in range(50) for name in "ab" for rank in range(4)}
    assert len(seeds) == 400
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_a_wrapped_generator_gives_torchs_own_draws():
    ours = Noise.wrap(torch.Generator().manual_seed(5))
    theirs = torch.Generator().manual_seed(5)
    assert torch.equal(ours.normal((3,)), torch.randn(3, generator=theirs))
    assert torch.equal(ours.uniform((2, 2)), torch.rand(2, 2, generator=theirs))
    assert torch.equal(ours.integers(0, 4, (3,)), torch.randint(0, 4, (3,), generator=theirs))
    assert torch.equal(ours.permutation(5), torch.randperm(5, generator=theirs))


@pytest.mark.parametrize("skip", [0, 1, 7])
def test_a_restored_stream_goes_on_bit_for_bit(skip):
    noise = Noise.seeded(3, "x")
    noise.normal((skip,))
    state = noise.state_dict()
    rest = draws(noise)
    again = Noise.seeded(8, "other")
    again.load_state_dict(state)
    assert equal(draws(again), rest)


def test_stored_draws_are_handed_out_exactly_and_in_order():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": np.array([2, 0, 1])}
    noise = Noise.replay(arrays)
    first = noise.normal((2, 3), dtype=torch.float64)
    assert torch.equal(first, torch.arange(6.0, dtype=torch.float64).reshape(2, 3))
    first.zero_()
    state = noise.state_dict()
    assert noise.integers(0, 9, (2,)).tolist() == [1, 2]
    assert noise.permutation(3).tolist() == [2, 0, 1]
    noise.load_state_dict(state)
    assert noise.integers(0, 9, (2,)).tolist() == [1, 2]
    assert arrays["a"][0, 1] == 1.0


def test_stored_draws_of_another_shape_or_number_are_refused():
    noise = Noise.replay([np.zeros((2, 3))])
    with pytest.raises(DataError, match=r"draw '0' has shape \[2, 3\], expected \[3, 2\]"):
        noise.normal((3, 2))
    noise.normal((2, 3))
    with pytest.raises(DataError, match=r"one more draw of shape \[1\] was asked for; all 1 are used"):
        noise.normal((1,))


def test_the_state_of_another_kind_of_stream_is_refused():
    with pytest.raises(CheckpointError, match="expected 'generator'"):
        Noise.seeded(0, "x").load_state_dict(Noise.replay([]).state_dict())
