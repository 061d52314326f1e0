"""`infer sparse --live` over loopback, and its parts."""

import json
import logging
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from avatarctl_sparse_tracking import infer, pipeline
from avatarctl_sparse_tracking.live import Session
from avatarctl_sparse_tracking.settings import Infer
from avatarctl_sparse_tracking.stream import Frame, Stream
from avatarctl_sparse_tracking.trackers import Assembly, Resampler, Sample

from avatarctl.body import open_body
from avatarctl.builtin import export_vmc
from avatarctl.cli import target
from avatarctl.cli.main import main
from avatarctl.errors import DataError, DependencyError, DeviceError, UsageError
from avatarctl.export.settings import ExportVmc
from avatarctl.geometry.rotations import matrix_from_axis_angle, sixd_from_matrix
from avatarctl.motion import Motion, Tracking, vmc
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import write_headset_log
from avatarctl.runs import Run

REST = open_body().rest_joints[:22]
FRAMES = 40


@pytest.fixture(scope="module")
def motion() -> Motion:
    return clips()["dab"].motion().resampled(60.0)[:FRAMES]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


class Echo:
    """A stream that turns all joints by the number of the frame, and stands at the head."""

    def __init__(self):
        self.pushed, self.resets, self.is_first = [], 0, True

    def reset(self):
        self.resets, self.is_first = self.resets + 1, True

    def push(self, tracking, *, missed=0):
        self.pushed.append(missed)
        was_first, self.is_first = self.is_first, False
        pose = torch.tensor([0.0, 0.0, 0.01 * len(self.pushed)])
        turn = matrix_from_axis_angle(pose).expand(22, 3, 3)
        if was_first:
            return None
        sixd = sixd_from_matrix(turn).flatten()
        return Frame(sixd, turn, pose.expand(22, 3), tracking.positions[0, 0].float())


def test_too_many_moments_are_dropped_and_time_goes_on(motion):
    tracking, echo, sent = Tracking.from_motion(motion), Echo(), []
    session = Session(echo, sent.append, REST)
    samples = [
        Sample(number, time.perf_counter(), number == 0, tracking[number : number + 1])
        for number in range(12)
    ]
    session.take(samples[:2])
    session.take(samples[2:3])
    session.take(samples[3:11])
    session.take(samples[11:])
    assert session.numbers == [1, 2, 9, 10, 11]
    assert session.dropped == 6
    assert (echo.pushed, echo.resets) == ([0, 0, 0, 6, 0, 0], 1)
    found = session.motion("male")
    assert (len(found), found.fps) == (11, 60.0)
    frames = torch.tensor([2.0, 3, *(3 + step / 7 for step in range(1, 7)), 4, 5, 6])
    torch.testing.assert_close(found.poses[:, 5, 2], frames / 100, rtol=0, atol=1e-5)
    received = session.tracking()
    torch.testing.assert_close(received.positions, tracking.positions[:12], rtol=0, atol=1e-9)
    assert (len(session.latencies), len(sent)) == (5, 5)


def test_a_pause_makes_the_stream_begin_anew(motion):
    tracking, echo = Tracking.from_motion(motion), Echo()
    session = Session(echo, list, REST)
    for number, is_first in ((0, True), (1, False), (120, True), (121, False)):
        session.take([Sample(number, 0.0, is_first, tracking[:1])])
    session.take([Sample(number, 0.0, number == 200, tracking[:1]) for number in range(200, 205)])
    assert (echo.pushed, echo.resets) == ([0, 0, 0, 0, 3, 0], 3)
    assert session.numbers == [1, 121, 204]
    assert len(session.motion("male")) == 204
    assert len(session.tracking()) == 205


@contextmanager
def listening(port):
    """Datagrams that come to a port until the block ends, and shortly after."""
    found, done = [], threading.Event()
    with vmc.receiving_socket("127.0.0.1", port) as opened:
        opened.settimeout(0.2)

        def listen():
            while True:
                try:
                    found.append(opened.recv(1 << 16))
                except TimeoutError:
                    if done.is_set():
                        return

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield found
        finally:
            done.set()
            thread.join()


def messages_in(datagrams):
    return [message for datagram in datagrams for message in vmc.unpack(datagram)[0]]


