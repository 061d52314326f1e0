"""Attention, rotary positions and the modulated layers against torch's own and against their formulas."""

from __future__ import annotations

import pytest
import torch
from avatarctl_audio2motion.model.attention import (
    DecoderLayer,
    MultiHeadAttention,
    Past,
    rotary_table,
    rotated,
)
from torch import nn

GENERATOR = torch.Generator()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR.manual_seed(seed))


def pair(width: int = 16, heads: int = 4) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours = MultiHeadAttention(width, heads)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("is_causal", [False, True])
def test_self_attention_is_that_of_torch(is_causal: bool) -> None:
    ours, theirs = pair()
    places, values = random(2, 7, 16), random(2, 7, 16, seed=1)
    mask = nn.Transformer.generate_square_subsequent_mask(7) if is_causal else None
    wanted, _ = theirs(places, places, values, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(ours(places, values, is_causal=is_causal), wanted, rtol=1e-4, atol=1e-5)


def test_attention_to_memories_is_that_of_torch_sample_by_sample() -> None:
    ours, theirs = pair()
    queries, first, second = random(5, 6, 16), random(2, 9, 16, seed=1), random(1, 9, 16, seed=2)
    memory = [ours.keys_values(first, first), ours.keys_values(second, second)._replace(rows=3)]
    every = torch.cat([first, second.expand(3, -1, -1)])
    wanted, _ = theirs(queries, every, every, need_weights=False)
    torch.testing.assert_close(ours.attend(queries, memory), wanted, rtol=1e-4, atol=1e-5)


def test_initial_weights_are_those_of_torch() -> None:
    torch.manual_seed(3)
    theirs = nn.MultiheadAttention(64, 4)
    ours = MultiHeadAttention(64, 4)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, wanted in theirs.state_dict().items():
        found = ours.state_dict()[name]
        assert found.std().item() == pytest.approx(wanted.std().item(), rel=0.05, abs=1e-9), name
        assert found.abs().max().item() == pytest.approx(wanted.abs().max().item(), rel=0.05, abs=1e-9), name


def test_a_pair_of_channels_is_turned_by_position_times_frequency() -> None:
    x = random(3, 5, 8).double()
    wanted = torch.empty_like(x)
    for place in range(5):
        for i in range(4):
            angle = torch.tensor(place * 10000 ** (-2 * i / 8), dtype=torch.float64)
            a, b = x[:, place, 2 * i], x[:, place, 2 * i + 1]
            wanted[:, place, 2 * i] = a * angle.cos() - b * angle.sin()
            wanted[:, place, 2 * i + 1] = b * angle.cos() + a * angle.sin()
    found = rotated(x.float(), rotary_table(5, 8))
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)
    assert rotated(x, None) is x


@pytest.mark.parametrize("first", [1, 3])
def test_a_causal_sequence_with_kept_keys_gives_what_it_gives_at_once(first: int) -> None:
    torch.manual_seed(1)
    layer = DecoderLayer(16, 2, 32).eval()
    x, vector, memory, table = random(2, 8, 16), random(2, 16), random(2, 5, 16), rotary_table(8, 16)
    seen = [layer.cross_attn.keys_values(memory, memory)]
    wanted = layer(x, vector, table, seen, is_causal=True)
    past = Past()
    parts = [(0, first), *((place, place + 1) for place in range(first, 8))]
    found = [layer(x[:, a:b], vector, table[a:b], seen, past=past, is_causal=True) for a, b in parts]
    assert len(past) == 8
    torch.testing.assert_close(torch.cat(found, 1), wanted, rtol=1e-4, atol=1e-5)


def test_tokens_shared_by_two_conditions_are_taken_twice() -> None:
    torch.manual_seed(1)
    layer = DecoderLayer(16, 2, 32, has_keys=True).eval()
    x, vector, table = random(2, 8, 16), random(4, 16, seed=1), rotary_table(8, 16)
    memory, keys = random(4, 5, 16, seed=2), random(4, 2, 16, seed=3)
    seen = [layer.cross_attn.keys_values(memory, memory)]
    assert layer.key_attn is not None
    told = [layer.key_attn.keys_values(keys, keys)]
    wanted = layer(x.repeat(2, 1, 1), vector, table, seen, told)
    torch.testing.assert_close(layer(x, vector, table, seen, told), wanted, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(1)
    layer = DecoderLayer(16, 2, 32, dropout=0.5)
    x, vector, memory = random(1, 4, 16), random(1, 16), random(1, 5, 16)

    def run() -> torch.Tensor:
        return layer(x, vector, rotary_table(4, 16), [layer.cross_attn.keys_values(memory, memory)])

    assert not torch.equal(run(), run())
    layer.eval()
    assert torch.equal(run(), run())
