"""What is wrong with a headset's recording, in numbers, and what to do about each of it.

Each check gives findings; none changes anything. What mends a recording is a setting that the user types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, get_args

import torch

from avatarctl.motion.headset import (
    BLOCK,
    DEVICES,
    FROZEN,
    METRES,
    Axes,
    HeadsetLog,
    Reading,
    Units,
    intervals,
)
from avatarctl.motion.lost import LostHands
from avatarctl.motion.stance import Stance

Option = str | bool | float
Severity = Literal["serious", "warning", "note"]
TAKEN_FPS = 60.0
"""Rate that the networks take every recording for."""
REACH = (0.2, 1.0)
"""Median distances of hands from the head that people have, metres; 0.35 to 0.75 in true clips."""
STANDING = (1.25, 2.05)
"""Median heights of the head of people who stand, metres."""
EYES = 1.6
"""Height of the eyes of an adult, metres, where a log does not know its floor."""
SETTLED = 0.35
"""Metres by which the head may differ from its usual height once the user stands."""
TELEPORT = 10.0
"""Metres a second; no head moves faster."""
SHORT_LOSS = 0.5
"""Seconds up to which a lost hand costs little (README, lost hands)."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    `found` says it in numbers, `means` what it means; `options` are settings that mend it, `advice` is what
    else to do.
    """

    severity: Severity
    about: str
    found: str
    means: str
    options: Mapping[str, Option] = field(default_factory=dict)
    advice: str = ""

    @property
    def remedy(self) -> str:
        """What to type, or to do."""
        return ", ".join(words for words in (typed(self.options), self.advice) if words)

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.about}: {self.found}: {self.means}" + (f"; try {self.remedy}" if self.remedy else "")


def typed(options: Mapping[str, Option]) -> str:
    """Settings as they are typed."""
    words = []
    for name, value in options.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            words.append(f"--{dashed} {value:g}" if isinstance(value, float) else f"--{dashed} {value}")
    return " ".join(words)


def check(
    raw: HeadsetLog,
    reading: Reading,
    *,
    skip_first: int,
    rate: Literal["resample", "native"] = "resample",
    lost_hands: LostHands = "keep",
) -> list[Finding]:
    """What is wrong with a recording, the most serious first.

    Args:
        raw: The log as it stands in its file.
        reading: How its numbers are taken.
        skip_first: Frames that are dropped at the start.
        rate: Whether frames are resampled or taken as they are.
        lost_hands: What is done about lost hands.
    """
    raw_kept = raw[skip_first:] if len(raw) > skip_first + 1 else raw
    stance = Stance.of(raw_kept.read_as(reading))
    fitting = _unit(stance.reach / METRES[reading.units])
    units = list(_units(stance, fitting))
    reading = replace(reading, units=fitting or reading.units)
    kept = raw_kept.read_as(reading)
    stance = Stance.of(kept)
    found = [
        *units,
        *_axes(raw_kept, reading, stance),
        *_floor(kept, reading, stance),
        *_settling(raw.read_as(reading), skip_first),
        *_lost(kept, lost_hands),
        *_frozen(kept),
        *_jumps(kept),
        *_rate(kept, rate == "native"),
        *_gaps(kept),
        *_norms(kept),
    ]
    return sorted(found, key=lambda finding: get_args(Severity).index(finding.severity))


def _unit(reach: float) -> Units | None:
    """The unit in which hands are as far from the head as people's; metres if they will do."""
    return next((unit for unit in get_args(Units) if REACH[0] <= reach * METRES[unit] <= REACH[1]), None)


def _units(stance: Stance, fitting: Units | None) -> Iterator[Finding]:
    if not REACH[0] <= stance.reach <= REACH[1]:
        yield Finding(
            "serious",
            "units",
            f"the hands are {stance.reach:.3g} metres from the head (median)",
            "people's are 0.35 to 0.75 metres away: another unit",
            {"units": fitting} if fitting else {},
            "" if fitting else "write the log in metres",
        )