def live(folder, weights, motion, *, before=(), then_stop=False, **settings):
    """Run live while a motion's trackers are sent; the run, and the body messages that came back."""
    port, back = free_port(), free_port()
    run, replayed = Run.standalone(folder), Run.standalone(folder / "replay")
    run.quiet = False
    clip = str(motion.write(folder / "clip.npz"))
    is_ready = threading.Event()

    def send():
        is_ready.wait()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
            for datagram in before:
                outward.sendto(datagram, ("127.0.0.1", port))
        export_vmc(ExportVmc(clip=clip, port=port), replayed)
        if then_stop:
            run.stop.signal = signal.SIGTERM

    handler = logging.Handler()
    handler.emit = lambda record: is_ready.set() if "tracker poses come" in record.getMessage() else None
    level = run.log.level
    run.log.addHandler(handler)
    run.log.setLevel(logging.INFO)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with listening(back) as found:
            given = {"patience": 1.5, "noise": "zero", **settings}
            infer.run(Infer(live=True, weights=str(weights), port=port, send_port=back, **given), run)
    finally:
        is_ready.set()
        run.log.removeHandler(handler)
        run.log.setLevel(level)
        sender.join()
    return run, messages_in(found)


def test_the_estimate_is_that_of_a_recording(motion, tiny_weights, tmp_path):
    tracking = Tracking.from_motion(motion)
    model = pipeline.load(str(tiny_weights), "cpu", open_body())
    assembly, resampler, sent = Assembly(), Resampler(), []
    session = Session(Stream(model, model.seeded(0)), sent.extend, model.rest)
    for number in range(FRAMES):
        messages = vmc.tracker_messages(tracking[number : number + 1], number / 60)
        for datagram in vmc.pack(messages):
            for frame in assembly.put(datagram, number / 60):
                session.take(resampler.push(frame))
    assert session.dropped == 0
    found = session.motion("male")
    came = Tracking(
        torch.cat([sample.tracking.rotations for sample in session.received]),
        torch.cat([sample.tracking.positions for sample in session.received]),
        60.0,
    )
    same = model(came, model.seeded(0))
    torch.testing.assert_close(found.poses, same.poses, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.root, same.root, rtol=0, atol=1e-5)

    motion.write(tmp_path / "dab.npz")
    offline = Infer(recording=tmp_path / "dab.npz", weights=str(tiny_weights))
    infer.run(offline, Run.standalone(tmp_path / "offline"))
    expected = Motion.read(tmp_path / "offline" / "motion.npz")
    # Messages hold float32.
    torch.testing.assert_close(found.root, expected.root, rtol=0, atol=1e-3)
    turns = [matrix_from_axis_angle(one.body_poses()) for one in (found, expected)]
    torch.testing.assert_close(*turns, rtol=0, atol=1e-3)

    hips = [one.values[1:4] for one in sent if one.address == vmc.BONE and one.values[0] == "Hips"]
    x, y, z = (found.root + model.rest[0]).unbind(-1)
    torch.testing.assert_close(torch.tensor(hips), torch.stack([-x, z, -y], dim=-1), rtol=0, atol=1e-4)


def test_live_over_loopback(motion, tiny_weights, tmp_path):
    tracking = Tracking.from_motion(motion)
    run, messages = live(tmp_path, tiny_weights, motion, before=[b"no OSC"])
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["malformed"] == 1
    assert numbers["headset_poses"] == numbers["left_poses"] == numbers["right_poses"] == FRAMES
    assert 0 < numbers["p50_ms"] <= numbers["p95_ms"] <= numbers["p99_ms"] <= numbers["max_ms"]
    assert 0 < numbers["frames"] == sum(message.address == vmc.OK for message in messages)
    assert {item["path"] for item in run.manifest.outputs} == {"motion.npz", "trackers.txt"}
    found = Motion.read(tmp_path / "motion.npz")
    assert found.fps == 60.0
    if not numbers["dropped"]:  # on a busy machine the last ones may be
        assert len(found) == FRAMES - 1
    # What was received can be estimated again.
    again = Tracking.read(tmp_path / "trackers.txt", rate="native", skip_first=0)
    assert abs(len(again) - FRAMES) <= 1
    torch.testing.assert_close(again.positions[:30], tracking.positions[:30], rtol=0, atol=1e-3)


