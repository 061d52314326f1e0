"""`infer sparse --live`: tracker poses in, body poses out, over the network as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl import terminal
from avatarctl.body import BodyModel
from avatarctl.errors import DataError, DeviceError, require
from avatarctl.geometry.rotations import (
    axis_angle_from_quaternion,
    matrix_from_quaternion,
    quaternion_from_axis_angle,
    quaternion_from_matrix,
)
from avatarctl.motion import Motion, Tracking, resample, vmc
from avatarctl.motion.tracking import FPS, write_headset_log
from avatarctl_sparse_tracking import infer
from avatarctl_sparse_tracking.stream import Stream
from avatarctl_sparse_tracking.trackers import DEVICES, Assembly, Receiver, Resampler, Sample

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import Infer

KEPT_UP = 2
"""Moments that are estimated one after the other; older ones that wait are dropped."""
SHOWN = 0.5
"""Seconds between two looks at the rates on a terminal."""
PERCENTILES = (50, 95, 99)
WARM = 5
"""Frames before the first one."""


@dataclass
class Session:
    """What came, what was sent, and how long it took from the arrival of a frame's last pose."""

    stream: Stream
    send: Callable[[list[vmc.Message]], None]
    rest: Tensor
    """Joint places of the body at rest, metres [22, 3]."""
    received: list[Sample] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """Moments that were estimated."""
    poses: list[Tensor] = field(default_factory=list)
    roots: list[Tensor] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Seconds."""
    dropped: int = 0
    _last: int = -1
    """Number of the sample that the stream had last."""

    def take(self, samples: Sequence[Sample]) -> None:
        """Estimate and send; of too many moments only the last ones, as if the others had not come."""
        self.received += samples
        late = max(0, len(samples) - KEPT_UP)
        self.dropped += late
        for index, sample in enumerate(samples):
            if sample.is_first:
                self.stream.reset()
                self._last = sample.number - 1
            if index >= late:
                self._estimate(sample)

    def _estimate(self, sample: Sample) -> None:
        frame = self.stream.push(sample.tracking, missed=sample.number - self._last - 1)
        self._last = sample.number
        if frame is None:
            return
        self.send(vmc.body_messages(frame.rotations, frame.root, self.rest, sample.number / FPS))
        self.latencies.append(time.perf_counter() - sample.arrival)
        self.numbers.append(sample.number)
        self.poses.append(frame.poses)
        self.roots.append(frame.root)

    def percentiles(self, first: int = 0) -> dict[str, float]:
        """Latencies in milliseconds, from one moment on."""
        values = 1000 * torch.tensor(self.latencies[first:], dtype=torch.float64)
        found = torch.quantile(values, torch.tensor(PERCENTILES, dtype=torch.float64) / 100)
        return {f"p{name}_ms": round(float(value), 2) for name, value in zip(PERCENTILES, found, strict=True)}

    def motion(self, gender: str) -> Motion:
        """The estimated motion at 60 frames a second; what was dropped lies between its neighbours."""
        poses, roots = torch.stack(self.poses), torch.stack(self.roots)
        if len(poses) <= self.numbers[-1] - self.numbers[0]:
            turns, roots = _filled(self.numbers, quaternion_from_axis_angle(poses), roots)
            poses = axis_angle_from_quaternion(turns)
        return Motion(poses=poses, root=roots, fps=FPS, gender=gender)

    def tracking(self) -> Tracking:
        """The received poses at 60 frames a second; pauses are bridged."""
        turns = torch.cat([quaternion_from_matrix(sample.tracking.rotations) for sample in self.received])
        places = torch.cat([sample.tracking.positions for sample in self.received])
        turns, places = _filled([sample.number for sample in self.received], turns, places)
        return Tracking(matrix_from_quaternion(turns), places, FPS)


def run(settings: Infer, run: Run) -> None:
    """Estimate and send until stopped, then write what came and what was estimated.

    Raises:
        DependencyError: python-osc is not installed.
        DeviceError: The port is taken, or the network fails.
        DataError: No poses came.
    """
    require("pythonosc", "live")
    body = run.bodies.load("smplh", "male", settings.body_models)
    model = infer.load(settings, run, body)
    stream = Stream(
        model, model.seeded(run.seed) if settings.noise == "seeded" else None, refine=settings.refine
    )
    _warm(stream)
    assembly = Assembly((settings.headset, settings.left, settings.right))
    with (
        vmc.receiving_socket(settings.host, settings.port) as opened,
        vmc.sending(settings.send_host, settings.send_port) as send,
    ):
        session = Session(stream, send, model.rest)
        receiver = Receiver(opened, assembly)
        _announce(settings, run)
        receiver.start()
        try:
            _follow(receiver, session, settings, run)
        except DeviceError:  # the network went away; what came until then is kept
            if session.numbers:
                _write(session, assembly, body, settings, run)
            raise
        finally:
            receiver.stop()
    _write(session, assembly, body, settings, run)


def _warm(stream: Stream) -> None:
    """Compute a few frames for nothing, as the first ones take longer."""
    still = Tracking(torch.eye(3).double().expand(1, 3, 3, 3), torch.zeros(1, 3, 3).double(), FPS)
    for _ in range(WARM):
        stream.push(still)
    stream.reset()


def _announce(settings: Infer, run: Run) -> None:
    run.log.info(
        "tracker poses come to %s:%d, body poses go to %s:%d; Ctrl-C stops",
        *(settings.host, settings.port, settings.send_host, settings.send_port),
    )
    if not settings.host.startswith("127.") and settings.host != "localhost":
        run.log.warning(
            "--host %s: every machine that reaches this one can send poses; the protocol has no password",
            settings.host,
        )


def _follow(receiver: Receiver, session: Session, settings: Infer, run: Run) -> None:
    """Until Ctrl-C, SIGTERM, `--seconds` or `--patience`."""
    resampler, heard, began = Resampler(), time.perf_counter(), None
    with _shown(session, run) as show:
        run.stop.is_deferred = True
        while not run.stop.signal:
            frames = receiver.take(0.1)
            now = time.perf_counter()
            if frames:
                heard, began = now, began or now
                session.take([sample for frame in frames for sample in resampler.push(frame)])
                show(now)
            if settings.patience and now - heard > settings.patience:
                run.log.info("no pose has come for %g s", settings.patience)
                break
            if settings.seconds and began and now - began > settings.seconds:
                break
        run.stop.is_deferred = False


@contextmanager
def _shown(session: Session, run: Run) -> Iterator[Callable[[float], None]]:
    """A function that shows rates and latencies: a line on a terminal, a line every ten seconds elsewhere."""
    if run.quiet:
        yield lambda now: None
        return
    is_terminal = terminal.err().is_terminal
    every = SHOWN if is_terminal else terminal.LINE_SECONDS
    last, seen = 0.0, 0
    with terminal.err().status("waiting for tracker poses", refresh_per_second=2) as status:

        def show(now: float) -> None:
            nonlocal last, seen
            last = last or now
            if now - last < every or len(session.latencies) == seen:
                return
            rate, times = (len(session.latencies) - seen) / (now - last), session.percentiles(seen)
            words = "  ".join(f"{name.removesuffix('_ms')} {value:.1f}" for name, value in times.items())
            line = f"{rate:.0f} frames/s  latency {words} ms  dropped {session.dropped}"
            last, seen = now, len(session.latencies)
            if is_terminal:
                status.update(line)
            else:
                run.log.info("%s", line)

        yield show


def _write(session: Session, assembly: Assembly, body: BodyModel, settings: Infer, run: Run) -> None:
    """The received and the estimated motion, and the numbers."""
    counts = {name: assembly.counts[name] for name in (*DEVICES, "held", "malformed")}
    if not session.numbers:
        raise _nothing(counts, assembly, settings)
    run.output(write_headset_log(session.tracking(), run.path("trackers.txt")), "trackers")
    motion = session.motion("male")
    run.save("motion.npz", motion)
    if settings.video:
        run.save("video.mp4", run.render.motion(motion, body))
    run.report(
        frames=len(session.numbers),
        seconds=round(motion.seconds, 3),
        **session.percentiles(),
        max_ms=round(1000 * max(session.latencies), 2),
        dropped=session.dropped,
        **{f"{name}_poses": counts[name] for name in DEVICES},
        held=counts["held"],
        malformed=counts["malformed"],
    )


def _nothing(counts: dict[str, int], assembly: Assembly, settings: Infer) -> DataError:
    """Why there is no motion, and what to do."""
    words = [f"{name} {counts[name]}" for name in (*DEVICES, "malformed")]
    others = ", ".join(sorted(assembly.others))
    hint = f"try it with another terminal: avatarctl export vmc walk_2 --port {settings.port}"
    if others:
        words.append(f"other devices {others[:200]}")
        hint = "say which is which with --headset, --left, --right SERIAL"
    where = f"{settings.host}:{settings.port}"
    return DataError(f"too few tracker poses came to {where}: {', '.join(words)}", hint=hint)


def _filled(numbers: Sequence[int], turns: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Quaternions wxyz [M, ..., 4] and points [M, ...] of all moments from those of some, in their order."""
    if len(numbers) < 2:
        return turns, places
    times = torch.tensor(numbers, dtype=torch.float64).sub(numbers[0]).div(FPS)
    left, fraction = resample.between(times, resample.grid(float(times[-1]), FPS))
    return resample.rotations_at(turns, left, fraction), resample.places_at(places, left, fraction)
