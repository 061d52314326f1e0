"""The VMC protocol's messages: trackers and bodies over OSC (protocol.vmc.info, version 2.8).

Unity's axes: left-handed, y up, metres; quaternions xyzw. They are ours mirrored in x, as in a headset's log:
SMPL's rest pose (T-pose, y up, facing +z, left arm along +x) becomes that of Unity's normalised figures
(facing +z, left arm along -x). In both no joint is turned at rest, so a bone's local rotation is its joint's,
mirrored.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.errors import DeviceError, UsageError, require
from avatarctl.geometry.shapes import expect
from avatarctl.motion.headset import MAX_PLACE
from avatarctl.motion.motion import Z_FROM_Y
from avatarctl.motion.tracking import Tracking, mirrored_places, mirrored_quaternions, to_devices

PERFORMER, MARIONETTE = 39540, 39539
"""Usual ports: of programs that make a body's motion from trackers, and of those that show it."""
_NAMES = (
    "Hips", "LeftUpperLeg", "RightUpperLeg", "Spine", "LeftLowerLeg", "RightLowerLeg", "Chest", "LeftFoot",
    "RightFoot", "UpperChest", "LeftToes", "RightToes", "Neck", "LeftShoulder", "RightShoulder", "Head",
    "LeftUpperArm", "RightUpperArm", "LeftLowerArm", "RightLowerArm", "LeftHand", "RightHand",
)  # fmt: skip
BONES = dict(zip(BODY, _NAMES, strict=True))
"""Unity's HumanBodyBones for the body joints."""
OK, TIME, ROOT, BONE = "/VMC/Ext/OK", "/VMC/Ext/T", "/VMC/Ext/Root/Pos", "/VMC/Ext/Bone/Pos"
HEADSET, CONTROLLER, TRACKER = "/VMC/Ext/Hmd/Pos", "/VMC/Ext/Con/Pos", "/VMC/Ext/Tra/Pos"
LOCAL = "/Local"
"""Ending of a device's address where places are in true metres, not scaled to an avatar."""
SERIALS = ("Headset", "LeftController", "RightController")
MAX_DATAGRAM = 1200
"""Bytes; larger ones are cut in pieces by the network, and lost whole with any piece."""

_BUNDLE = b"#bundle\0"
_IMMEDIATELY = struct.pack(">Q", 1)
_LEAST = {"i": 4, "f": 4, "s": 4, "h": 8, "d": 8, "T": 0, "F": 0, "N": 0}
"""Bytes that a value of each type takes at least."""


class Message(NamedTuple):
    """An OSC message."""

    address: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class DevicePose:
    """Where a device is, Unity's axes: `place` x, y, z in metres, `turn` a unit quaternion x, y, z, w."""

    kind: str
    """HEADSET, CONTROLLER or TRACKER."""
    is_local: bool
    serial: str
    place: tuple[float, ...]
    turn: tuple[float, ...]


def pack(messages: Sequence[Message]) -> list[bytes]:
    """The messages in their order as OSC bundles of at most `MAX_DATAGRAM` bytes, each for one datagram.

    Raises:
        DependencyError: python-osc is not installed.
    """
    builder = require("pythonosc.osc_message_builder", "live")
    bundles, size = [[_BUNDLE, _IMMEDIATELY]], 16
    for message in messages:
        content = builder.build_msg(message.address, message.values).dgram
        if size > 16 and size + 4 + len(content) > MAX_DATAGRAM:
            bundles.append([_BUNDLE, _IMMEDIATELY])
            size = 16
        bundles[-1] += [struct.pack(">i", len(content)), content]
        size += 4 + len(content)
    return [b"".join(parts) for parts in bundles]


def unpack(datagram: bytes) -> tuple[list[Message], int]:
    """The messages in a datagram in their order, and the number of its parts that are no OSC.

    Raises:
        DependencyError: python-osc is not installed.
    """
    # python-osc 1.10 reads messages here, not bundles: its reader never returns from an element of size -4,
    # reorders messages by time, and gives up a whole datagram for one bad element.
    reader = require("pythonosc.osc_message", "live")
    found, bad, waiting = [], 0, [memoryview(datagram)]
    while waiting:
        part = waiting.pop()
        if part[:8] == _BUNDLE:
            elements = list(_elements(part))
            waiting += [element for element in reversed(elements) if element is not None]
            bad += elements.count(None)
        elif _is_readable(content := bytes(part)):
            try:
                message = reader.OscMessage(content)
                found.append(Message(message.address, tuple(message.params)))
            except (reader.ParseError, ValueError):
                bad += 1
        else:
            bad += 1
    return found, bad