def _axes(raw: HeadsetLog, reading: Reading, stance: Stance) -> Iterator[Finding]:
    """Which axis is up, which way is ahead, and which hand is which."""
    if not stance.is_upright:
        what = (
            f"the head's crown points up by {stance.crown:.2f} (people's: 0.6 to 1), "
            f"the head is above the hands by {stance.above:.2f} of their distance (0.2 to 1)"
        )
        means = "another axis is up, or quaternions are in another order"
    elif stance.is_backward:
        what = f"hands {100 * -stance.ahead:.0f} cm behind the head, pointing at the body"
        means = "ahead and back are mixed up: right-handed axes, not Unity's left-handed ones"
    elif stance.is_swapped:
        yield Finding(
            "serious",
            "hands",
            f"the left hand is on the right in {100 * stance.crossed:.0f} % of the frames",
            "controllers in the wrong hands; or a mirrored log, which looks the same (glTF's axes)",
            {"swap_hands": not reading.swap_hands},
            "or --axes gltf if the log was mirrored" if reading.axes == "unity" else "",
        )
        return
    else:
        return
    fitting = _fitting(raw, reading)
    advice = "" if fitting else "look at the picture, and write the log in Unity's axes"
    yield Finding("serious", "axes", what, means, fitting, advice)


def _fitting(raw: HeadsetLog, reading: Reading) -> dict[str, Option]:
    """Settings under which the devices stand as people's do, the best ones; none where there are none."""
    best, found = 0.0, {}
    for axes, wxyz in product(get_args(Axes), (reading.wxyz, not reading.wxyz)):
        stance = Stance.of(raw.read_as(replace(reading, axes=axes, wxyz=wxyz)))
        fit = stance.crown + stance.above + stance.lever + stance.ahead
        if stance.is_usual and fit > best:
            best, found = fit, {"axes": axes, "quaternions": "wxyz" if wxyz else "xyzw"}
    now = {"axes": reading.axes, "quaternions": "wxyz" if reading.wxyz else "xyzw"}
    return {name: value for name, value in found.items() if value != now[name]}


def _floor(log: HeadsetLog, reading: Reading, stance: Stance) -> Iterator[Finding]:
    height = float(log.positions[:, 0, 1].median())
    if not stance.is_upright or not REACH[0] <= stance.reach <= REACH[1]:
        return  # the height says nothing yet
    if STANDING[0] <= height <= STANDING[1]:
        return
    if 0.9 <= height < STANDING[0]:
        yield Finding(
            "note",
            "height",
            f"the head is {height:.2f} m high",
            "a seated or short user; the body is a grown man's and will bend its knees",
        )
        return
    floor = reading.floor + height - EYES
    yield Finding(
        "serious",
        "floor",
        f"the head is {height:.2f} m high",
        "heights are measured from elsewhere than the floor (eye-level tracking origin)",
        {"floor": round(floor, 2)},
        f"for eyes {EYES:.2f} m high; better, set the app's tracking origin to the floor",
    )


def _settling(log: HeadsetLog, skip_first: int) -> Iterator[Finding]:
    height = log.positions[:, 0, 1]
    reach = (log.positions[:, 1:] - log.positions[:, :1]).norm(dim=-1).amax(-1)
    away = ((height - height.median()).abs() > SETTLED) | (reach > REACH[1])
    start = next(iter(intervals(away)), (1, 0))
    # A bow later on is none of this: only what begins with the recording, or just after.
    end = start[1] if start[0] < max(skip_first, 1) else 0
    if end > skip_first:
        yield Finding(
            "warning",
            "start",
            f"head or hands are not where they mostly are until frame {end} (line {log.line(end - 1)})",
            f"the user had not settled within the first {skip_first} frames, which are dropped",
            {"skip_first": str(end)},
        )


def _lost(log: HeadsetLog, how: LostHands) -> Iterator[Finding]:
    for index, device in enumerate(DEVICES):
        stretches = intervals(log.lost[:, index])
        if not stretches:
            continue
        seconds = [float(log.times[min(end, len(log) - 1)] - log.times[first]) for first, end in stretches]
        longest = max(range(len(stretches)), key=seconds.__getitem__)
        first, end = stretches[longest]
        is_filled = index > 0 and how != "keep"
        yield Finding(
            "serious" if seconds[longest] > SHORT_LOSS else "warning",
            "tracking",
            f"{device} lost {_times(len(stretches))}, {sum(seconds):.1f} s in all; longest "
            f"{seconds[longest]:.1f} s, lines {log.line(first)} to {log.line(end - 1)}",
            f"filled by --lost-hands {how}; little is known of it beyond {SHORT_LOSS} s"
            if is_filled
            else "it stands still, or at the origin, while the others move",
            {} if is_filled or not index else {"lost_hands": "interpolate"},
            "" if index else "cut the recording there",
        )


