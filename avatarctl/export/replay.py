"""A recorded motion sent over the network at its rate, as if it happened now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from avatarctl.body import BodyModel
from avatarctl.body.tables import NUM_BODY
from avatarctl.errors import UsageError
from avatarctl.files import check_input_file
from avatarctl.geometry.rotations import matrix_from_axis_angle
from avatarctl.motion import Motion, Tracking, vmc
from avatarctl.motion.clips import clips
from avatarctl.motion.headset import is_log

LOOK = 0.1
"""Seconds between two looks whether to stop."""
Frame = Callable[[int, float], list[vmc.Message]]
"""The messages of a frame, by its number and the seconds since the start."""
Send = Callable[[Sequence[vmc.Message]], None]


def replay(
    count: int, fps: float, frame: Frame, send: Send, *, loop: bool, is_stopped: Callable[[], object]
) -> tuple[int, float]:
    """Send frames at their rate, once or until stopped; the number sent, and the longest delay in seconds."""
    sent, late, began = 0, 0.0, time.perf_counter()
    while not is_stopped() and (loop or sent < count):
        ahead = began + sent / fps - time.perf_counter()
        if ahead > LOOK:
            time.sleep(LOOK)
            continue
        time.sleep(max(0.0, ahead))
        late = max(late, -ahead)
        send(frame(sent % count, sent / fps))
        sent += 1
    return sent, late


def frames(clip: str | Path, kind: Literal["trackers", "body"], body: BodyModel) -> tuple[int, float, Frame]:
    """Number of a clip's frames, their rate, and what tells each one's messages.

    Args:
        clip: Motion file or headset log, or the name of an embedded clip.
        kind: What to send of it.
        body: Whose skeleton moves.

    Raises:
        DataError: The file cannot be read.
        UsageError: The body of a headset log is wanted.
    """
    found = _read(clip, body)
    if isinstance(found, Tracking):
        if kind == "body":
            raise UsageError(
                f"{clip}: a headset log has no body to send",
                hint=f"avatarctl infer sparse {clip}, then send its motion.npz",
            )
        tracking = found
    elif kind == "trackers":
        tracking = Tracking.from_motion(found, body)
    else:
        motion = found.to_up("z", pelvis=body.rest_joints[0])
        local, rest = matrix_from_axis_angle(motion.body_poses()), body.rest_joints[:NUM_BODY]
        return len(motion), motion.fps, lambda i, at: vmc.body_messages(local[i], motion.root[i], rest, at)
    return len(tracking), tracking.fps, lambda i, at: vmc.tracker_messages(tracking[i : i + 1], at)


def _read(clip: str | Path, body: BodyModel) -> Motion | Tracking:
    """The embedded clip of a name, or the headset log or motion in a file."""
    if isinstance(clip, str):
        return clips()[clip].motion(body)
    path = check_input_file(clip, "a motion file or a headset log")
    return Tracking.read(path, rate="native", skip_first=0) if is_log(path) else Motion.read(path)
