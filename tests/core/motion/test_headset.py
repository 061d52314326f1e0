"""Headset logs: what is written reads back, and broken logs are refused line by line."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarctl.body import open_body
from avatarctl.errors import DataError
from avatarctl.geometry.rotations import geodesic
from avatarctl.motion.clips import clips
from avatarctl.motion.headset import Reading, read_log, write_log
from avatarctl.motion.tracking import TRACKED, Tracking, write_headset_log

HALF_DIGIT = 5e-5
"""Four decimals."""


@pytest.fixture(scope="module")
def tracking():
    return Tracking.from_motion(clips()["walk_1"].motion())


@pytest.fixture
def log(tracking, tmp_path):
    return write_headset_log(tracking[:40], tmp_path / "12345.txt")


def test_perfect_trackers_are_the_bodys_joints():
    motion = clips()["walk_1"].motion()[:20]
    posed = open_body().shape().pose(motion.poses, motion.root)
    found = Tracking.from_motion(motion)
    torch.testing.assert_close(found.positions.float(), posed.joints[:, TRACKED], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.rotations.float(), posed.rotations[:, TRACKED], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", ["native", "resample"])
def test_a_written_log_reads_back(tracking, tmp_path, rate):
    path = write_headset_log(tracking, tmp_path / "12345.txt")

    back = Tracking.read(path, rate=rate, skip_first=0)

    assert (len(back), back.fps) == (len(tracking), 60.0)
    assert (back.positions - tracking.positions).abs().max() < 2 * HALF_DIGIT
    # Four quaternion numbers, each half a digit off, turn by up to about twice their length.
    assert geodesic(back.rotations, tracking.rotations).max() < 5 * HALF_DIGIT


def test_a_faster_recording_is_brought_to_60_frames_a_second(tracking, tmp_path):
    fast = tracking.resampled(90.0)
    back = Tracking.read(write_headset_log(fast, tmp_path / "log.txt"), skip_first=0)
    assert back.fps == 60.0
    count = min(len(back), len(tracking))
    assert (back.positions[:count] - tracking.positions[:count]).norm(dim=-1).max() < 0.005  # metres


def test_a_last_line_that_breaks_off_is_left_out_with_a_warning(log, caplog):
    text = log.read_text().rstrip()
    log.write_text(text[: len(text) - 60])
    with caplog.at_level(logging.WARNING):
        assert len(read_log(log)) == 39
    assert "breaks off" in caplog.text


@pytest.mark.parametrize(
    ("pattern", "by", "words"),
    [
        (r"FPS:[^;]*", "FPS:0", "line 3: FPS: found 0"),
        (r"FPS:[^;]*", "FPS:nan", "line 3: FPS"),
        (r"Headset-Position: \([^,]*", "Headset-Position: (1e9", "line 3: Headset-Position"),
        (r"Headset-Rotation: \([^)]*", "Headset-Rotation: (0, 0, 0, 0", "line 3: Headset-Rotation"),
        (
            r"LeftController-Rotation: \([^)]*",
            "LeftController-Rotation: (0, 1",
            "line 3: LeftController-Rotation",
        ),
        (r"RightController", "MiddleController", "line 3: RightController-Position"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_field(log, pattern, by, words):
    lines = log.read_text().splitlines()
    lines[2], count = re.subn(pattern, by, lines[2])
    assert count >= 1
    log.write_text("\n".join(lines))
    with pytest.raises(DataError, match=re.escape(words)) as failure:
        Tracking.read(log, skip_first=0)
    assert str(log) in failure.value.message


def test_other_texts_and_short_logs_are_refused(log, tmp_path):
    (tmp_path / "novel.txt").write_text("It was a dark night.\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in {
        "novel.txt": "dark night",
        "blank.txt": "blank lines",
        "bytes.txt": "is no text",
    }.items():
        with pytest.raises(DataError, match=words):
            read_log(tmp_path / name)
    with pytest.raises(DataError, match="40 frames, the first 100 are dropped"):
        Tracking.read(log)


def test_mutated_logs_give_data_errors_or_finite_signals(log):
    raw = log.read_bytes()[:8000]
    random = np.random.default_rng(0)
    alphabet = b"0123456789.-+eE(),;:\n nafiQ\x00\xff"
    refused = 0
    for _ in range(300):
        changed = bytearray(raw)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(changed)))
            kind = random.integers(3)
            if kind == 0:
                changed[at] = int(random.choice(list(alphabet)))
            elif kind == 1:
                del changed[at : at + int(random.integers(1, 30))]
            else:
                changed[at:at] = changed[at : at + int(random.integers(1, 30))]
        log.write_bytes(bytes(changed))
        try:
            found = Tracking.read(log, skip_first=0)
        except DataError:
            refused += 1
        else:
            assert torch.isfinite(found.features()).all()
    assert refused > 100


LOCAL = {
    "unity": ([1, 0, 0], [0, 1, 0], [0, 0, 1]),
    "openxr": ([1, 0, 0], [0, 1, 0], [0, 0, -1]),
    "gltf": ([-1, 0, 0], [0, 1, 0], [0, 0, 1]),
    "unreal": ([0, 1, 0], [0, 0, 1], [1, 0, 0]),
}
"""Right, up and ahead in each program's axes, from its documentation."""


