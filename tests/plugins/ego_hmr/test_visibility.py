"""Which joints count as seen, by keypoints and by the picture."""

from __future__ import annotations

import pytest
import torch
from avatarctl_ego_hmr.model.visibility import in_picture, visible

from avatarctl.device import Noise

HIPS, KNEES, FEET, HEAD = (1, 2), (4, 5), (7, 8, 10, 11), 15
OPEN_POSE_HIPS, OPEN_POSE_KNEES = (12, 9), (13, 10)


def seen(*keypoints: int, loosen: bool) -> set[int]:
    detected = torch.zeros(25, dtype=torch.bool)
    detected[list(keypoints)] = True
    return set(visible(detected, loosen).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("loosen", [False, True])
def test_root_and_spine_always_count_as_seen(loosen):
    assert seen(loosen=loosen) == {0, 3, 6, 9}


def test_hips_follow_their_own_keypoints_or_where_loosened_the_knees():
    assert seen(*OPEN_POSE_HIPS, loosen=False) >= set(HIPS)
    assert not seen(*OPEN_POSE_HIPS, loosen=True) & set(HIPS)
    assert seen(*OPEN_POSE_KNEES, loosen=True) >= {*HIPS, *KNEES}
    assert not seen(*OPEN_POSE_KNEES, loosen=False) & set(HIPS)


def test_left_and_right_are_not_mixed_up():
    """SMPL has left joints first, BODY_25 right ones."""
    assert seen(14, loosen=True) - seen(loosen=True) == {7, 10}
    assert seen(11, loosen=True) - seen(loosen=True) == {8, 11}
    assert seen(7, loosen=True) - seen(loosen=True) == {20, 22}
    assert seen(4, loosen=True) - seen(loosen=True) == {21, 23}


def test_detections_stay_as_they_were():
    detected = torch.zeros(2, 3, 25, dtype=torch.bool)
    assert visible(detected, loosen=True).shape == (2, 3, 24)
    assert not detected.any()


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_a_point_is_in_the_picture_where_its_pixel_is(leading):
    noise = Noise.seeded(0, "points")
    points = noise.normal((*leading, 40, 3)) + torch.tensor([0.0, 0.0, 4.0])
    focal, centre = 1000 + noise.normal(leading), torch.tensor([320.0, 240.0]).expand(*leading, 2)
    x = points[..., 0] / points[..., 2] * focal[..., None] + 320
    y = points[..., 1] / points[..., 2] * focal[..., None] + 240
    wanted = (x >= 0) & (x < 640) & (y >= 0) & (y < 480)
    assert torch.equal(in_picture(points, focal, centre, (640, 480)), wanted)
    assert wanted.any()
    assert not wanted.all()


def test_the_first_pixel_is_in_the_picture_and_the_one_after_the_last_is_not():
    corners = torch.tensor([[0.0, 0, 1], [639.999, 479.999, 1], [640, 0, 1], [0, 480, 1], [-0.001, 0, 1]])
    found = in_picture(corners, torch.tensor(1.0), torch.zeros(2), (640, 480))
    assert found.tolist() == [True, True, False, False, False]
