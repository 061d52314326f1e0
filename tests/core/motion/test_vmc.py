import math
import random
import struct

import numpy as np
import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.errors import DeviceError, UsageError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl.motion import Motion, Tracking, vmc
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import from_devices

UNITY_PARENTS = {
    "Hips": "root", "Spine": "Hips", "Chest": "Spine", "UpperChest": "Chest", "Neck": "UpperChest",
    "Head": "Neck", "LeftShoulder": "UpperChest", "LeftUpperArm": "LeftShoulder",
    "LeftLowerArm": "LeftUpperArm", "LeftHand": "LeftLowerArm", "RightShoulder": "UpperChest",
    "RightUpperArm": "RightShoulder", "RightLowerArm": "RightUpperArm", "RightHand": "RightLowerArm",
    "LeftUpperLeg": "Hips", "LeftLowerLeg": "LeftUpperLeg", "LeftFoot": "LeftLowerLeg",
    "LeftToes": "LeftFoot", "RightUpperLeg": "Hips", "RightLowerLeg": "RightUpperLeg",
    "RightFoot": "RightLowerLeg", "RightToes": "RightFoot",
}  # fmt: skip
"""Humanoid bones as the VRM specification lists them, parents first."""
REST = open_body().rest_joints[:22]


@pytest.fixture(scope="module")
def motion() -> Motion:
    return clips()["salsa_11_a"].motion()


def sent(messages):
    """Messages as a receiver has them."""
    found, bad = [], 0
    for datagram in vmc.pack(messages):
        assert len(datagram) <= vmc.MAX_DATAGRAM
        inner, wrong = vmc.unpack(datagram)
        found += inner
        bad += wrong
    assert not bad
    return found


def turned(quaternion, vector):
    """A vector turned by a quaternion xyzw, as Unity's `quaternion * vector`."""
    axis, w = np.array(quaternion[:3]), quaternion[3]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


def product(a, b):
    """Unity's `a * b` of quaternions xyzw."""
    u, v = np.array(a[:3]), np.array(b[:3])
    return [*(a[3] * v + b[3] * u + np.cross(u, v)), a[3] * b[3] - u @ v]


def unity_places(messages):
    """World places of the bones by Unity's transform hierarchy."""
    poses = {one.values[0]: one.values[1:] for one in messages if one.address in (vmc.ROOT, vmc.BONE)}
    world = {"root": (np.array(poses["root"][:3]), list(poses["root"][3:]))}
    for bone, parent in UNITY_PARENTS.items():
        place, turn = world[parent]
        local = poses[bone]
        world[bone] = (place + turned(turn, np.array(local[:3])), product(turn, local[3:]))
    return {bone: place for bone, (place, _) in world.items()}


def test_bones_stand_where_our_joints_are(motion):
    local = matrix_from_axis_angle(motion.body_poses().double())
    places = forward_kinematics(local, REST.double(), BODY_PARENTS, motion.root.double())[1]
    for frame in range(0, len(motion), 50):
        found = unity_places(sent(vmc.body_messages(local[frame], motion.root[frame], REST, 0.0)))
        for joint, name in enumerate(BODY):
            x, y, z = places[frame, joint].tolist()  # z up, right-handed
            np.testing.assert_allclose(found[vmc.BONES[name]], [-x, z, -y], atol=2e-6)


def test_a_figure_at_rest_faces_ahead_with_its_left_hand_to_the_left():
    rest = Motion(torch.zeros(1, 22, 3), torch.zeros(1, 3), 60.0, up="y").to_up("z", pelvis=REST[0])
    local = matrix_from_axis_angle(rest.poses[0].double())
    messages = sent(vmc.body_messages(local, rest.root[0], REST, 0.0))
    turns = np.array([one.values[4:] for one in messages if one.address == vmc.BONE])
    np.testing.assert_allclose(turns, np.tile([0, 0, 0, 1], (22, 1)), atol=1e-6)
    found = unity_places(messages)
    assert found["LeftHand"][0] < -0.4 < 0.4 < found["RightHand"][0]  # Unity: x to the right
    assert found["LeftToes"][2] > found["LeftFoot"][2] + 0.05  # z ahead
    assert found["Head"][1] > found["Hips"][1] + 0.4  # y up


def test_addresses_types_and_order_of_a_body():
    body = vmc.body_messages(torch.eye(3).expand(22, 3, 3), torch.zeros(3), REST, 1.5)
    first, last = vmc.pack(body)
    assert first.startswith(b"#bundle\0" + b"\0" * 7 + b"\1")  # to be taken at once
    assert b"/VMC/Ext/Root/Pos\0\0\0,sfffffff\0\0\0root\0\0\0\0" in first
    both = first + last
    assert both.count(b"/VMC/Ext/Bone/Pos\0\0\0,sfffffff\0\0\0") == 22
    assert both.index(b"Hips\0\0\0\0") < both.index(b"LeftUpperLeg\0\0\0\0")
    assert last.endswith(
        b"/VMC/Ext/OK\0,i\0\0\0\0\0\1" + b"\0\0\0\x14/VMC/Ext/T\0\0,f\0\0" + struct.pack(">f", 1.5)
    )


def test_addresses_and_types_of_trackers(motion):
    tracking = Tracking.from_motion(motion)
    (datagram,) = vmc.pack(vmc.tracker_messages(tracking[3:4], 2.0))
    assert b"/VMC/Ext/Hmd/Pos\0\0\0\0,sfffffff\0\0\0Headset\0" in datagram
    assert b"/VMC/Ext/Con/Pos\0\0\0\0,sfffffff\0\0\0LeftController\0\0" in datagram
    assert b"/VMC/Ext/Con/Pos\0\0\0\0,sfffffff\0\0\0RightController\0" in datagram


