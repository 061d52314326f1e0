"""Frames from messages, steady moments from arrivals, samples at 60 a second."""

import logging
import math
import random

import pytest
import torch
from avatarctl_sparse_tracking.trackers import Assembly, Clock, Frame, Resampler

from avatarctl.motion import Tracking, vmc
from avatarctl.motion.clips import clips

AHEAD = (0.0, 0.0, 0.0, 1.0)


def device(kind, serial, x):
    return vmc.Message(kind, (serial, float(x), 1.0, 0.0, *AHEAD))


def head(x=0.0):
    return device(vmc.HEADSET, "hmd", x)


def hand(serial, x):
    return device(vmc.CONTROLLER, serial, x)


def put(assembly, *messages, at=1.0):
    """The frames that messages in one datagram make."""
    return [frame for datagram in vmc.pack(messages) for frame in assembly.put(datagram, at)]


def places(frame):
    return frame.places[:, 0].tolist()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("OculusLeftController", "OculusRightController", [0, 1, 2]),
        ("RightHandAnchor", "LeftHandAnchor", [0, 2, 1]),
        ("LHR-1", "LHR-2", [0, 1, 2]),  # by order
    ],
)
def test_hands_are_told_apart_by_name_then_by_order(first, second, expected):
    assembly = Assembly()
    (frame,) = put(assembly, head(0), hand(first, 1), hand(second, 2))
    assert places(frame) == expected
    (frame,) = put(assembly, hand(second, 2), head(0), hand(first, 1))  # the order later on does not matter
    assert places(frame) == expected


def test_serials_that_are_set_win():
    assembly = Assembly(("waist", "B", ""))
    tracker = device(vmc.TRACKER, "waist", 5)
    (frame,) = put(assembly, head(0), hand("B", 1), hand("A right one", 2), tracker)
    assert places(frame) == [5, 1, 2]
    assert not put(Assembly(), head(0), tracker, device(vmc.TRACKER, "left", 1), hand("right", 2))


def test_a_third_controller_is_left_out_and_the_three_are_told(caplog):
    assembly = Assembly()
    with caplog.at_level(logging.INFO, "avatarctl.run"):
        (frame,) = put(assembly, head(0), hand("a", 1), hand("b", 2), hand("c", 3))
    assert places(frame) == [0, 1, 2]
    assert caplog.messages == ["headset 'hmd', left 'a', right 'b'"]
    assert assembly.others == {"c"}


def test_messages_may_come_one_by_one():
    assembly, found = Assembly(), []
    for number in range(3):
        for index, message in enumerate((head(number), hand("left", number), hand("right", number))):
            found += put(assembly, message, at=number + index / 1000)
    assert [places(frame) for frame in found] == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert [frame.arrival for frame in found] == [0.002, 1.002, 2.002]
    assert not any(frame.is_sent for frame in found)


def test_a_hand_that_is_not_heard_of_is_held():
    assembly = Assembly()
    put(assembly, head(0), hand("left", 1), hand("right", 2), vmc.Message(vmc.TIME, (0.0,)))
    found = []
    for number in range(1, 5):
        clock = vmc.Message(vmc.TIME, (number / 4,))
        found += put(assembly, head(number), hand("left", 1 + number), clock, at=float(number))
    # Each is whole only when the headset is heard of again; the sender's clock stays with its poses.
    assert [places(frame) for frame in found] == [[1, 2, 2], [2, 3, 2], [3, 4, 2]]
    assert [(frame.time, frame.arrival) for frame in found] == [(0.25, 1.0), (0.5, 2.0), (0.75, 3.0)]
    assert assembly.counts["held"] == 3


def test_true_metres_are_taken_where_they_are_sent():
    assembly, found = Assembly(), []
    for number in range(2):
        for message in (head(9), hand("left", 9), hand("right", 9)):
            serial, _, *others = message.values
            local = vmc.Message(message.address + vmc.LOCAL, (serial, float(number), *others))
            found += put(assembly, message) + put(assembly, local)
    assert [places(frame) for frame in found] == [[0, 0, 0], [1, 1, 1]]


def test_the_sender_s_clock_is_taken_from_the_same_datagram():
    (frame,) = put(Assembly(), head(), hand("left", 1), hand("right", 2), vmc.Message(vmc.TIME, (12.5,)))
    assert (frame.time, frame.is_sent) == (12.5, True)
    for wrong in ((math.nan,), (math.inf,), ("12",), ()):
        (frame,) = put(Assembly(), head(), hand("left", 1), hand("right", 2), vmc.Message(vmc.TIME, wrong))
        assert not frame.is_sent


def test_malformed_poses_are_counted_and_told_once(caplog):
    assembly = Assembly()
    bad = vmc.Message(vmc.HEADSET, ("hmd", math.nan, 0.0, 0.0, *AHEAD))
    with caplog.at_level(logging.WARNING, "avatarctl.run"):
        assert not put(assembly, bad, bad, hand("left", 1), hand("right", 2))
        assert not assembly.put(b"\0\1\2", 0.0)
    assert assembly.counts["malformed"] == 3
    assert len(caplog.records) == 1
    assert "/VMC/Ext/Hmd/Pos: place (nan" in caplog.text
    assert len(put(assembly, head())) == 1  # it goes on


