"""The transformer stack of the VQ-VAE's encoder and decoder and of the full-body decoder (spec 4.1)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST = 2048


def sine_table(length: int, width: int) -> Tensor:
    """Sinusoidal positions [length, width]: even columns sines, odd columns cosines."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return table


class Attention(nn.Module):
    """Full self-attention with dropout on its weights and on its output."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.key, self.query, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Mixed tokens [B, L, C]."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return F.dropout(self.proj(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)


class Block(nn.Module):
    """Attention, then a two-layer network, each on normalised tokens and added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, dropout)
        # parity: dropout 0.1 here although the published configuration says 0 (quirk 3).
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, L, C]."""
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Stack(nn.Module):
    """Blocks over time that halve ("down") or double ("up") the number of tokens.

    Args:
        dropout: Inside the blocks.
        input_dropout: Before the positions are added.
    """

    positions: Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        direction: Literal["down", "up"],
        *,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(input_dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, width, bias=False)
        self.register_buffer("positions", sine_table(LONGEST, width)[None])
        self.apply(_start)
        self.down = nn.Conv1d(width, width, 3, padding=1) if direction == "down" else None
        self.up = nn.ConvTranspose1d(width, width, 3, stride=2) if direction == "up" else None

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, L, C]: L is halved or doubled."""
        return self.finish(self.mix(x))

    def mix(self, x: Tensor) -> Tensor:
        """The tokens after the blocks, at the lower rate [B, L or L / 2, C]."""
        if self.down is not None:
            x = F.max_pool1d(self.down(x.mT), 2, 2).mT
        x = self.input_dropout(x) + self.positions[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return x

    def finish(self, x: Tensor) -> Tensor:
        """From mixed tokens to the output [B, L or 2 L, C]."""
        if self.up is not None:
            x = self.up(x.mT).mT[:, 1:]  # 2 L + 1 frames come out; the first is dropped
        return self.head(self.norm(x))


def _start(module: nn.Module) -> None:
    """Initial weights inside a stack; its convolutions keep the framework's."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