def test_trackers_come_back_as_they_were(motion):
    tracking = Tracking.from_motion(motion)[40:41]
    poses = [pose for one in sent(vmc.tracker_messages(tracking, 0.0)) if (pose := vmc.device_pose(one))]
    assert [pose.serial for pose in poses] == list(vmc.SERIALS)
    assert [pose.kind for pose in poses] == [vmc.HEADSET, vmc.CONTROLLER, vmc.CONTROLLER]
    places = torch.tensor([pose.place for pose in poses], dtype=torch.float64)
    turns = torch.tensor([pose.turn for pose in poses], dtype=torch.float64)
    found = from_devices(places[None], turns[None], 60.0)
    torch.testing.assert_close(found.positions, tracking.positions, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.rotations, tracking.rotations, rtol=0, atol=1e-5)


def message(
    address="/VMC/Ext/Con/Pos", serial="a", place=(0.0, 1.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0), more=()
):
    return vmc.Message(address, (serial, *place, *turn, *more))


def test_device_poses_of_every_kind_are_read():
    for address, kind in (("Hmd", vmc.HEADSET), ("Con", vmc.CONTROLLER), ("Tra", vmc.TRACKER)):
        pose = vmc.device_pose(message(f"/VMC/Ext/{address}/Pos"))
        assert (pose.kind, pose.is_local) == (kind, False)
        pose = vmc.device_pose(message(f"/VMC/Ext/{address}/Pos/Local", more=(1, "later")))
        assert (pose.kind, pose.is_local) == (kind, True)
    assert vmc.device_pose(message(turn=(0.0, 0.0, 0.0, 0.0))) is None  # lost
    # Controller buttons are other messages, and so are bones.
    assert vmc.device_pose(vmc.Message("/VMC/Ext/Con", (1, "A", 1, 1, 0, 0.0, 0.0, 0.0))) is None
    assert vmc.device_pose(message("/VMC/Ext/Bone/Pos")) is None
    assert vmc.device_pose(message(turn=(0.0, 0.0, 0.6, 0.83))).turn == pytest.approx(
        [0, 0, 0.6 / math.hypot(0.6, 0.83), 0.83 / math.hypot(0.6, 0.83)]
    )


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (vmc.Message("/VMC/Ext/Con/Pos"), "no values"),
        (message(serial=7), "found int"),
        (message(place=(0, 1, 0)), "expected a text and 7 floats"),
        (message(place=(0.0, math.nan, 0.0)), "place"),
        (message(place=(0.0, 1e9, 0.0)), "up to 100"),
        (message(turn=(0.0, 0.0, 0.0, math.inf)), "unit quaternion"),
        (message(turn=(0.0, 0.0, 0.0, 3.0)), "unit quaternion"),
        (vmc.Message("/VMC/Ext/Hmd/Pos", ("a", 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), "7 floats"),
    ],
)
def test_malformed_poses_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        vmc.device_pose(bad)


GOOD = vmc.pack([vmc.Message("/VMC/Ext/OK", (1,))])[0]
HEAD = GOOD[:16]


@pytest.mark.parametrize(
    ("datagram", "messages", "bad"),
    [
        (b"", 0, 1),
        (b"hello, this is no OSC", 0, 1),
        (HEAD[:12], 0, 1),
        (HEAD, 0, 0),
        (HEAD + struct.pack(">i", -4), 0, 1),
        (HEAD + struct.pack(">i", 0), 0, 1),
        (HEAD + struct.pack(">i", 2**31 - 1) + b"/VMC", 0, 1),
        (GOOD[:-2], 0, 1),
        (GOOD + GOOD[16:], 2, 0),
        (HEAD + struct.pack(">i", len(GOOD)) + GOOD + GOOD[16:], 2, 0),
        (GOOD + struct.pack(">i", 8) + b"/a\0\0,?\0\0" + GOOD[16:], 2, 1),
        (b"/VMC/Ext/T\0\0,f\0\0", 0, 1),
        (b"/VMC/Ext/Blend/Apply\0\0\0\0", 1, 0),
        (b"/\xff\xff\0,i\0\0\0\0\0\1", 0, 1),
    ],
)
def test_what_is_no_osc_is_counted(datagram, messages, bad):
    found, count = vmc.unpack(datagram)
    assert (len(found), count) == (messages, bad)


def test_bundles_in_bundles_without_end_are_read():
    datagram = b""
    while len(datagram) < 60_000:
        datagram = HEAD + struct.pack(">i", len(datagram)) * bool(datagram) + datagram
    assert vmc.unpack(datagram) == ([], 0)


def test_damaged_datagrams_never_raise(motion):
    rng = random.Random(0)
    datagrams = vmc.pack(vmc.tracker_messages(Tracking.from_motion(motion[:1]), 0.0))
    for _ in range(2000):
        damaged = bytearray(rng.choice([*datagrams, GOOD]))
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        vmc.unpack(bytes(damaged[: rng.randint(1, len(damaged))]))


def test_a_taken_port_and_a_foreign_interface_are_told():
    with vmc.receiving_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(DeviceError, match=f"port {port} of 127.0.0.1 cannot be used"):
            vmc.receiving_socket("127.0.0.1", port)
    with pytest.raises(UsageError, match="no interface of this machine"):
        vmc.receiving_socket("192.0.2.1", 0)  # reserved for documentation
    with pytest.raises(UsageError, match="no machine 'nobody"), vmc.sending("nobody.invalid", 39539):
        pass


def test_a_network_that_does_not_send_is_told():
    with vmc.sending("255.255.255.255", 39539) as send, pytest.raises(DeviceError, match=r"255.*failed"):
        send([vmc.Message(vmc.OK, (1,))])
