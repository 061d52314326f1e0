"""The changes that discriminators see: filters, each change by its own draws, and their order."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from avatarctl_generative_avatar.augment import SYM2, SYM6, Augment, bands, warp, warp_taps

from avatarctl.device import Noise

SIDE = 32
INNER = slice(8, -8)
"""Away from where reflections at the border reach."""


@pytest.fixture
def smooth() -> torch.Tensor:
    """Pictures without detail that the low-pass filters would take away [2, 3, 32, 32]."""
    coarse = Noise.seeded(0, "augment").normal((2, 3, 5, 5)) * 0.4
    return F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)


def draws(count: int, used: dict[int, object], corrupt: bool = False) -> Noise:
    """Draws of which only the changes of these numbers are used, with these values."""
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]
    one = (count,)
    geometry = [(one, one), (one, one), ((count, 2), (count, 1)), *[(one, one)] * 4, ((count, 2), (count, 1))]
    colours = [(one, one), (one, one), ((count, 1, 1),) * 2, (one, one), ((count, 1, 1),) * 2]
    shapes = [(one, one)] * 4 if corrupt else [*geometry, *colours]
    made = []
    for number, (value, decision) in enumerate(shapes):
        given = torch.as_tensor(used.get(number, 0.3), dtype=torch.float32)
        made += [given.expand(value), torch.full(decision, 0.0 if number in used else 0.999)]
    return Noise.replay(made)


def changed(images: torch.Tensor, used: dict[int, object]) -> torch.Tensor:
    noise = draws(len(images), used)
    made = Augment()(images, 0.5, noise)
    assert noise.position == len(noise.stored) == 26
    return made


@pytest.mark.parametrize(("taps", "moments"), [(SYM2, 2), (SYM6, 6)])
def test_wavelets_are_orthonormal_and_their_moments_vanish(taps, moments):
    h = torch.tensor(taps, dtype=torch.float64)
    for shift in range(0, len(h), 2):
        inner = float((h[shift:] * h[: len(h) - shift]).sum())
        assert inner == pytest.approx(float(shift == 0), abs=1e-10)
    high = h * torch.tensor([(-1.0) ** k for k in range(len(h))], dtype=torch.float64)
    for power in range(moments):
        places = torch.arange(len(h), dtype=torch.float64) - (len(h) - 1) / 2
        assert float((high * places**power).sum()) == pytest.approx(0, abs=1e-7)
    assert float(warp_taps().sum()) == pytest.approx(1, abs=1e-6)


def test_octaves_add_up_to_the_identity_and_lie_side_by_side():
    found = bands().double()
    whole = torch.zeros(43, dtype=torch.float64)
    whole[21] = 1
    torch.testing.assert_close(found.sum(0), whole, rtol=0, atol=1e-6)
    power = torch.fft.rfft(found, 512).abs()
    peaks = power.argmax(1).tolist()  # of 256: half the highest frequency for each octave less
    assert peaks[0] == 0
    assert 32 < peaks[1] < 64 < peaks[2] < 128 < peaks[3] <= 256


def test_unused_changes_leave_pictures(smooth):
    found = changed(smooth, {})
    torch.testing.assert_close(found[..., INNER, INNER], smooth[..., INNER, INNER], rtol=0, atol=2e-3)
    quiet = Noise.seeded(1, "augment")
    torch.testing.assert_close(
        Augment(corruption=True)(smooth, 0.0, quiet), Augment()(smooth, 0.0, Noise.seeded(1, "augment"))
    )


@pytest.mark.parametrize(
    ("number", "value", "expected"),
    [
        (0, 0.7, lambda x: x.flip(-1)),
        (1, 0.6, lambda x: x.flip(-1, -2)),  # half a turn
        (2, [1.0, 0.5], lambda x: x.roll(4, -1)),  # an eighth to the right
        (2, [0.5, 0.0], lambda x: x.roll(-4, -2)),
        (4, 0.75, lambda x: x.rot90(1, (-2, -1))),
        (6, 0.25, lambda x: x.rot90(-1, (-2, -1))),
        (7, [0.5, 0.0], lambda x: x.roll(2, -1)),  # a sixteenth
    ],
)
def test_each_change_of_places_is_what_torch_does_to_whole_pixels(smooth, number, value, expected):
    found = changed(smooth, {number: value})
    wanted = expected(smooth)
    assert float((smooth - wanted)[..., INNER, INNER].abs().max()) > 0.3
    # the filters are not quite symmetric: what is mirrored or turned moves by a fraction of a pixel
    torch.testing.assert_close(found[..., INNER, INNER], wanted[..., INNER, INNER], rtol=0, atol=0.03)


def test_scaling_enlarges_about_the_centre(smooth):
    found = changed(smooth, {3: 5.0})  # 2^(0.2 * 5) = 2
    middle = smooth[..., SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    wanted = F.interpolate(middle, scale_factor=2, mode="bicubic", align_corners=False)
    torch.testing.assert_close(found[..., INNER, INNER], wanted[..., INNER, INNER], rtol=0, atol=0.03)


def test_colours_change_by_draws_of_their_own(smooth):
    grey = smooth.mean(1, keepdim=True)
    flat = Augment(geometry=False)

    def recoloured(number: int, value: float) -> torch.Tensor:
        noise = draws(2, {number: value})
        noise.position = 16
        return flat(smooth, 0.5, noise)

    torch.testing.assert_close(recoloured(8, 1.5), smooth + 0.3)
    torch.testing.assert_close(recoloured(9, 2.0), smooth * 2)
    torch.testing.assert_close(recoloured(10, 0.9), smooth - 2 * grey)  # luma inverted, colours kept
    torch.testing.assert_close(recoloured(11, 0.5 + 1 / 3), smooth.roll(1, 1))  # a third of a turn
    torch.testing.assert_close(recoloured(12, -60.0), grey.expand_as(smooth))  # no saturation left


def test_both_pictures_of_a_pair_change_alike(smooth):
    pair = torch.cat([smooth, smooth], dim=1)
    found = Augment()(pair, 0.8, Noise.seeded(3, "augment"))
    torch.testing.assert_close(found[:, :3], found[:, 3:])
    alone = Augment()(smooth, 0.8, Noise.seeded(3, "augment"))
    torch.testing.assert_close(found[:, :3], alone, rtol=0, atol=1e-6)


def test_corruption_cuts_a_square_and_adds_noise_of_a_drawn_strength():
    x = torch.full((1, 3, SIDE, SIDE), 0.5)
    head = [draw for _, draw in draws(1, {}, corrupt=True).stored]
    static = torch.ones(1, 3, SIDE, SIDE)
    tail = [
        torch.full((1, 1, 1, 1), -2.0),
        torch.zeros(1, 1, 1, 1),
        static,
        torch.zeros(1, 1, 1, 1, 1),
        torch.tensor([0.25, 0.5]).view(1, 2, 1, 1, 1),
    ]
    found = Augment(False, False, True)(x, 0.5, Noise.replay([*head, *tail]))
    expected = torch.full_like(x, 0.5 + 0.2)
    expected[..., SIDE // 4 : -SIDE // 4, : SIDE // 2] = 0
    torch.testing.assert_close(found, expected)


def test_amplified_octaves_keep_their_expected_power():
    x = Noise.seeded(4, "augment").normal((1, 3, SIDE, SIDE))
    head = [draw for _, draw in draws(1, {3: 40.0}, corrupt=True).stored]  # the highest, far above the others
    rest = [torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.zeros(1, 3, SIDE, SIDE)]
    rest += [torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1)]
    found = Augment(False, False, True)(x, 0.5, Noise.replay([*head, *rest]))
    high = bands()[3] * math.sqrt(13)
    padded = F.pad(x, [21] * 4, mode="reflect").view(3, 1, SIDE + 42, SIDE + 42)
    expected = F.conv2d(F.conv2d(padded, high.view(1, 1, 1, -1)), high.view(1, 1, -1, 1))
    torch.testing.assert_close(found[0], expected[:, 0], rtol=1e-4, atol=1e-4)


def test_pictures_get_gradients(smooth):
    images = smooth.clone().requires_grad_()
    made = Augment()(images, 0.8, Noise.seeded(5, "augment"))
    (found,) = torch.autograd.grad(made.sum(), images)
    step = Noise.seeded(6, "augment").normal(smooth.shape)
    with torch.no_grad():
        ends = [Augment()(smooth + sign * step, 0.8, Noise.seeded(5, "augment")).sum() for sign in (1, -1)]
    torch.testing.assert_close((found * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-3, atol=1e-3)


def test_pictures_of_other_shapes_are_warped_in_their_own_pixels():
    x = torch.zeros(1, 3, 16, 40)
    x[..., 8, 20] = 1.0
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    found = warp(x, quarter)
    assert found.shape == x.shape
    middle = found[0, 0, :, 12:28]  # outside there are reflections
    assert divmod(int(middle.argmax()), 16) == (7, 8)  # (0.5, 0.5) from the centre, turned by a quarter
