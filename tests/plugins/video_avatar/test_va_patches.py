"""Where patches of a training sample lie."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from avatarctl_video_avatar.patches import PatchSettings, draw, pixels_of

from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError

SIZE = (40, 60)


def masks(
    person: tuple[slice, slice] | None, box: tuple[slice, slice] | None
) -> tuple[np.ndarray, np.ndarray]:
    made = np.zeros((2, *SIZE), bool)
    for mask, place in zip(made, (person, box), strict=True):
        if place is not None:
            mask[place] = True
    return made[0], made[1]


PERSON, BOX = (slice(10, 12), slice(20, 22)), (slice(5, 35), slice(5, 45))


def test_the_share_of_patches_on_the_person_is_kept() -> None:
    person, box = masks(PERSON, BOX)
    settings = PatchSettings(400, 4, 0.8)
    corners = draw(person, box, settings, Noise.seeded(0, "patches"), "picture")
    centres = corners + 2
    on_person = person[centres[:, 0], centres[:, 1]]
    assert abs(on_person.mean() - 0.8) < 0.08  # four deviations of 400 draws
    assert box[centres[:, 0], centres[:, 1]].all()


def test_patches_stay_in_the_picture() -> None:
    person, box = masks((slice(0, 1), slice(59, 60)), BOX)
    corners = draw(person, box | person, PatchSettings(20, 16, 1.0), Noise.seeded(0, "patches"), "picture")
    np.testing.assert_array_equal(np.unique(corners, axis=0), [[0, 44]])
    rows, columns = pixels_of(corners, 16)
    assert rows.shape == columns.shape == (20, 16, 16)
    assert (rows[0, :, 0] == np.arange(16)).all()
    assert (columns[0, 3] == 44 + np.arange(16)).all()


@pytest.mark.parametrize(
    ("person", "box", "words"), [(None, BOX, "of the person"), (BOX, BOX, "beside the person")]
)
def test_where_one_kind_is_missing_the_other_serves(
    person: tuple[slice, slice] | None,
    box: tuple[slice, slice],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        corners = draw(*masks(person, box), PatchSettings(10, 8, 0.5), Noise.seeded(0, "a"), "0/frame_7.png")
    assert len(corners) == 10
    assert f"0/frame_7.png: no pixel {words}" in caplog.text


def test_a_patch_without_rays_is_drawn_again() -> None:
    person, box = masks((slice(0, 40), slice(50, 60)), (slice(0, 8), slice(40, 52)))
    corners = draw(person, box, PatchSettings(50, 8, 1.0), Noise.seeded(0, "a"), "picture")
    assert all(box[row : row + 8, column : column + 8].any() for row, column in corners)


def test_nothing_in_view_is_refused() -> None:
    settings, noise = PatchSettings(2, 8, 1.0), Noise.seeded(0, "a")
    with pytest.raises(DataError, match=r"frame_7\.png: no pixel sees the body's box"):
        draw(*masks(PERSON, None), settings, noise, "0/frame_7.png")
    with pytest.raises(DataError, match="lies away from the body's box"):
        draw(*masks((slice(30, 40), slice(50, 60)), (slice(0, 4), slice(0, 4))), settings, noise, "picture")
    with pytest.raises(SettingsError, match=r"patches\.patch_size: 48 pixels, but picture has 60 x 40"):
        draw(*masks(PERSON, BOX), PatchSettings(2, 48, 1.0), noise, "picture")
