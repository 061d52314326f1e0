"""A face for a voice: the jaw opens with loudness, bright sounds widen the mouth, the eyes blink."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl_audio2motion.person.face import Expression
from avatarctl_audio2motion.person.speaking import FPS, Heard

OPEN_RADIANS = 0.26
"""How far the loudest speech opens the jaw."""
WIDER_MM, SMILE_MM, LID_MM = 5.0, 2.5, -9.5
"""How much wider the brightest sounds make the mouth, how much listening lifts its corners, a closed lid."""
BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)
"""How far the lids are closed in the frames of a blink."""
BLINK_EVERY = (1.8, 5.0)
"""Seconds between blinks."""
FIRST_LANDMARK = 17
"""The body's landmarks are those of the 68 from here on."""


def talk(own: Heard, partner: Heard, noise: Noise) -> Expression:
    """The face of somebody who says the one voice and hears the other."""
    smile = SMILE_MM * (partner.loudness - own.loudness).clamp(min=0)
    wanted = torch.stack(
        [
            torch.zeros_like(smile),
            WIDER_MM * own.brightness + 0.5 * smile,
            smile,
            LID_MM * _blinks(len(own.loudness), noise),
        ],
        dim=1,
    )
    return Expression(OPEN_RADIANS * own.loudness**1.5, wanted @ _levers().T)


def _blinks(frames: int, noise: Noise) -> Tensor:
    """How far the lids are closed, 0 to 1 [T]."""
    closed = torch.zeros(frames + len(BLINK))
    place = 0
    while place < frames:
        first, last = BLINK_EVERY
        place += int(FPS * (first + (last - first) * float(noise.uniform((1,)))))
        if place < frames:
            closed[place : place + len(BLINK)] = torch.tensor(BLINK)
    return closed[:frames]


@cache
def _levers() -> Tensor:
    """Expressions [10, 4] for a millimetre of the lips' gap, the mouth's width, its corners, the lids."""
    body = open_body("smplx")
    moves = 1000 * body.shape_directions[..., body.num_betas :]
    corners = body.faces[body.extras["lmk_faces_idx"].long()]
    marks = torch.einsum("nkce,nk->nce", moves[corners], body.extras["lmk_bary_coords"].to(moves))

    def mark(number: int, axis: int) -> Tensor:
        return marks[number - FIRST_LANDMARK, axis]

    x, y = 0, 1
    lids = mark(37, y) - mark(41, y) + mark(44, y) - mark(46, y)
    measures = [
        mark(62, y) - mark(66, y),
        mark(54, x) - mark(48, x),
        (mark(54, y) + mark(48, y)) / 2 - mark(51, y),
        lids / 2,
    ]
    return torch.linalg.pinv(torch.stack(measures))
