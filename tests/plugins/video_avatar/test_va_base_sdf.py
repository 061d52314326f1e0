"""The body's own signed distances."""

import torch
from avatarctl_video_avatar.model.volume import BaseSdf

from avatarctl.device import Noise

LOW, HIGH = -1.25, 0.75


def base(dtype=torch.float32, n=7):
    grid = Noise.seeded(0, "grid").normal((n, n, n), dtype)
    return BaseSdf(grid, torch.tensor(LOW, dtype=dtype), torch.tensor(HIGH, dtype=dtype)), grid


def test_lookup_is_the_border_clamped_trilinear_one():
    look, grid = base()
    points = (2.4 * Noise.seeded(1, "points").uniform((400, 3)) - 1.5).requires_grad_()
    found = look(points)
    place = 2 * ((points - LOW) / (HIGH - LOW) - 0.5)
    assert (place.abs() > 1).any()
    wanted = torch.nn.functional.grid_sample(
        grid[None, None], place.flip(-1)[None, None, None], padding_mode="border", align_corners=False
    ).reshape(-1, 1) * ((HIGH - LOW) / 2)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    ours, theirs = (torch.autograd.grad(one.sum(), points)[0] for one in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)  # slopes of white noise are about 10
    value, gradient = look.probe(points)
    assert torch.equal(value, found[:, 0])
    assert torch.equal(gradient, ours)


def test_second_derivatives_agree_with_finite_differences():
    look, _ = base(torch.float64)
    points = (Noise.seeded(2, "points").uniform((5, 3), torch.float64) * 1.5 - 1).requires_grad_()
    assert torch.autograd.gradcheck(look, points)
    assert torch.autograd.gradgradcheck(look, points)


def test_no_points_give_no_distances():
    look, _ = base()
    assert look(torch.zeros(0, 3)).shape == (0, 1)