def test_many_serials_do_not_grow_without_end():
    assembly = Assembly()
    for number in range(1000):
        put(assembly, hand(f"{number}", 0))
    assert len(assembly._order) == 2
    assert len(assembly.others) < 20


def test_arrivals_that_tremble_give_steady_moments():
    rng, clock = random.Random(0), Clock()
    errors = []
    for number in range(1500):
        if number % 100 == 50:
            continue  # a lost datagram
        true = 5 + number / 72
        errors.append(clock.smooth(true + rng.uniform(0, 0.004)) - true - 0.002)
    steps = torch.tensor(errors[300:]).diff()
    raw = 0.004 / math.sqrt(6)  # deviation of the difference of two uniform numbers
    assert steps.std() < raw / 5
    assert torch.tensor(errors[300:]).abs().max() < 0.002


def line(fps, count, is_sent=True, start=100.0, arrival=7.0):
    """Frames of trackers that move along x by a metre a second, and turn by a radian a second about y."""
    found = []
    for number in range(count):
        t = number / fps
        turn = torch.tensor([0.0, math.sin(t / 2), 0.0, math.cos(t / 2)], dtype=torch.float64).expand(3, 4)
        place = torch.tensor([t, 1.0, 0.0], dtype=torch.float64).expand(3, 3)
        found.append(Frame(start + t, arrival + t, is_sent, place, turn))
    return found


@pytest.mark.parametrize("fps", [30.0, 60.0, 72.0, 90.0, 120.0])
def test_samples_are_sixty_a_second_whatever_the_rate(fps):
    resampler = Resampler()
    frames = line(fps, round(fps) + 1)
    samples = [sample for frame in frames for sample in resampler.push(frame)]
    assert [sample.number for sample in samples] == list(range(61))
    assert [sample.is_first for sample in samples] == [True] + [False] * 60
    x = torch.tensor([-sample.tracking.positions[0, 0, 0] for sample in samples])  # mirrored
    torch.testing.assert_close(x, torch.arange(61) / 60, rtol=0, atol=1e-4, check_dtype=False)
    cosines = torch.tensor([sample.tracking.rotations[0, 0, 0, 0] for sample in samples])
    torch.testing.assert_close(cosines, (torch.arange(61) / 60).cos(), rtol=0, atol=1e-4, check_dtype=False)
    # A sample is there as soon as the frame after its moment.
    waits = [sample.arrival - 7.0 - sample.number / 60 for sample in samples]
    assert -1e-3 < min(waits) <= max(waits) < 1 / fps


def test_frames_at_sixty_are_taken_as_they_are():
    motion = clips()["walk_2"].motion()[:40]
    tracking, assembly, resampler = Tracking.from_motion(motion), Assembly(), Resampler()
    for number in range(len(tracking)):
        messages = vmc.tracker_messages(tracking[number : number + 1], 3000 + number / 60)
        (frame,) = put(assembly, *messages, at=number / 60)
        (sample,) = resampler.push(frame)
        torch.testing.assert_close(
            sample.tracking.positions[0], tracking.positions[number], rtol=0, atol=3e-4
        )


def test_a_pause_starts_anew_and_keeps_its_time():
    resampler = Resampler()
    frames = line(60.0, 3) + line(60.0, 3, start=102.0, arrival=9.0)
    samples = [sample for frame in frames for sample in resampler.push(frame)]
    assert [sample.number for sample in samples] == [0, 1, 2, 120, 121, 122]
    assert [sample.is_first for sample in samples] == [True, False, False] * 2


@pytest.mark.parametrize(
    ("start", "is_sent"),
    [(3.0, True), (1e8, True), (100.0 + 3 / 60, False)],
    ids=["set back", "far ahead", "another clock"],
)
def test_a_clock_that_jumps_adds_no_time(start, is_sent):
    resampler = Resampler()
    frames = line(60.0, 3) + line(60.0, 3, is_sent=is_sent, start=start, arrival=7 + 3 / 60)
    numbers = [sample.number for frame in frames for sample in resampler.push(frame)]
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_a_clock_that_runs_away_is_held_by_arrivals():
    resampler, samples = Resampler(), []
    frame = line(60.0, 1)[0]
    for number in range(600):  # each frame says that 0.4 s passed; 1 ms did
        frame = Frame(frame.time + 0.4, 7 + number / 1000, True, frame.places, frame.turns)
        samples += resampler.push(frame)
    assert len(samples) < (0.6 + 2 * 0.5) * 60  # what passed, and half a second ahead of it twice
    (sample,) = resampler.push(Frame(frame.time, 12.0, True, frame.places, frame.turns))
    assert (sample.number, sample.is_first) == (round((12.0 - 7.0) * 60), True)