@pytest.mark.parametrize("axes", LOCAL)
def test_devices_point_the_same_way_in_unitys_axes(axes, tmp_path):
    turns = Rotation.random(12, random_state=0).as_quat()  # xyzw
    places = np.random.default_rng(0).uniform(-1, 1, (4, 3, 3))
    numbers = torch.tensor(places), torch.tensor(turns.reshape(4, 3, 4))
    log = read_log(write_log(torch.full((4,), 60.0), *numbers, tmp_path / "log.txt"))

    found = log.read_as(Reading(axes=axes, units="cm"))

    seen = np.array(LOCAL[axes])  # rows: right, up, ahead
    np.testing.assert_allclose(found.positions, 0.01 * places @ seen.T, atol=1e-6)
    for unity, local in zip(np.eye(3), seen, strict=True):
        wanted = Rotation.from_quat(turns).apply(local) @ seen.T
        got = Rotation.from_quat(found.quaternions.reshape(-1, 4)).apply(unity)
        np.testing.assert_allclose(got, wanted, atol=1e-3)  # four decimals


def test_w_first_hands_swapped_and_another_floor(log):
    plain = read_log(log)
    lines = re.sub(r"Rotation: \(([^()]*), ([^,()]*)\)", r"Rotation: (\2, \1)", log.read_text())
    log.write_text(lines)
    found = read_log(log).read_as(Reading(wxyz=True, swap_hands=True, floor=-1.5))
    torch.testing.assert_close(found.quaternions, plain.quaternions[:, [0, 2, 1]])
    lifted = plain.positions[:, [0, 2, 1]] + torch.tensor([0.0, 1.5, 0.0])
    torch.testing.assert_close(found.positions, lifted.double())


def test_decimal_commas_are_read_as_points_with_a_warning(log, caplog):
    plain = read_log(log)
    log.write_text(re.sub(r"(\d)\.(\d)", r"\1,\2", log.read_text()))
    torch.testing.assert_close(read_log(log).positions, plain.positions)
    assert "decimal commas" in caplog.text


@pytest.mark.parametrize("average", ["rates", "times", "nothing"])
def test_time_that_is_missing_shows_in_the_running_average(tracking, tmp_path, average):
    took = np.full(60, 1 / 72)
    took[30] = 0.8
    value = {"rates": 1 / took, "times": took, "nothing": took}[average].copy()
    for frame in range(1, len(took)) if average != "nothing" else ():
        value[frame] = 0.9 * value[frame - 1] + 0.1 * value[frame]
    fps = torch.tensor(value if average == "rates" else 1 / value)
    zeros = torch.zeros(60, 3, 3), torch.tensor([0.0, 0, 0, 1]).expand(60, 3, 4)
    log = read_log(write_log(fps, *zeros, tmp_path / "log.txt"))
    steps = np.diff(log.times)
    # Rates with five decimals; 1 / 0.8 is a small part of the average, so their rounding counts.
    assert steps[29] == pytest.approx(0.8, rel=0.01)
    assert steps[:29] == pytest.approx(1 / 72, rel=0.01)


def test_devices_without_rotation_place_or_movement_are_lost(tracking, tmp_path):
    path = write_headset_log(tracking[:60], tmp_path / "log.txt")
    lines = path.read_text().split("\n\n")
    lines[5] = re.sub(r"(LeftController-Rotation): \([^)]*", r"\1: (0, 0, 0, 0", lines[5])
    lines[7] = re.sub(r"(Right\w*-Position): \([^)]*", r"\1: (0, 0, 0", lines[7])
    lines[7] = re.sub(r"(Right\w*-Rotation): \([^)]*", r"\1: (0, 0, 0, 1", lines[7])
    still = re.search(r"RightController-Position: \([^)]*", lines[20])[0]
    for frame in range(21, 31):
        lines[frame] = re.sub(r"RightController-Position: \([^)]*", still, lines[frame])
    path.write_text("\n\n".join(lines))

    lost = read_log(path).lost

    assert lost.nonzero().tolist() == [[5, 1], [7, 2], *([frame, 2] for frame in range(21, 31))]
    with pytest.raises(DataError, match=r"line 11: LeftController-Rotation: .* tracking was lost"):
        Tracking.read(path, skip_first=0)


def test_a_hand_that_comes_back_at_the_end_of_a_block_is_no_dropped_frame(tracking, tmp_path):
    frames = torch.arange(240).clamp(max=len(tracking) - 1)
    whole = Tracking(tracking.rotations[frames], tracking.positions[frames], 60.0)
    path = write_headset_log(whole, tmp_path / "log.txt")
    lines = path.read_text().split("\n\n")
    for frame in range(151, 200):
        lines[frame] = re.sub(r"(Left\w*-Position): \([^)]*", r"\1: (0, 0, 0", lines[frame])
        lines[frame] = re.sub(r"(Left\w*-Rotation): \([^)]*", r"\1: (0, 0, 0, 0", lines[frame])
    path.write_text("\n\n".join(lines))
    assert float(read_log(path).times[-1]) == pytest.approx(239 / 60, abs=1e-4)
