"""Tracker poses from the network: who is which hand, what is one frame, and frames at the networks' rate."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from avatarctl.errors import DataError
from avatarctl.motion import Tracking, resample, vmc
from avatarctl.motion.tracking import FPS, from_devices

GAP = 0.5
"""Seconds; after a longer pause the motion starts anew."""
SLACK = 0.001
"""Seconds by which a frame may come before the moment that it is taken for."""
WAITING = 256
"""Frames kept for a slow reader; older ones are lost."""
NAMED = 9
"""Devices that are left out and named."""
DEVICES = ("headset", "left", "right")

log = logging.getLogger("avatarctl.run")


@dataclass(frozen=True)
class Frame:
    """Headset, left and right controller at one moment, Unity's axes.

    `time` is of the sender's clock where it sends one with the poses, else of ours, seconds; `arrival` is
    when the last of the poses arrived, by `time.perf_counter`.
    """

    time: float
    arrival: float
    is_sent: bool
    """Whether `time` is of the sender's clock."""
    places: Tensor  # metres, float64 [3, 3]
    turns: Tensor  # unit quaternions xyzw, float64 [3, 4]


class Clock:
    """Moments of frames that come at a steady rate, from when they arrived: a loop that follows slowly."""

    def __init__(self) -> None:
        self._last, self._step = 0.0, 0.0

    def smooth(self, arrival: float) -> float:
        """The moment of a frame, seconds."""
        passed = arrival - self._last
        if not 0 <= passed < GAP:
            self._last, self._step = arrival, 0.0
        elif not self._step:
            self._last, self._step = arrival, passed
        else:
            count = max(1, round(passed / self._step))
            ahead = self._last + count * self._step
            self._last = ahead + 0.1 * (arrival - ahead)
            self._step += 0.005 * (arrival - ahead) / count
        return self._last


@dataclass
class Assembly:
    """Frames from single messages.

    A frame is whole when all three devices were heard of since the last one. Where the headset is heard of
    twice before a hand is, that hand is held: it keeps its last pose, and is counted.

    `names` are serials of headset, left and right device; where empty, /VMC/Ext/Hmd/Pos is the headset, and
    controllers whose serial has "left" or "right" in it are the hands; of others the first is the left one.
    """

    names: tuple[str, str, str] = ("", "", "")
    counts: Counter[str] = field(default_factory=Counter)
    others: set[str] = field(default_factory=set)
    """Serials of some devices that were left out."""
    _order: list[str] = field(default_factory=list)
    _poses: dict[int, vmc.DevicePose] = field(default_factory=dict)
    _new: set[int] = field(default_factory=set)
    _is_local: bool = False
    _last: tuple[float, float | None] = (0.0, None)
    _clock: Clock = field(default_factory=Clock)

    def put(self, datagram: bytes, arrival: float) -> list[Frame]:
        """The frames that a datagram makes whole."""
        messages, bad = vmc.unpack(datagram)
        for _ in range(bad):
            self._refuse("a part that is no OSC message")
        sent = next((time for time in map(_sent_time, reversed(messages)) if time is not None), None)
        frames = []
        for message in messages:
            try:
                pose = vmc.device_pose(message)
            except ValueError as error:
                self._refuse(str(error))
                continue
            if pose is None:
                continue
            device = self._device(pose)
            if device is None:
                if len(self.others) < NAMED:
                    self.others.add(pose.serial)
                continue
            if device == 0 and 0 in self._new and len(self._poses) == 3:
                self.counts["held"] += 3 - len(self._new)
                frames.append(self._frame(*self._last))
            self._poses[device] = pose
            self._new.add(device)
            self._last = arrival, sent
            self.counts[DEVICES[device]] += 1
            if len(self._new) == 3:
                frames.append(self._frame(arrival, sent))
        return frames

    def _device(self, pose: vmc.DevicePose) -> int | None:
        """Which of the three a pose is of; None for others and for places scaled to an avatar."""
        if (
            pose.is_local and not self._is_local
        ):  # the sender gives true metres too: take only those from now on
            self._is_local = True
            self._poses.clear()
            self._new.clear()
        if pose.is_local != self._is_local:
            return None
        if pose.serial and pose.serial in self.names:
            return self.names.index(pose.serial)
        if pose.kind == vmc.HEADSET:
            return None if self.names[0] else 0
        if pose.kind != vmc.CONTROLLER:
            return None
        sides = [side for side in DEVICES[1:] if side in pose.serial.lower()]
        if len(sides) == 1:
            device = DEVICES.index(sides[0])
        else:
            if pose.serial not in self._order and len(self._order) < 2:
                self._order.append(pose.serial)
            if pose.serial not in self._order:
                return None
            device = 1 + self._order.index(pose.serial)
        return None if self.names[device] else device

    def _frame(self, arrival: float, sent: float | None) -> Frame:
        self._new.clear()
        poses = [self._poses[device] for device in range(3)]
        if not self.counts["frames"]:
            log.info("headset '%s', left '%s', right '%s'", *(pose.serial[:40] for pose in poses))
        self.counts["frames"] += 1
        return Frame(
            self._clock.smooth(arrival) if sent is None else sent,
            arrival,
            sent is not None,
            torch.tensor([pose.place for pose in poses], dtype=torch.float64),
            torch.tensor([pose.turn for pose in poses], dtype=torch.float64),
        )

    def _refuse(self, why: str) -> None:
        if not self.counts["malformed"]:
            log.warning("ignored %s; more of the kind are counted in silence", why[:200])
        self.counts["malformed"] += 1