def device_pose(message: Message) -> DevicePose | None:
    """The device's pose that a message tells; None for other messages, and for a device that is not tracked.

    Raises:
        ValueError: Its values are not a name, a place and a unit quaternion; says which is wrong.
    """
    kind = message.address.removesuffix(LOCAL)
    if kind not in (HEADSET, CONTROLLER, TRACKER):
        return None
    values = message.values[:8]  # more values belong to later versions of the protocol
    if [type(value) for value in values] != [str, *[float] * 7]:
        kinds = ", ".join(type(value).__name__ for value in values) or "no values"
        raise ValueError(f"{message.address}: found {kinds}; expected a text and 7 floats")
    place, turn = values[1:4], values[4:]
    if not all(abs(value) <= MAX_PLACE for value in place):  # NaN compares false
        raise ValueError(f"{message.address}: place {place}; expected metres, up to {MAX_PLACE:g}")
    if not any(turn):
        return None
    length = math.hypot(*turn)
    if not abs(length - 1) <= 0.05:
        raise ValueError(f"{message.address}: rotation {turn}; expected a unit quaternion (x, y, z, w)")
    unit = tuple(value / length for value in turn)
    return DevicePose(kind, message.address.endswith(LOCAL), values[0], place, unit)


def tracker_messages(tracking: Tracking, seconds: float) -> list[Message]:
    """What a headset and two controllers send for the first of some frames.

    Args:
        seconds: The sender's clock.
    """
    places, turns = to_devices(tracking[:1])
    poses = torch.cat([places, turns], dim=-1)[0].tolist()
    kinds = (HEADSET, CONTROLLER, CONTROLLER)
    devices = [
        Message(kind, (serial, *pose)) for kind, serial, pose in zip(kinds, SERIALS, poses, strict=True)
    ]
    return [*devices, Message(TIME, (float(seconds),))]


def body_messages(local: Tensor, root: Tensor, rest: Tensor, seconds: float) -> list[Message]:
    """A body's pose: the model's root at the origin, all bones, then that it is whole, and the time.

    Args:
        local: Local rotations of the 22 body joints, z up [22, 3, 3].
        root: Translation of the body, z up, metres [3]: the pelvis stands at root + its rest place.
        rest: Joint places at rest, metres [22, 3].
        seconds: The sender's clock.
    """
    expect(local, "22 3 3", "local")
    axes = torch.tensor(Z_FROM_Y, dtype=torch.float64)
    rest, turns = rest.double(), local.double().clone()
    turns[0] = axes.T @ turns[0]
    places = rest - rest[list(BODY_PARENTS)]  # from the parent bone; the pelvis is set below
    places[0] = (root.double() + rest[0]) @ axes
    poses = torch.cat([mirrored_places(places), mirrored_quaternions(turns)], dim=-1).tolist()
    bones = [Message(BONE, (name, *pose)) for name, pose in zip(BONES.values(), poses, strict=True)]
    at_origin = Message(ROOT, ("root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return [at_origin, *bones, Message(OK, (1,)), Message(TIME, (float(seconds),))]


def receiving_socket(host: str, port: int) -> socket.socket:
    """A UDP socket that receives on one interface of this machine.

    Raises:
        DeviceError: The port is taken, or may not be used.
        UsageError: This machine has no such interface.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"--host {host}: no interface of this machine", hint="127.0.0.1 for this machine alone"
            ) from error
        raise DeviceError(
            f"port {port} of {host} cannot be used: {error.strerror}",
            hint="stop the program that has it, or take another --port and set the sender to it",
        ) from error
    return opened


@contextmanager
def sending(host: str, port: int) -> Iterator[Callable[[Sequence[Message]], None]]:
    """A function that sends messages, which do not wait and may get lost.

    Raises:
        UsageError: No machine has this name.
        DeviceError: The network does not take them.
    """
    try:
        address = socket.gethostbyname(host), port
    except OSError as error:
        hint = "check the name, or give the machine's address"
        raise UsageError(f"no machine '{host}' is known", hint=hint) from error
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:

        def send(messages: Sequence[Message]) -> None:
            for datagram in pack(messages):
                try:
                    opened.sendto(datagram, address)
                except OSError as error:
                    raise DeviceError(
                        f"sending to {host}:{port} failed: {error.strerror}", hint="check the network"
                    ) from error

        yield send


def _elements(bundle: memoryview) -> Iterator[memoryview | None]:
    """The contents of a bundle; None for a rest that cannot be cut into elements."""
    at = 16
    if len(bundle) < at:
        yield None
    while at < len(bundle):
        size = struct.unpack(">i", bundle[at : at + 4])[0] if len(bundle) >= at + 4 else -1
        if not 0 < size <= len(bundle) - at - 4:
            yield None
            return
        yield bundle[at + 4 : at + 4 + size]
        at += 4 + size


def _is_readable(content: bytes) -> bool:
    """Whether something is a whole message of types that the protocol has.

    Of other types python-osc warns each time; what is missing at the end it takes for zeros.
    """
    end = content.find(b"\0")
    if content[:1] != b"/" or end < 0:
        return False
    values = content[(end // 4 + 1) * 4 :]
    types = values.partition(b"\0")[0].decode("latin1")
    if not values:
        return True
    needed = (len(types) // 4 + 1) * 4 + sum(_LEAST.get(kind, len(values)) for kind in types[1:])
    return types[:1] == "," and needed <= len(values)