def test_nothing_that_comes_is_told_with_what_to_try(tiny_weights, tmp_path):
    with pytest.raises(DataError, match=r"too few tracker poses .* headset 0, left 0, right 0") as caught:
        infer.run(
            Infer(live=True, weights=str(tiny_weights), port=free_port(), patience=0.2),
            Run.standalone(tmp_path),
        )
    assert "avatarctl export vmc walk_2 --port" in caught.value.hint
    assert not (tmp_path / "motion.npz").exists()


def test_a_taken_port_is_told(tiny_weights, tmp_path):
    with vmc.receiving_socket("127.0.0.1", 0) as taken:
        settings = Infer(live=True, weights=str(tiny_weights), port=taken.getsockname()[1])
        with pytest.raises(DeviceError, match="cannot be used"):
            infer.run(settings, Run.standalone(tmp_path))


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pythonosc", None)
    with pytest.raises(DependencyError) as caught:
        infer.run(Infer(live=True), Run.standalone(tmp_path))
    assert caught.value.hint == 'pip install "avatarctl[live]"'


@pytest.mark.parametrize(
    ("words", "said"), [("infer sparse --live", "infer sparse --live"), ("export vmc walk_2", "export vmc")]
)
def test_a_missing_package_is_told_before_there_is_a_run(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.setattr(target, "_is_installed", lambda name: name != "python-osc")
    assert main([*words.split(), "--out", str(tmp_path / "out")]) == 7
    assert f"{said} needs python-osc, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", [{"seconds": 0.3}, {"then_stop": True}], ids=["seconds", "signal"])
def test_it_ends_when_asked_to(ending, motion, tiny_weights, tmp_path):
    run, _ = live(tmp_path, tiny_weights, motion, patience=600, **ending)
    assert 0 < run.metrics["seconds"] < 1.5
    assert (tmp_path / "motion.npz").exists()


def test_a_recording_or_live_is_needed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "sparse"]) == 2
    assert "RECORDING is missing" in capsys.readouterr().err
    assert main(["infer", "sparse", "a.txt", "--live"]) == 3
    assert "--live takes no recording" in capsys.readouterr().err
    assert main(["infer", "sparse", "a.txt", "--port", "4000"]) == 3
    assert "port: found 4000, goes with --live only" in capsys.readouterr().err
    assert main(["infer", "sparse", "--live", "--video"]) == 3
    assert "--live makes no film" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("send", ["trackers", "body"])
def test_the_replay_sends_a_clip_at_its_rate(send, motion, tmp_path):
    port, run = free_port(), Run.standalone(tmp_path / "run")
    motion[:20].write(tmp_path / "dab.npz")
    with listening(port) as found:
        began = time.perf_counter()
        export_vmc(ExportVmc(clip=str(tmp_path / "dab.npz"), send=send, port=port, speed=2.0), run)
        took = time.perf_counter() - began
    messages = messages_in(found)
    times = [message.values[0] for message in messages if message.address == vmc.TIME]
    assert times == pytest.approx([number / 120 for number in range(20)], abs=1e-6)
    assert (run.metrics["frames"], run.metrics["seconds"]) == (20, round(20 / 120, 3))
    assert took >= 19 / 120
    expected = {"trackers": {vmc.HEADSET, vmc.CONTROLLER, vmc.TIME}}
    expected["body"] = {vmc.ROOT, vmc.BONE, vmc.OK, vmc.TIME}
    assert {message.address for message in messages} == expected[send]


def test_the_replay_takes_clips_and_logs_and_tells_what_is_neither(motion, tmp_path, monkeypatch):
    run = Run.standalone(tmp_path / "run")
    path = write_headset_log(Tracking.from_motion(motion[:5]), tmp_path / "1.txt")
    export_vmc(ExportVmc(clip=str(path), port=free_port(), speed=10), run)
    assert run.metrics["frames"] == 5
    with pytest.raises(UsageError, match="has no body"):
        export_vmc(ExportVmc(clip=str(path), send="body"), run)
    with pytest.raises(DataError, match="no embedded clip, did you mean walk_2"):
        export_vmc(ExportVmc(clip="wlak_2"), run)
    run.stop.signal = signal.SIGINT
    export_vmc(ExportVmc(clip="walk_2", loop=True, port=free_port()), run)
    assert run.metrics["frames"] == 0
