"""Hands that were lost for a while are put where they may have been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarctl.errors import DataError
from avatarctl.motion.clips import clips
from avatarctl.motion.headset import HeadsetLog, read_log
from avatarctl.motion.lost import fill
from avatarctl.motion.tracking import Tracking, write_headset_log

FIRST, END = 60, 90


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A walk."""
    tracking = Tracking.from_motion(clips()["walk_1"].motion().resampled(60.0))
    return read_log(write_headset_log(tracking, tmp_path_factory.mktemp("log") / "log.txt"))


def dropped(log, hand=2, first=FIRST, end=END):
    """The log with a hand frozen where it was last seen."""
    positions, lost = log.positions.clone(), log.lost.clone()
    positions[first:end, hand] = positions[max(first - 1, 0), hand]
    lost[first:end, hand] = True
    return replace(log, positions=positions, lost=lost)


def errors(log, truth, hand=2):
    return (log.positions - truth.positions)[FIRST:END, hand].norm(dim=-1)


def test_keep_changes_nothing(truth):
    log = dropped(truth)
    assert fill(log, "keep") is log


@pytest.mark.parametrize("how", ["hold", "extrapolate", "interpolate", "mask"])
def test_a_lost_hand_comes_along_with_the_walker(truth, how):
    log = dropped(truth)
    found = fill(log, how)
    assert errors(found, truth).mean() < 0.5 * errors(log, truth).mean()
    assert torch.equal(found.positions[:FIRST], log.positions[:FIRST])
    assert torch.equal(found.positions[END:], log.positions[END:])
    assert torch.equal(found.positions[:, :2], log.positions[:, :2])
    assert (found.quaternions.norm(dim=-1) - 1).abs().max() < 1e-3


def test_a_held_hand_keeps_its_place_beside_a_head_that_turns():
    """A quarter turn about the vertical, with the right hand half a metre ahead."""
    angle = torch.linspace(0, torch.pi / 2, 20, dtype=torch.float64)
    half, zero = angle / 2, torch.zeros_like(angle)
    turn = torch.stack([zero, half.sin(), zero, half.cos()], dim=-1)
    ahead = torch.stack([angle.sin(), zero, angle.cos()], dim=-1)
    head = torch.stack([angle, zero + 1.6, zero], dim=-1)
    truth = torch.stack([head, head - ahead, head + 0.5 * ahead], dim=1)
    template = _log(truth, turn[:, None].expand(20, 3, 4))
    found = fill(dropped(template, first=5, end=15), "hold")
    torch.testing.assert_close(found.positions, truth, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.quaternions.abs(), template.quaternions.abs(), rtol=0, atol=1e-9)


def test_interpolation_meets_a_uniform_movement():
    """A hand that rises beside a head that stands still."""
    places = torch.zeros(20, 3, 3, dtype=torch.float64)
    places[:, 2, 1] = torch.linspace(0.5, 1.5, 20)
    log = _log(places, torch.tensor([0.0, 0.0, 0.0, 1.0]).double().expand(20, 3, 4))
    found = fill(dropped(log, first=5, end=15), "interpolate")
    torch.testing.assert_close(found.positions, places, rtol=0, atol=1e-6)


def test_extrapolation_starts_with_the_last_speed_and_comes_to_rest():
    places = torch.zeros(120, 3, 3, dtype=torch.float64)
    places[:, 2, 1] = torch.arange(120) / 60  # a metre a second
    log = _log(places, torch.tensor([0.0, 0.0, 0.0, 1.0]).double().expand(120, 3, 4))
    height = fill(dropped(log, first=20, end=120), "extrapolate").positions[:, 2, 1]
    steps = torch.diff(height)[19:]
    assert 0.8 / 60 < steps[0] < 1 / 60
    assert steps[-1] < 1e-6
    assert (torch.diff(steps) < 1e-12).all()


def test_a_hand_that_is_lost_from_the_start_waits_where_it_is_first_seen(truth):
    log = fill(dropped(truth, first=0, end=10), "hold")
    beside = log.positions[:11, 2] - log.positions[:11, 0]
    assert beside.std(dim=0).max() < 0.05


def test_hands_that_are_never_tracked_and_lost_heads_are_refused(truth):
    with pytest.raises(DataError, match="RightController: not tracked in any"):
        fill(dropped(truth, first=0, end=len(truth)), "hold")
    quaternions = truth.quaternions.clone()
    quaternions[30, 0] = 0
    with pytest.raises(DataError, match="line 61: Headset-Rotation"):
        fill(replace(truth, quaternions=quaternions), "hold")


def _log(positions, quaternions):
    count = len(positions)
    return HeadsetLog(
        times=torch.arange(count, dtype=torch.float64) / 60,
        fps=torch.full((count,), 60.0, dtype=torch.float64),
        positions=positions,
        quaternions=quaternions,
        lost=torch.zeros(count, 3, dtype=torch.bool),
        lines=torch.arange(count) + 1,
        path=Path("log.txt"),
    )
