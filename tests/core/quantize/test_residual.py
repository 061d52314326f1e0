"""Residual codebooks against plain arithmetic in float64, and k-means against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from avatarctl.device import Noise
from avatarctl.quantize import ResidualCodebook, kmeans, perplexity

DEPTH, CODES, WIDTH = 3, 7, 5


@pytest.fixture
def stack() -> ResidualCodebook:
    """Books of random codes and sizes, in evaluation mode."""
    draw = Noise.seeded(0, "books")
    made = ResidualCodebook(DEPTH, CODES, WIDTH)
    for book in made.books:
        book.codes.copy_(draw.normal((CODES, WIDTH)))
        book.sizes.copy_(1 + draw.uniform((CODES,)))
        book.sums.copy_(book.codes * book.sizes[:, None])
        book.started.fill_(1)
    return made.eval()


def rows(*shape: int) -> torch.Tensor:
    return Noise.seeded(1, "rows").normal((*shape, WIDTH))


def plain_codes(stack: ResidualCodebook, latents: torch.Tensor) -> np.ndarray:
    """Each book's nearest code of what is left, one row and one code at a time, in float64."""
    books = [book.codes.double().numpy() for book in stack.books]
    found = []
    for row in latents.reshape(-1, WIDTH).double().numpy():
        left, chosen = row, []
        for codes in books:
            distances = [((left - code) ** 2).sum() for code in codes]
            chosen.append(int(np.argmin(distances)))
            left = left - codes[chosen[-1]]
        found.append(chosen)
    return np.array(found).reshape(*latents.shape[:-1], DEPTH)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_each_book_codes_what_the_books_before_left(stack, leading):
    latents = rows(*leading)

    codes = stack.encode(latents)

    np.testing.assert_array_equal(codes.numpy(), plain_codes(stack, latents))


def test_codes_stand_for_the_sum_of_their_rows(stack):
    codes = torch.tensor([[0, 3, 6], [2, 2, 2]])

    summed = [sum(book.codes[code] for book, code in zip(stack.books, line, strict=True)) for line in codes]

    torch.testing.assert_close(stack.decode(codes), torch.stack(summed), rtol=0, atol=1e-6)


def test_evaluation_moves_nothing_and_costs_nothing(stack):
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}

    quantized = stack(rows(4))

    assert float(quantized.losses.abs().sum()) == 0
    assert torch.equal(quantized.values, stack.decode(quantized.codes))
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.state_dict().items())


def test_gradients_pass_to_the_latents_and_only_the_first_book_pulls_them(stack):
    latents = rows(6).requires_grad_()
    first = stack.books[0].codes[stack.books[0].nearest(latents)].clone()

    quantized = stack.train()(latents)
    (passed,) = torch.autograd.grad(quantized.values.sum(), latents, retain_graph=True)
    (pulled,) = torch.autograd.grad(quantized.losses.sum(), latents)

    torch.testing.assert_close(passed, torch.ones_like(passed))
    torch.testing.assert_close(pulled, 2 * (latents - first) / (WIDTH * DEPTH))  # of a mean over both


def test_values_and_commitment_are_those_of_the_codes_before_they_move(stack):
    latents = rows(6)
    codes = plain_codes(stack, latents)
    books = [book.codes.clone().double() for book in stack.books]

    quantized = stack.train()(latents)

    left, commitment = latents.double(), torch.zeros(6, dtype=torch.float64)
    for place, book in enumerate(books):
        left = left - book[codes[:, place]]
        commitment += left.square().mean(-1) / DEPTH
    np.testing.assert_array_equal(quantized.codes.numpy(), codes)
    torch.testing.assert_close(quantized.values.double(), latents - left, rtol=0, atol=1e-6)
    torch.testing.assert_close(quantized.losses.double(), commitment, rtol=1e-5, atol=1e-6)


def test_codes_follow_the_mean_of_what_they_stand_for(stack):
    latents, book = rows(50), stack.books[0]
    chosen = book.nearest(latents).numpy()
    sizes, sums = book.sizes.double().numpy().copy(), book.sums.double().numpy().copy()

    stack.train()(latents)

    for code in range(CODES):
        members = latents[chosen == code].double().numpy()
        sizes[code] = 0.99 * sizes[code] + 0.01 * len(members)
        sums[code] = 0.99 * sums[code] + 0.01 * members.sum(0)
    smoothed = (sizes + 1e-5) / (sizes.sum() + CODES * 1e-5) * sizes.sum()
    np.testing.assert_allclose(book.sizes.numpy(), sizes, rtol=1e-5)
    np.testing.assert_allclose(book.codes.numpy(), sums / smoothed[:, None], rtol=1e-4, atol=1e-5)


def test_kmeans_agrees_with_scipy_also_where_a_mean_has_no_rows():
    draw = Noise.seeded(2, "points")
    centres = 4 * draw.normal((5, 3))
    points = centres[draw.integers(0, 5, (200,))] + draw.normal((200, 3))
    start = torch.cat([points[:5], torch.full((1, 3), 100.0)])

    means, counts = kmeans(points, start)

    with pytest.warns(UserWarning, match="clusters is empty"):
        theirs, labels = kmeans2(points.double().numpy(), start.double().numpy(), iter=10, minit="matrix")
    np.testing.assert_allclose(means.numpy(), theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(counts.numpy(), np.bincount(labels, minlength=6))
    assert counts[5] == 0


def test_a_stack_starts_from_the_first_batch_once():
    fresh, latents = ResidualCodebook(1, 4, WIDTH).train(), rows(12)
    means, _ = kmeans(latents, latents[Noise.seeded(3, "start").permutation(12)[:4]])

    # Weighted sums: the codes stay where they are, up to the smoothing of their sizes.
    fresh(latents, Noise.seeded(3, "start"), revive_below=1e-9)
    first = fresh.books[0].codes.clone()
    fresh(latents + 1, Noise.seeded(3, "start"), revive_below=1e-9)

    torch.testing.assert_close(first, means, rtol=0, atol=1e-4)
    assert 0 < float((fresh.books[0].codes - first).abs().max()) < 0.2  # followed, not started again


def test_published_sums_divide_the_first_codes_by_their_sizes():
    fresh = ResidualCodebook(1, 1, WIDTH).train()
    latents = torch.ones(8, WIDTH)

    fresh(latents, Noise.seeded(0, "start"))

    expected = (0.99 * 1 + 0.01 * 8) / (
        0.99 * 8 + 0.01 * 8
    )  # sums over sizes, which started as mean and count
    torch.testing.assert_close(fresh.books[0].codes, torch.full((1, WIDTH), expected))


def test_small_codes_are_put_onto_rows_when_asked_for(stack):
    latents, book = rows(20), stack.books[0]
    book.sizes[:3] = 1e-3
    book.sums[:3] = 1e-3 * 1000.0
    book.codes[:3] = 1000.0

    stack.train()(latents, Noise.seeded(4, "revive"), revive_below=0.5)

    assert float(torch.cdist(book.codes[:3], latents).min(dim=1).values.max()) == 0
    torch.testing.assert_close(book.sizes[:3], torch.full((3,), 0.5))
    torch.testing.assert_close(book.sums[:3] / book.sizes[:3, None], book.codes[:3])
    assert float(book.codes[3:].abs().max()) < 10


def test_perplexity_counts_the_codes_in_use():
    assert float(perplexity(torch.arange(8).repeat(5), 16)) == pytest.approx(8, rel=1e-5)
    assert float(perplexity(torch.zeros(9, dtype=torch.int64), 16)) == pytest.approx(1, rel=1e-5)
