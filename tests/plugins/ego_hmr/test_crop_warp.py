"""The crop of a person, against a plain twin of the published arithmetic."""

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.warp import (
    MEAN,
    STD,
    crop_from_picture,
    crop_view,
    mirrored,
    normalised,
    warp,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def published(picture, centre, side, rotation_deg=0.0, scale=1.0, flip=False):
    """OpenCV 4.5.5's warp of the whole picture, as spec 3.5 writes it down."""
    if flip:
        picture, centre = picture[:, ::-1], mirrored(centre, picture.shape[1])
    square = crop_from_picture(
        np.asarray(centre, np.float32), np.float32(side) * np.float32(scale), rotation_deg
    )
    inverse = np.linalg.inv(np.vstack([square, [0, 0, 1]]))
    steps = np.arange(224)
    places = []
    for row in inverse[:2]:
        across = np.rint(row[0] * steps * 1024).astype(int)
        down = np.rint((row[1] * steps + row[2]) * 1024).astype(int) + 16
        places.append((down[:, None] + across) >> 5)
    (x, y), total = places, np.full((224, 224, 3), 16384)
    for step_y in (0, 1):
        for step_x in (0, 1):
            part_x, part_y = ((x & 31) / 32, (y & 31) / 32)
            weight = (part_x if step_x else 1 - part_x) * (part_y if step_y else 1 - part_y) * 32768
            column, row = (x >> 5) + step_x, (y >> 5) + step_y
            inside = (column >= 0) & (column < picture.shape[1]) & (row >= 0) & (row < picture.shape[0])
            values = picture[np.where(inside, row, 0), np.where(inside, column, 0)] * inside[..., None]
            total += weight.astype(int)[..., None] * values
    return total >> 15


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("centre", "side", "rotation_deg", "scale"),
    [
        ((200.3, 150.7), 180.0, 0.0, 1.0),
        ((200.3, 150.7), 180.0, 25.0, 1.2),
        ((20, 280), 300.0, -40.0, 0.8),  # partly outside
        ((200, 150), 3000.0, 10.0, 1.0),  # the picture is a speck
        ((199.5, 150.5), 3.0, 10.0, 1.0),  # less than a pixel a pixel
        ((5000, -900), 200.0, 0.0, 1.0),  # nothing of it
    ],
)
def test_crops_equal_the_published_arithmetic(centre, side, rotation_deg, scale, flip):
    found = warp(PICTURE, centre, side, rotation_deg=rotation_deg, scale=scale, flip=flip)

    np.testing.assert_array_equal(found, published(PICTURE, centre, side, rotation_deg, scale, flip))


def test_a_square_of_the_crop_s_size_is_cut_out():
    np.testing.assert_array_equal(warp(PICTURE, (150, 130), 224), PICTURE[18:242, 38:262])


def test_a_quarter_turn_swaps_the_axes():
    x, y = np.meshgrid(np.arange(224), np.arange(224))

    found = warp(PICTURE, (200, 150), 224, rotation_deg=90.0)

    np.testing.assert_array_equal(found, PICTURE[150 + x - 112, 200 - (y - 112)])


def test_no_more_of_a_picture_is_read_than_the_crop_shows():
    endless = np.broadcast_to(np.uint8(7), (10**6, 10**6, 3))  # 3 TB, if it were copied

    assert (warp(endless, (4e5, 6e5), 300.0, rotation_deg=20.0, flip=True) == 7).all()


def test_networks_see_the_crop_in_deviations_of_imagenet():
    gains = (0.8, 1.0, 1.2)

    found = crop_view(PICTURE, (200, 150), 224, gains=gains)

    bright = np.clip(PICTURE[38:262, 88:312] * np.array(gains), 0, 255)
    wanted = (bright / 255 - MEAN) / STD
    torch.testing.assert_close(found, torch.from_numpy(wanted).permute(2, 0, 1).float(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found, normalised(PICTURE[38:262, 88:312], gains))
