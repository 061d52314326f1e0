"""Attention with rotary positions of the full width, and the layers that the networks are stacks of (spec 4).

Positions turn the normalised tokens before the projections to queries and keys, over all channels at once,
and count from 0 in each sequence. Keys and values of a sequence that other tokens look at are made apart, so
that a sampling loop makes them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rotary_table(length: int, width: int) -> Tensor:
    """Turns of channel pairs at positions 0 to length - 1, complex [length, width / 2]."""
    rates = rotary_rates(width)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    return torch.complex(angles.cos(), angles.sin())


def rotary_rates(width: int) -> Tensor:
    """Radians per position of each channel pair [width / 2]."""
    return 1.0 / 10000 ** (torch.arange(0, width, 2).float() / width)


def rotated(x: Tensor, table: Tensor | None) -> Tensor:
    """Tokens [..., L, C] with their channel pairs (2i, 2i + 1) turned by a table [L, C / 2]; None: as given.

    parity: all channels together, before the projections and the heads (spec 4, quirk 1).
    """
    if table is None:
        return x
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2)


class KeysValues(NamedTuple):
    """What queries look at: keys and values [N, H, L, D]; N is `rows`, or 1 where all see the same."""

    keys: Tensor
    values: Tensor
    rows: int
    """Samples of the batch."""


class Past:
    """Keys and values of the tokens that a causal sequence has had so far."""

    def __init__(self) -> None:
        self.seen: KeysValues | None = None

    def __len__(self) -> int:
        """Number of tokens."""
        return 0 if self.seen is None else self.seen.keys.shape[2]

    def joined(self, new: KeysValues) -> KeysValues:
        """All tokens with the new ones, which are kept."""
        if self.seen is not None:
            keys = torch.cat([self.seen.keys, new.keys], 2)
            new = KeysValues(keys, torch.cat([self.seen.values, new.values], 2), new.rows)
        self.seen = new
        return new


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads; query, key and value projections are packed in one."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(f"width {width} is no even multiple of {heads} heads")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, places: Tensor, values: Tensor, *, past: Past | None = None, is_causal: bool = False
    ) -> Tensor:
        """Tokens that look at each other [B, L, C].

        Args:
            places: The tokens with their positions, for queries and keys.
            values: The tokens without.
            past: Tokens before these, to which these are added: many at first, then one at a time.
            is_causal: Each token sees itself and those before it.
        """
        queries, keys = self._projected(places, 0, 2).chunk(2, dim=-1)
        new = KeysValues(self._split(keys), self._split(self._projected(values, 2, 3)), len(places))
        is_causal = is_causal and places.shape[1] > 1
        seen = new if past is None else past.joined(new)
        return self._merged(self._mixed(self._split(queries), seen, is_causal))

    def keys_values(self, places: Tensor, values: Tensor) -> KeysValues:
        """What `attend` looks at, of tokens with and without their positions [B, L, C]."""
        keys, mixed = self._projected(places, 1, 2), self._projected(values, 2, 3)
        return KeysValues(self._split(keys).contiguous(), self._split(mixed).contiguous(), len(places))

    def attend(self, places: Tensor, memory: Sequence[KeysValues]) -> Tensor:
        """What tokens [B, T, C] find in memories, which follow one another in the batch [B, T, C]."""
        queries = self._split(self._projected(places, 0, 1)).split([side.rows for side in memory])
        found = [self._mixed(part, side) for part, side in zip(queries, memory, strict=True)]
        return self._merged(found[0] if len(found) == 1 else torch.cat(found))

    def _projected(self, x: Tensor, first: int, last: int) -> Tensor:
        part = slice(first * self.width, last * self.width)
        return F.linear(x, self.in_proj_weight[part], self.in_proj_bias[part])

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merged(self, mixed: Tensor) -> Tensor:
        merged: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return merged

    def _mixed(self, queries: Tensor, seen: KeysValues, is_causal: bool = False) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        rows, _, length, _ = queries.shape
        if len(seen.keys) < rows:  # the same memory for all samples: their queries one after the other
            queries = queries.transpose(0, 1).flatten(1, 2)[None]
        mixed = F.scaled_dot_product_attention(
            queries, seen.keys, seen.values, dropout_p=dropout, is_causal=is_causal
        )
        if len(seen.keys) < rows:
            mixed = mixed[0].unflatten(1, (rows, length)).transpose(0, 1)
        return mixed


class FeedForward(nn.Module):
    """Base of the layers: two linear maps with GELU between, as torch's transformer layers name them."""

    def __init__(self, width: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.dropout = nn.Dropout(dropout)

    def feed(self, x: Tensor) -> Tensor:
        """Tokens [B, L, C] through both maps."""
        fed: Tensor = self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x)))))
        return fed


class EncoderLayer(FeedForward):
    """Self-attention with positions, then the two maps; each on normalised tokens and added (spec 4.1)."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.1) -> None:
        super().__init__(width, feedforward, dropout)
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, table: Tensor | None) -> Tensor:
        """Tokens [B, L, C]; `table` turns them."""
        tokens = self.norm1(x)
        x = x + self.dropout(self.self_attn(rotated(tokens, table), tokens))
        return x + self.feed(self.norm2(x))


class Film(nn.Module):
    """Scale and shift of tokens by a vector (feature-wise linear modulation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Mish(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Tokens [B, L, C] modulated by one vector a sample [B, C]."""
        scale, shift = self.block(vector)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, x, scale + 1)


class DecoderLayer(FeedForward):
    """Self-attention, attention to a memory, with `has_keys` also to key frames, and the two maps (spec 4.1).

    Each works on normalised tokens; its result is modulated and added.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, *, dropout: float = 0.1, has_keys: bool = False
    ) -> None:
        super().__init__(width, feedforward, dropout)
        self.self_attn, self.cross_attn = (MultiHeadAttention(width, heads, dropout) for _ in range(2))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.film1, self.film2, self.film3 = (Film(width) for _ in range(3))
        self.key_attn = MultiHeadAttention(width, heads, dropout) if has_keys else None
        self.key_norm = nn.LayerNorm(width) if has_keys else None
        self.key_film = Film(width) if has_keys else None

    def forward(
        self,
        x: Tensor,
        vector: Tensor,
        table: Tensor | None,
        memory: Sequence[KeysValues],
        keys: Sequence[KeysValues] = (),
        *,
        past: Past | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Tokens [B, T, C].

        Args:
            x: Tokens [B, T, C], or [B / n, T, C]: then each is taken n times after its self-attention.
            vector: What modulates [B, C].
            table: Turns of the positions of these tokens [T, C / 2].
            memory: From `cross_attn.keys_values`.
            keys: From `key_attn.keys_values`.
            past: Tokens before these, see `MultiHeadAttention`.
            is_causal: Self-attention sees only what came before.
        """
        tokens = self.norm1(x)
        mixed = self.dropout(self.self_attn(rotated(tokens, table), tokens, past=past, is_causal=is_causal))
        if len(x) < len(vector):
            x, mixed = (one.repeat(len(vector) // len(x), 1, 1) for one in (x, mixed))
        x = x + self.film1(mixed, vector)
        found = self.cross_attn.attend(rotated(self.norm2(x), table), memory)
        x = x + self.film2(self.dropout(found), vector)
        if self.key_attn is not None and self.key_norm is not None and self.key_film is not None:
            found = self.key_attn.attend(rotated(self.key_norm(x), table), keys)
            x = x + self.key_film(self.dropout(found), vector)
        return x + self.film3(self.feed(self.norm3(x)), vector)
