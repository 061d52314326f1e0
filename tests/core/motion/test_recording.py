"""What is wrong with a recording is found, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarctl.motion.clips import clips
from avatarctl.motion.headset import UNITY_FROM, Reading, read_log
from avatarctl.motion.recording import check
from avatarctl.motion.tracking import Tracking, write_headset_log

CLIPS = ("walk_1", "run_3", "jump_4", "salsa_01_a", "martial_08_a", "traffic_1b", "zombie")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Recordings of perfect trackers in seven kinds of movement."""
    folder = tmp_path_factory.mktemp("logs")
    trackings = {name: Tracking.from_motion(clips()[name].motion().resampled(60.0)) for name in CLIPS}
    return {name: read_log(write_headset_log(one, folder / f"{name}.txt")) for name, one in trackings.items()}


@pytest.fixture
def walk(logs):
    return logs["walk_1"]


def found(log, reading=None, skip_first=0, **words):
    return check(log, reading or Reading(), skip_first=skip_first, **words)


def about(log, **words):
    return {finding.about: finding for finding in found(log, **words)}


def in_axes(log, axes):
    """The log as a program with other axes would have written it."""
    turn = torch.tensor(UNITY_FROM[axes], dtype=torch.float64)
    vector = log.quaternions[..., :3] @ turn * torch.linalg.det(turn)
    quaternions = torch.cat([vector, log.quaternions[..., 3:]], dim=-1)
    return replace(log, positions=log.positions @ turn, quaternions=quaternions)


def swapped(log):
    return replace(log, positions=log.positions[:, [0, 2, 1]], quaternions=log.quaternions[:, [0, 2, 1]])


def wxyz(log):
    return replace(log, quaternions=log.quaternions.roll(1, dims=-1))


def scaled(log, factor):
    return replace(log, positions=log.positions * factor)


@pytest.mark.parametrize("name", CLIPS)
def test_nothing_serious_is_found_in_real_movements(logs, name):
    assert [finding.line() for finding in found(logs[name]) if finding.severity == "serious"] == []


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize(
    ("change", "options"),
    [
        (swapped, {"swap_hands": True}),
        (lambda log: in_axes(log, "gltf"), {"swap_hands": True}),  # looks the same; the advice names both
        (lambda log: in_axes(log, "unreal"), {"axes": "unreal"}),
        (wxyz, {"quaternions": "wxyz"}),
        (lambda log: wxyz(in_axes(log, "openxr")), {"axes": "openxr", "quaternions": "wxyz"}),
        (lambda log: scaled(log, 100), {"units": "cm"}),
        (lambda log: scaled(log, 1000), {"units": "mm"}),
        (lambda log: scaled(log, 1 / 0.3048), {"units": "ft"}),
    ],
    ids=["swapped", "gltf", "unreal", "wxyz", "wxyz in openxr", "cm", "mm", "ft"],
)
def test_a_miswritten_recording_is_recognised_and_its_remedy_mends_it(logs, name, change, options):
    log = change(logs[name])
    serious = [finding for finding in found(log) if finding.severity == "serious"]
    assert [dict(finding.options) for finding in serious] == [options]
    reading = Reading(
        axes=options.get("axes", "unity"),
        units=options.get("units", "m"),
        wxyz="quaternions" in options,
        swap_hands="swap_hands" in options,
    )
    assert not [finding for finding in found(log, reading) if finding.severity == "serious"]


@pytest.mark.parametrize("name", ["salsa_01_a", "martial_08_a", "traffic_1b", "zombie", "run_3"])
def test_right_handed_axes_show_where_hands_are_ahead(logs, name):
    """Hands that hang beside the body, as in walk_1, do not tell."""
    finding = about(in_axes(logs[name], "openxr"))["axes"]
    assert finding.options == {"axes": "openxr"}


def test_a_floor_elsewhere_is_found_and_mended(walk):
    eyes = replace(walk, positions=walk.positions - torch.tensor([0.0, 1.5, 0.0]))
    finding = about(eyes)["floor"]
    assert finding.options["floor"] == pytest.approx(-1.5, abs=0.15)  # heads are not all 1.6 m high
    assert "floor" not in about(eyes, reading=Reading(floor=float(finding.options["floor"])))


def test_a_headset_that_is_put_on_late_asks_for_more_frames_to_be_dropped(walk):
    positions = walk.positions.clone()
    positions[:40, 0, 1] = 0.7  # on the table
    log = replace(walk, positions=positions)
    assert about(log, skip_first=10)["start"].options == {"skip_first": "40"}
    assert "start" not in about(log, skip_first=40)


def test_lost_hands_are_serious_when_long_and_named_by_line(walk):
    lost = walk.lost.clone()
    lost[20:30, 1] = True
    short = about(replace(walk, lost=lost))["tracking"]
    assert (short.severity, short.options) == ("warning", {"lost_hands": "interpolate"})
    lost[60:120, 1] = True
    long = about(replace(walk, lost=lost))["tracking"]
    assert long.severity == "serious"
    assert "lost 2 times, 1.2 s in all; longest 1.0 s, lines 121 to 239" in long.found
    assert not about(replace(walk, lost=lost), lost_hands="hold")["tracking"].options


def test_repeated_frames_jumps_and_odd_rates_are_found(walk):
    positions = walk.positions.clone()
    positions[40:60] = positions[39]
    assert (
        "longest stretch 20 frames, from line 79" in about(replace(walk, positions=positions))["frozen"].found
    )
    positions = walk.positions.clone()
    positions[80:] += torch.tensor([0.7, 0.0, 0.0])
    assert "first at line 161" in about(replace(walk, positions=positions))["jumps"].found
    fast = replace(walk, fps=torch.full_like(walk.fps, 72.0))
    assert about(fast)["rate"].severity == "note"
    native = about(fast, rate="native")["rate"]
    assert (native.severity, native.options) == ("warning", {"rate": "resample"})
    assert "17 % too small" in native.means
    drifting = replace(walk, fps=torch.linspace(40, 72, len(walk), dtype=torch.float64))
    assert "could not keep up" in next(one.means for one in found(drifting))


def test_missing_time_is_found(walk):
    times = walk.times.clone()
    times[100:] += 1 / 60
    times[150:] += 0.5
    gaps = [finding for finding in found(replace(walk, times=times)) if finding.about == "gaps"]
    assert [finding.severity for finding in gaps] == ["warning", "note"]
    assert "0.52 s at most, before line 301" in gaps[0].found
    assert "missing once, first before line 201" in gaps[1].found


def test_quaternions_off_unit_length_are_noted(walk):
    log = replace(walk, quaternions=walk.quaternions * 1.02)
    assert "2.0 % off unit length" in about(log)["rotations"].found


def test_two_frames_are_enough_to_look_at(walk):
    assert isinstance(found(walk[:2]), list)
    assert isinstance(found(walk[:3], skip_first=100), list)
