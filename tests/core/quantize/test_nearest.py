"""The nearest code is the nearest one also where codes lie closer together than float32 tells them apart."""

from __future__ import annotations

import torch

from avatarctl.device import Noise
from avatarctl.quantize.codebook import ProductCodebook

TOKENS, CODES, WIDTH = 300, 64, 48


def test_codes_that_were_moved_to_one_latent_are_told_apart():
    noise = Noise.seeded(0, "latents")
    codebook = ProductCodebook(books=1, codes=CODES, channels=WIDTH).eval()
    where = 3 * noise.normal((1, WIDTH))
    with torch.no_grad():
        codebook.book(0).copy_(where + 1e-5 * noise.normal((CODES, WIDTH)))
    latents = where + noise.normal((TOKENS, WIDTH))
    apart = latents.double()[:, None] - codebook.book(0).detach().double()
    assert torch.equal(codebook(latents).codes[:, 0], apart.square().sum(-1).argmin(1))
