"""The open face and its film: codes move the mouth, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.person import load
from avatarctl_audio2motion.person.face import Expression, Face
from avatarctl_audio2motion.person.film import actor_of, beside

from avatarctl.errors import DataError

OPEN = Expression(torch.tensor([0.3, 0.0]), torch.zeros(2, 10))


def test_codes_say_what_they_were_made_of():
    given = Expression(
        torch.tensor([0.2, 0.0]), torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    )
    found = Face().expression(Face().codes(given))
    torch.testing.assert_close(found.jaw, given.jaw)
    torch.testing.assert_close(found.coefficients, given.coefficients)


def test_every_code_takes_part():
    given = Expression(torch.randn(50, generator=torch.Generator().manual_seed(1)), torch.randn(50, 10))
    assert Face().codes(given).shape == (50, 256)
    assert Face().codes(given).std(0).min() > 0.01


def test_codes_of_another_width_are_refused():
    with pytest.raises(DataError, match="256"):
        Face().expression(torch.zeros(3, 100))


def test_as_many_codes_as_poses_are_wanted():
    with pytest.raises(DataError, match="3 frames; the body has 2"):
        load().film(torch.zeros(2, 104), torch.zeros(3, 256))


def test_the_jaw_opens_the_mouth_of_the_body():
    actor = actor_of(load(), torch.zeros(2, 104).double(), Face().codes(OPEN), 30.0)
    body = actor.body
    posed = body.shape(expression=actor.expression).pose(actor.motion.to_up("y").body_poses(55)).vertices()
    corners = body.faces[body.extras["lmk_faces_idx"].long()]
    marks = torch.einsum("tnkc,nk->tnc", posed[:, corners], body.extras["lmk_bary_coords"])
    gap = marks[:, 62 - 17, 1] - marks[:, 66 - 17, 1]  # inner lips, of the 68 landmarks
    assert gap[0] - gap[1] > 0.015  # metres


def test_only_the_face_changes_in_the_film():
    film = load().film(torch.zeros(2, 104), Face().codes(OPEN), size=(120, 120))
    opened, closed = (frame.astype(int) for frame in film.frames())
    assert opened.shape == (120, 192, 3)
    changed = (np.abs(opened - closed).max(axis=2) > 20).any(axis=0)
    assert changed[120:].any()  # close up
    rows = np.flatnonzero((np.abs(opened - closed)[:, :120].max(axis=2) > 20).any(axis=1))
    assert rows.size == 0 or rows.max() < 60  # the upper half of the whole body


def test_the_sound_goes_with_the_film():
    sound = (np.zeros((3200, 1), np.float32), 48000)
    assert load().film(torch.zeros(2, 104), sound=sound, size=(64, 64)).sound is sound


def test_films_beside_each_other_keep_their_length():
    film = load().film(torch.zeros(3, 104), size=(64, 64))
    both = beside([film, film])
    assert len(both) == 3
    assert [frame.shape[1] for frame in both.frames()] == [204] * 3
