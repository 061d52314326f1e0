"""Residual quantisation with codes that follow the means of what they stand for.

Each book codes what the books before it left over. Codes are moving averages, not learned by gradient: van
den Oord et al., "Neural Discrete Representation Learning" (2017), appendix A.1; residual stacks as in
Zeghidour et al., "SoundStream" (2021), started by k-means.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarctl.device import Noise
from avatarctl.quantize.codebook import DECAY, Quantized, similarities

ROUNDS = 10
"""Rounds of k-means."""
SMOOTHING = 1e-5
"""Added to each code's size, so that none is divided by 0."""


class AverageCodebook(nn.Module):
    """Codes that are moving averages of the rows nearest to them.

    Args:
        codes: Number of codes K.
        width: Channels D.
    """

    codes: Tensor
    sums: Tensor
    sizes: Tensor
    started: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(codes, width))
        self.register_buffer("sums", torch.zeros(codes, width))
        self.register_buffer("sizes", torch.zeros(codes))
        self.register_buffer("started", torch.zeros(1))

    def nearest(self, rows: Tensor) -> Tensor:
        """The code nearest to each row of [..., D]; the first of equally near ones."""
        found = similarities(rows.reshape(-1, rows.shape[-1]), self.codes).argmax(dim=1)
        return found.reshape(rows.shape[:-1])

    @torch.no_grad()
    def start(self, rows: Tensor, noise: Noise, is_weighted: bool = False) -> None:
        """Take the codes from a first batch of rows [N, D] by k-means from random rows.

        Args:
            is_weighted: Sums are those of the rows, as `follow` has them, so that no code moves at once.
        """
        count = len(self.codes)
        if len(rows) >= count:
            chosen = noise.permutation(len(rows), rows.device)[:count]
        else:
            chosen = noise.integers(0, len(rows), (count,), rows.device)
        means, sizes = kmeans(rows, rows[chosen])
        self.codes.copy_(means)
        # parity: the published sums are the means themselves, so `follow` divides them by sizes (spec 4.4).
        self.sums.copy_(means * sizes[:, None] if is_weighted else means)
        self.sizes.copy_(sizes)
        self.started.fill_(1)

    @torch.no_grad()
    def follow(self, rows: Tensor, chosen: Tensor) -> None:
        """Move sizes and sums towards those of rows [N, D] with codes [N]; codes become their quotients."""
        members = F.one_hot(chosen, len(self.codes)).to(rows.dtype)  # [N, K]
        self.sizes.lerp_(members.sum(0), 1 - DECAY)
        self.sums.lerp_(members.T @ rows, 1 - DECAY)
        total = self.sizes.sum()
        smoothed = (self.sizes + SMOOTHING) / (total + len(self.sizes) * SMOOTHING) * total
        self.codes.copy_(self.sums / smoothed[:, None])

    @torch.no_grad()
    def revive(self, rows: Tensor, least: float, noise: Noise) -> None:
        """Put codes smaller than `least` onto random rows of [N, D]."""
        chosen = rows[noise.integers(0, len(rows), (len(self.codes),), rows.device)]
        is_dead = self.sizes < least
        self.codes.copy_(torch.where(is_dead[:, None], chosen, self.codes))
        self.sums.copy_(torch.where(is_dead[:, None], chosen * least, self.sums))
        self.sizes.copy_(torch.where(is_dead, torch.full_like(self.sizes, least), self.sizes))


class ResidualCodebook(nn.Module):
    """A stack of books, coarse to fine.

    In training mode each call also moves the codes, in place and outside the graph; what it returns was coded
    before the move.

    Args:
        depth: Number of books.
        codes: Codes in each.
        width: Channels D of a latent.
    """

    def __init__(self, depth: int, codes: int, width: int) -> None:
        super().__init__()
        self.books = nn.ModuleList(AverageCodebook(codes, width) for _ in range(depth))

    def encode(self, latents: Tensor) -> Tensor:
        """Codes [..., depth] of latents [..., D]."""
        chosen = []
        for book in self._stack():
            chosen.append(book.nearest(latents))
            latents = latents - F.embedding(chosen[-1], book.codes)
        return torch.stack(chosen, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents [..., D] of codes [..., depth]."""
        found = [F.embedding(codes[..., place], book.codes) for place, book in enumerate(self._stack())]
        return torch.stack(found).sum(0)

    def forward(self, latents: Tensor, noise: Noise | None = None, revive_below: float = 0.0) -> Quantized:
        """Quantised latents [..., D], their codes, and the commitment of each token, 0 in evaluation mode.

        Args:
            noise: Draws for codes that start or are revived; only training uses it.
            revive_below: Size below which training puts a code onto a random row, and keeps the first codes
                where k-means found them; 0: as published, where neither is so.
        """
        if not self.training:
            codes = self.encode(latents)
            return Quantized(self.decode(codes), codes, latents.new_zeros(latents.shape[:-1]))
        left, values, losses, chosen = latents, torch.zeros_like(latents), latents.new_zeros(()), []
        for book in self._stack():
            rows = left.detach().flatten(0, -2)
            if not book.started:
                book.start(rows, _given(noise), is_weighted=revive_below > 0)
            codes = book.nearest(left)
            coded = F.embedding(codes, book.codes.clone())
            book.follow(rows, codes.flatten())
            if revive_below:
                book.revive(rows, revive_below, _given(noise))
            losses = losses + (coded - left).square().mean(-1) / len(self.books)
            straight = left + (coded - left).detach()
            # parity: what is left has no gradient, so only the first book pulls the encoder (spec 4.4).
            left, values = left - straight, values + straight
            chosen.append(codes)
        return Quantized(values, torch.stack(chosen, dim=-1), losses)

    def _stack(self) -> list[AverageCodebook]:
        return list(self.books)  # type: ignore[arg-type]


def _given(noise: Noise | None) -> Noise:
    assert noise is not None, "codes that start or are revived need draws"
    return noise


def kmeans(rows: Tensor, means: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Means [K, D] and the number of rows nearest to each [K], of rows [N, D] after some rounds of Lloyd.

    A mean without rows stays where it is.
    """
    counts = torch.zeros(len(means), dtype=torch.int64, device=rows.device)
    for _ in range(rounds):
        nearest = similarities(rows, means).argmax(dim=1)
        counts = torch.bincount(nearest, minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, nearest, rows)
        means = torch.where((counts == 0)[:, None], means, sums / counts.clamp(min=1)[:, None])
    return means, counts


def perplexity(codes: Tensor, count: int) -> Tensor:
    """How many of `count` codes are in use, each weighted alike: exp of the entropy of codes [...]."""
    share = torch.bincount(codes.flatten(), minlength=count) / codes.numel()
    return torch.exp(-(share * torch.log(share + 1e-7)).sum())