def _frozen(log: HeadsetLog) -> Iterator[Finding]:
    same = (log.positions[1:] == log.positions[:-1]).flatten(1).all(-1)
    stretches = intervals(same)
    longest = max(stretches, key=lambda pair: pair[1] - pair[0], default=(0, 0))
    share = float(same.double().mean())
    if share > 0.02 or longest[1] - longest[0] >= FROZEN:
        yield Finding(
            "warning",
            "frozen",
            f"{100 * share:.0f} % of the frames repeat the one before; longest stretch "
            f"{longest[1] - longest[0]} frames, from line {log.line(longest[0])}",
            "the app logged faster than it tracked, or stood still; steps between frames are wrong",
            advice="log once a tracked frame, or cut the recording there",
        )


def _jumps(log: HeadsetLog) -> Iterator[Finding]:
    moved = (log.positions[1:, 0] - log.positions[:-1, 0]).norm(dim=-1)
    seen = ~(log.lost[1:, 0] | log.lost[:-1, 0])
    jumps = ((moved / torch.diff(log.times) > TELEPORT) & (moved > 0.2) & seen).nonzero()[:, 0]
    if len(jumps):
        yield Finding(
            "warning",
            "jumps",
            f"the head jumps {_times(len(jumps))}, by {float(moved[jumps].max()):.2f} m at most, first at "
            f"line {log.line(int(jumps[0]) + 1)}",
            "the view was recentred, or a piece of the recording is missing",
            advice="cut the recording there",
        )


def _rate(log: HeadsetLog, native: bool) -> Iterator[Finding]:
    median = float(log.fps.median())
    low, high = (float(part) for part in torch.quantile(log.fps, log.fps.new_tensor([0.05, 0.95])))
    if high - low > 0.1 * median or median < TAKEN_FPS / 2:
        yield Finding(
            "warning",
            "rate",
            f"{median:.1f} frames a second, {low:.1f} to {high:.1f} in nine tenths of the recording",
            "the app could not keep up; quick movements are lost between frames",
        )
    if abs(median / TAKEN_FPS - 1) > 0.02:
        steps = f"steps between frames are {abs(100 * (TAKEN_FPS / median - 1)):.0f} % too " + (
            "small" if median > TAKEN_FPS else "large"
        )
        yield Finding(
            "warning" if native else "note",
            "rate",
            f"{median:.1f} frames a second; the networks take every recording for {TAKEN_FPS:g}",
            f"{steps} as they are (--rate native)" if native else "resampled to it",
            {"rate": "resample"} if native else {},
        )


def _gaps(log: HeadsetLog) -> Iterator[Finding]:
    steps = torch.diff(log.times)
    usual = float(steps.median())
    long = (steps > 1.7 * usual).nonzero()[:, 0] + 1
    inside = steps[long - 1] < 2.3 * usual
    lines = log.lines[long]
    dropped = int(inside.sum())
    if dropped:
        yield Finding(
            "note",
            "gaps",
            f"a single frame is missing {_times(dropped)}, first before line {int(lines[inside][0])}",
            f"the headset app drops the frame in which it writes {BLOCK} others; filled by resampling",
        )
    if dropped < len(long):
        large = long[~inside]
        worst = large[int(steps[large - 1].argmax())]
        yield Finding(
            "warning",
            "gaps",
            f"time is missing {_times(len(large))}, {float(steps[worst - 1]):.2f} s at most, before line "
            f"{log.line(int(worst))}",
            "the app hung; motion in between is a straight line",
            advice="cut the recording there",
        )


def _norms(log: HeadsetLog) -> Iterator[Finding]:
    off = torch.where(log.lost, 0.0, log.quaternions.norm(dim=-1) - 1).abs()
    if float(off.max()) > 1e-3:
        frame = int(off.amax(-1).argmax())
        yield Finding(
            "note",
            "rotations",
            f"quaternions are up to {100 * float(off.max()):.1f} % off unit length, most at line "
            f"{log.line(frame)}",
            "fewer than four decimals, or averaged rotations; brought to unit length by resampling",
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
