"""`Motion` as a value: other rates, axes and skeletons of the same movement."""

from __future__ import annotations

import math

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.tables import NAMES
from avatarctl.errors import DataError
from avatarctl.motion import Motion


def turning(frames=13, fps=12.0):
    """A body whose spine turns about x at half a turn a second while it moves along y at 1 m/s."""
    seconds = torch.arange(frames, dtype=torch.float64) / fps
    poses = torch.zeros(frames, 22, 3, dtype=torch.float64)
    poses[:, 3, 0] = math.pi * seconds
    root = torch.zeros(frames, 3, dtype=torch.float64)
    root[:, 1] = seconds
    return Motion(poses, root, fps)


@pytest.mark.parametrize("fps", [5.0, 12.0, 30.0, 59.94])
def test_resampling_a_steady_turn_gives_the_turn_at_the_new_moments(fps):
    motion = turning().resampled(fps)
    seconds = torch.arange(len(motion), dtype=torch.float64) / fps
    assert len(motion) == math.floor(1.0 * fps + 1e-6) + 1  # the same span of one second
    torch.testing.assert_close(motion.poses[:, 3, 0], math.pi * seconds, rtol=0, atol=1e-9)
    torch.testing.assert_close(motion.root[:, 1], seconds, rtol=0, atol=1e-9)


def test_the_nearest_frames_are_taken_where_that_is_asked_for():
    motion = turning().resampled(6.0, method="nearest")
    assert torch.equal(motion.root, turning().root[::2])


def test_the_same_vertices_whichever_axis_is_up():
    body = open_body()
    generator = torch.Generator().manual_seed(0)
    motion = Motion(
        0.5 * torch.randn(3, 22, 3, generator=generator), torch.randn(3, 3, generator=generator), 30.0
    )

    other = motion.to_up("y")

    here = body.shape().pose(motion.poses, motion.root).joints
    there = body.shape().pose(other.poses, other.root).joints
    turned = torch.stack([there[..., 0], -there[..., 2], there[..., 1]], dim=-1)
    torch.testing.assert_close(turned, here, rtol=0, atol=1e-5)
    back = other.to_up("z")
    torch.testing.assert_close(back.poses, motion.poses, rtol=0, atol=1e-5)
    torch.testing.assert_close(back.root, motion.root, rtol=0, atol=1e-5)


def test_joints_keep_their_names_on_another_skeleton():
    values = torch.arange(55.0)[:, None].expand(55, 3)[None]
    motion = Motion(values, torch.zeros(1, 3), 30.0, skeleton="smplx")

    other = motion.to_skeleton("smplh")

    for joint, name in enumerate(NAMES["smplh"]):
        assert other.poses[0, joint, 0] == NAMES["smplx"].index(name)
    assert motion.to_skeleton("smpl").poses.shape == (
        1,
        22,
        3,
    )  # SMPL's one hand joint is none of the fingers
    assert (other.to_skeleton("smplx").poses[0, 22:25] == 0).all()  # jaw and eyes


def test_poses_and_root_must_be_of_the_same_frames():
    with pytest.raises(ValueError, match="root has shape"):
        Motion(torch.zeros(4, 22, 3), torch.zeros(3, 3), 30.0)


@pytest.mark.parametrize(
    ("motion", "words"),
    [
        (turning()[:0], "0 frames"),
        (turning().replace(root=torch.full((13, 3), math.nan)), "trans: frame 0: found nan"),
        (turning().replace(fps=0.0), "frame rate: found 0"),
    ],
)
def test_nothing_impossible_is_written_and_the_old_file_stays(tmp_path, motion, words):
    path = tmp_path / "motion.npz"
    path.write_text("old")
    with pytest.raises(DataError, match=words):
        motion.write(path)
    assert path.read_text() == "old"
