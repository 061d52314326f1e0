"""The embedded open body in each family's layout, and when it may not stand in."""

import pytest
import torch

from avatarctl.body import Bodies, open_body
from avatarctl.body.tables import PARENTS
from avatarctl.errors import AssetError


def test_the_body_of_smpl_is_that_of_smplh_with_stiff_hands():
    poses = 0.4 * torch.randn(3, 22, 3, generator=torch.Generator().manual_seed(0))

    small, large = (open_body(family).shape().pose(poses) for family in ("smpl", "smplh"))

    assert open_body("smpl").parents == PARENTS["smpl"]
    torch.testing.assert_close(small.joints[:, :22], large.joints[:, :22])
    torch.testing.assert_close(small.vertices(), large.vertices(), rtol=0, atol=1e-5)  # metres


def test_a_hand_of_smpl_carries_its_fingers():
    turn = torch.zeros(24, 3)
    turn[22, 2] = 1.0
    body = open_body("smpl")

    turned, rest = (body.shape().pose(poses).vertices() for poses in (turn, 0 * turn))
    moved = (turned - rest).norm(dim=-1)

    assert moved[body.weights[:, 22] > 0.9].mean() > 0.02
    assert moved[body.weights[:, 22] == 0].max() < 1e-6


def test_the_hand_joint_lies_among_the_bases_of_the_fingers():
    rest, hand = open_body("smplh").rest_joints, open_body("smpl").rest_joints[22]
    bases = rest[[22, 25, 28, 31]].mean(dim=0)  # index, middle, pinky, ring

    torch.testing.assert_close(hand, 0.15 * rest[20] + 0.85 * bases)


def test_the_open_body_stands_in_only_where_it_may(monkeypatch, tmp_path):
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path))
    bodies = Bodies()

    assert bodies.load("smpl", "male").is_open
    with pytest.raises(AssetError, match="'smpl' for gender 'male' was not found"):
        bodies.load("smpl", "male", is_licensed=True)