@dataclass(frozen=True)
class Sample:
    """The trackers at one moment of the 60 a second; `number` counts them, pauses included."""

    number: int
    arrival: float
    is_first: bool
    """Whether it follows a pause, so that it has no step from the one before."""
    tracking: Tracking  # one frame


class Resampler:
    """Samples at the networks' rate from frames at any rate, between each frame and the one before."""

    def __init__(self) -> None:
        self._before: Frame | None = None
        self._origin = self._start = 0.0
        self._arrival = 0.0
        self._number = self._next = 0

    def push(self, frame: Frame) -> list[Sample]:
        """The samples at the moments since the last frame."""
        before = self._before
        if before is None or not self._follows(before, frame):
            return self._restart(frame)
        self._before = frame
        wanted: list[int] = []
        while (self._next - self._number) / FPS <= frame.time - self._start + SLACK:
            wanted.append(self._next)
            self._next += 1
        if not wanted:
            return []
        moments = torch.tensor(wanted, dtype=torch.float64).sub(self._number).div(FPS).add(self._start)
        times = torch.tensor([before.time, frame.time], dtype=torch.float64)
        left, fraction = resample.between(times, moments)
        tracking = from_devices(
            resample.places_at(torch.stack([before.places, frame.places]), left, fraction),
            resample.rotations_at(torch.stack([before.turns, frame.turns]), left, fraction),
            FPS,
        )
        return [
            Sample(number, frame.arrival, False, tracking[index : index + 1])
            for index, number in enumerate(wanted)
        ]

    def _follows(self, before: Frame, frame: Frame) -> bool:
        """Whether a frame goes on with the motion; a clock that runs away does not."""
        strayed = (frame.time - self._start) - (frame.arrival - self._arrival)
        is_next = 0 < frame.time - before.time <= GAP and frame.is_sent == before.is_sent
        return is_next and abs(strayed) <= GAP

    def _restart(self, frame: Frame) -> list[Sample]:
        """The first sample of a stretch; none while more time was taken than has passed."""
        if self._before is None:
            self._origin = frame.arrival
        passed = round((frame.arrival - self._origin) * FPS)
        if self._next - passed > FPS * GAP:
            return []
        self._before, self._number = frame, max(self._next, passed)
        self._next = self._number + 1
        self._start, self._arrival = frame.time, frame.arrival
        tracking = from_devices(frame.places[None], frame.turns[None], FPS)
        return [Sample(self._number, frame.arrival, True, tracking)]


class Receiver(threading.Thread):
    """Frames from a socket; a thread of its own, so that arrivals are seen while an estimate is computed."""

    def __init__(self, opened: socket.socket, assembly: Assembly) -> None:
        super().__init__(daemon=True)
        self.assembly = assembly
        self.error: Exception | None = None
        self._socket = opened
        self._frames: deque[Frame] = deque(maxlen=WAITING)
        self._arrived = threading.Event()
        self._is_stopped = False
        opened.settimeout(0.1)

    def run(self) -> None:
        """Receive until `stop`."""
        try:
            while not self._is_stopped:
                try:
                    datagram = self._socket.recv(1 << 16)
                except TimeoutError:
                    continue
                frames = self.assembly.put(datagram, time.perf_counter())
                if frames:
                    self._frames += frames
                    self._arrived.set()
        except Exception as error:  # handed to the reader
            self.error = error
            self._arrived.set()

    def take(self, seconds: float) -> list[Frame]:
        """The frames since the last call; waits so long for one.

        Raises:
            DataError: The socket failed.
        """
        self._arrived.wait(seconds)
        self._arrived.clear()
        if isinstance(self.error, OSError):
            raise DataError(f"receiving failed: {self.error}", hint="start again") from self.error
        if self.error is not None:
            raise self.error
        return [self._frames.popleft() for _ in range(len(self._frames))]

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped = True
        self.join()


def _sent_time(message: vmc.Message) -> float | None:
    """The sender's clock, seconds, where a message tells it."""
    values = message.values
    is_time = message.address == vmc.TIME and bool(values) and isinstance(values[0], float)
    return values[0] if is_time and abs(values[0]) < 1e9 else None
