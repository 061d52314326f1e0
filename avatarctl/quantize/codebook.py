"""Product quantisation with codes learned by gradient and dead codes moved to the data.

Several books share a latent, each coding a slice of its channels. Van den Oord et al., "Neural Discrete
Representation Learning" (2017); the moves and the contrastive term follow Zheng and Vedaldi, "Online
Clustered Codebook" (ICCV 2023), as the published SAGE Net uses them (spec sparse-tracking 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DECAY = 0.99
TEMPERATURE = 0.07
CONTRASTIVE_BOOKS = 2
"""The first so many books have the contrastive term (spec 4.3, quirk 4)."""


@dataclass(frozen=True)
class Quantized:
    """`values` [..., D] with straight-through gradients, `codes` [..., books], `losses` [...] per token."""

    values: Tensor
    codes: Tensor
    losses: Tensor


class ProductCodebook(nn.Module):
    """Books of codes, one for each slice of the channels.

    In training mode each call also updates `usage` and moves little-used codes towards the latents, in place
    and outside the graph; the returned values and gradients are those of the codes before the move.

    Args:
        books: Slices of a latent.
        codes: Codes in each book.
        channels: Channels of a latent, a multiple of `books`.
    """

    usage: Tensor

    def __init__(self, books: int = 8, codes: int = 64, channels: int = 384) -> None:
        super().__init__()
        width = channels // books
        self.books = nn.ModuleList(nn.Embedding(codes, width) for _ in range(books))
        for weight in self.books.parameters():
            nn.init.uniform_(weight, -1 / codes, 1 / codes)
        self.register_buffer("usage", torch.zeros(codes, books))

    def forward(self, latents: Tensor) -> Quantized:
        """Nearest codes of latents [..., D]."""
        slices = latents.flatten(0, -2).chunk(len(self.books), dim=-1)
        chosen, contrast, values = [], latents.new_zeros(()), []
        for index, rows in enumerate(slices):
            # What the graph keeps, since the move overwrites the codes.
            weight = self.book(index).clone()
            nearness = similarities(rows, weight)
            codes = nearness.argmax(dim=1)
            chosen.append(codes)
            values.append(F.embedding(codes, weight))
            if self.training:
                if index < CONTRASTIVE_BOOKS:
                    contrast = contrast + self._contrastive(nearness.to(latents.dtype))
                self._move(index, rows, nearness, codes)
        coded = torch.cat(values, dim=-1).reshape(latents.shape)
        towards_latents = ((coded - latents.detach()) ** 2).mean(-1)
        commitment = ((coded.detach() - latents) ** 2).mean(-1)
        shape = (*latents.shape[:-1], len(self.books))
        return Quantized(
            values=latents + (coded - latents).detach(),
            codes=torch.stack(chosen, dim=-1).reshape(shape),
            losses=towards_latents + commitment + contrast,
        )

    def book(self, index: int) -> Tensor:
        """The codes of one book [K, D / books]."""
        codes: Tensor = self.get_parameter(f"books.{index}.weight")
        return codes

    def _contrastive(self, nearness: Tensor) -> Tensor:
        """Each code is drawn to its nearest rows and pushed from the half that is farthest."""
        # parity: on the first two books only, and 512 is the number of all codes (spec 4.3, quirk 4).
        ordered = nearness.sort(dim=0).values
        total = len(self.books) * nearness.shape[1]
        top = max(1, nearness.shape[0] // total)
        positives = ordered[-top:].mean(dim=0)[:, None]
        negatives = ordered[: nearness.shape[0] // 2].T
        logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def _move(self, index: int, rows: Tensor, nearness: Tensor, codes: Tensor) -> None:
        """Track the usage of one book and move its codes towards their nearest rows, the unused ones most."""
        book = self.book(index)
        share = torch.bincount(codes, minlength=len(book)).to(self.usage.dtype) / len(codes)
        self.usage[:, index].mul_(DECAY).add_(share, alpha=1 - DECAY)
        # parity: the exponent's factor is the number of all codes, of which a book has a share (quirk 5).
        total = len(self.books) * len(book)
        move = torch.exp(-(self.usage[:, index] * total * 10) / (1 - DECAY) - 1e-3)[:, None]
        anchors = rows[nearness.argmax(dim=0)]
        book.copy_((1 - move) * book + move * anchors)


def similarities(rows: Tensor, codes: Tensor) -> Tensor:
    """Negative squared distances [N, K] of rows [N, D] and codes [K, D], in float64 where the device has it.

    In float32 the sums round by up to the distance between two codes that were moved to the same data.
    """
    if rows.device.type != "mps":
        rows, codes = rows.double(), codes.double()
    squares = (rows**2).sum(1, keepdim=True) + (codes**2).sum(1)
    return -(squares - 2 * rows @ codes.T)
