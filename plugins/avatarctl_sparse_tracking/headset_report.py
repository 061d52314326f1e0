"""What a user looks at to judge whether a headset's recording was understood: report and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.body.tables import BODY, HEAD
from avatarctl.motion.headset import HeadsetLog, intervals
from avatarctl.motion.lost import facing, heading, rotations_of
from avatarctl.motion.recording import Finding
from avatarctl.runs.page import Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from avatarctl.runs import Run

DEVICE_INKS = ("#3f4752", "#2f6db3", "#d98032")
DEVICE_NAMES = ("headset", "left controller", "right controller")
AXIS_INKS = ("#d64545", "#4c9a4c", "#3d6fd1")
"""x, y and z of a device, as most programs colour them."""
FLESH, FLOOR, SOFT = "#dfe4ea", "#9aa5b4", "#5b6675"
ARROW = 0.16
"""Length of a device's axes, metres."""
ARMS_DOWN = 1.15
"""By how much the drawn body's arms hang from the T-pose, radians."""
VIEWS = {
    "from behind: left is left": ((1, 0, 0), (0, 1, 0)),
    "from its right: ahead is right": ((0, 0, 1), (0, 1, 0)),
    "from above: ahead is up": ((1, 0, 0), (0, 0, 1)),
}
"""Unity's axes (x right, y up, z ahead) that run to the right and up in each view."""


@dataclass(frozen=True)
class Checked:
    """A log in Unity's axes and metres, lost hands filled as asked, and what is wrong with it.

    `given` are the options that it is read with, `mending` those that mend what was found as well.
    """

    log: HeadsetLog
    findings: Sequence[Finding]
    given: str = ""
    mending: str = ""


def page(run: Run, checked: Sequence[Checked], skip_first: int) -> Page:
    """The report on some recordings."""
    made = Page(
        "headset recordings: what was found",
        "What each recording says about itself, and how head and hands stand when it is read as it was here.",
    )
    for one in checked:
        path = one.log.path
        made.section(path.name, _verdict(one.findings))
        made.plot(
            alignment(one.log, skip_first),
            "The devices in the first frame that counts, with their axes (x red, y green, z blue), beside a "
            "body of mean size that stands on the floor below the headset. The lines are their ways beside "
            "the head. Right when the headset is at the body's head, the left controller on the left, both "
            "controllers within reach and mostly ahead, and the curves run on without steps. Below, devices "
            "are shaded while they are not tracked.",
        )
        if one.findings:
            made.facts(
                {f"{finding.severity}: {finding.about}": _sentence(finding) for finding in one.findings}
            )
        options = one.mending or one.given
        commands = {"The whole body": f"avatarctl infer sparse {path} {options} --video".replace("  ", " ")}
        if one.mending:
            again = {"Mend what was found, and look again": f"avatarctl prepare headset {path} {options}"}
            commands = again | commands
        made.commands(commands)
    made.provenance(run)
    return made


def _verdict(findings: Sequence[Finding]) -> str:
    counts = {
        words: sum(finding.severity == severity for finding in findings)
        for severity, words in (("serious", "serious"), ("warning", "worth a warning"), ("note", "to know"))
    }
    told = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f"Found: {told}." if told else "Nothing is wrong with it."


def _sentence(finding: Finding) -> str:
    remedy = f" To mend it: {finding.remedy}." if finding.remedy else ""
    return f"{finding.found[:1].upper()}{finding.found[1:]}: {finding.means}.{remedy}"


def alignment(log: HeadsetLog, skip_first: int) -> Figure:
    """Devices beside a body, and heights and sides of the devices over time.

    Args:
        log: In Unity's axes and metres.
        skip_first: Frames at the start that do not count.
    """
    from matplotlib.figure import Figure

    first = min(skip_first, len(log) - 1)
    tracked = (~log.lost[first:].any(-1)).nonzero()[:, 0]
    first = first + int(tracked[0]) if len(tracked) else first
    turn = heading(rotations_of(log.quaternions[:, 0]))
    floor = log.positions[:, :1] * log.positions.new_tensor([1.0, 0.0, 1.0])
    beside = (log.positions - floor) @ turn  # [N, 3, 3], each turned back with the head
    turned = turn[first].mT @ rotations_of(log.quaternions[first])
    made = Figure(figsize=(12.0, 7.6), layout="constrained", facecolor="white")
    grid = made.add_gridspec(3, 4, height_ratios=(3.2, 2, 2))
    ways = beside[first:].masked_fill(log.lost[first:, :, None], torch.nan)
    reach = max(1.0, 1.1 * float(ways[..., [0, 2]].abs().nan_to_num().max()))
    low = min(-0.1, float(ways[..., 1].nan_to_num().min()) - 0.1)
    high = max(1.9, float(ways[..., 1].nan_to_num().max()) + 0.1)
    for column, (title, view) in enumerate(VIEWS.items()):
        axes = _panel(made.add_subplot(grid[0, column]), title)
        _view(axes, np.array(view, float), ways, turned)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(*((-reach, reach) if view[1][2] else (low, high)))
    _room(_panel(made.add_subplot(grid[0, 3]), "in the room, from above"), log[first:])
    seconds = (log.times - log.times[min(skip_first, len(log) - 1)]).numpy()
    rows = (
        ("to the right\nof the head, m", beside[..., 0], (1, 2)),
        ("height, m", beside[..., 1], (0, 1, 2)),
    )
    for row, (label, values, devices) in enumerate(rows, start=1):
        axes = made.add_subplot(grid[row, :])
        _over_time(axes, seconds, values.numpy(), log, devices)
        axes.axvspan(seconds[0], min(0, seconds[-1]), color="#eef1f4", zorder=0)
        axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    axes.set_xlabel(
        f"seconds; shaded: the first {skip_first} frames, which do not count" if skip_first else "seconds"
    )
    return made


def _view(axes: Axes, view: np.ndarray, ways: Tensor, turned: Tensor) -> None:
    """One view: body, ways of the devices, and the devices at first with their axes.

    Args:
        view: Directions to the right and up [2, 3].
        ways: Places from the floor below the head, turned with it, metres, NaN while lost [N, 3, 3].
        turned: Rotations of the devices at first [3, 3, 3].
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shape, faces = _body()
    corners = (shape @ view.T)[faces]  # [F, 3, 2]
    sides = corners[:, 1:] - corners[:, :1]
    # One path of the faces on one side is drawn at once; those of the other side would wind it back.
    front = corners[sides[:, 0, 0] * sides[:, 1, 1] > sides[:, 0, 1] * sides[:, 1, 0]]
    outline = Path(
        np.concatenate([front, front[:, :1]], axis=1).reshape(-1, 2),
        np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(front)),
    )
    # As an artist, not as a patch: looking for the limits of thousands of faces would take seconds.
    axes.add_artist(PathPatch(outline, facecolor=FLESH, edgecolor=FLESH, lw=0.4))
    seen = ways.numpy() @ view.T  # [N, 3, 2]
    for device, (name, ink) in enumerate(zip(DEVICE_NAMES, DEVICE_INKS, strict=True)):
        axes.plot(*seen[:, device].T, color=ink, lw=0.7, alpha=0.55)
        place = seen[0, device]
        for axis, axis_ink in enumerate(AXIS_INKS):
            tip = place + ARROW * (view @ turned[device, :, axis].numpy())
            axes.plot(*np.stack([place, tip]).T, color=axis_ink, lw=2.2, solid_capstyle="round", zorder=5)
        axes.plot(*place, "o", color=ink, ms=7, mec="white", mew=1, zorder=6, label=name)
    if view[1, 1]:
        axes.axhline(0, color=FLOOR, lw=1, zorder=1)


def _room(axes: Axes, log: HeadsetLog) -> None:
    """The way of the headset through the room, where it looked, and the axes of the log."""
    way = log.positions[:, 0, [0, 2]].numpy()
    ahead = facing(rotations_of(log.quaternions[:, 0]))[:, [0, 2]].numpy()
    axes.plot(*way.T, color=DEVICE_INKS[0], lw=1)
    some = np.unique(np.linspace(0, len(way) - 1, 12).astype(int))
    axes.quiver(*way[some].T, *ahead[some].T, color=DEVICE_INKS[0], width=0.006, scale=12, zorder=4)
    axes.plot(*way[0], "o", color=DEVICE_INKS[0], ms=7, mec="white", mew=1, zorder=5)
    for tip, ink, name in (((0.3, 0), AXIS_INKS[0], "x"), ((0, 0.3), AXIS_INKS[2], "z")):
        axes.plot([0, tip[0]], [0, tip[1]], color=ink, lw=2, solid_capstyle="round")
        axes.annotate(name, tip, color=ink, fontsize=9, textcoords="offset points", xytext=(3, 3))
    shown = np.concatenate([way, [[0, 0], [0.3, 0.3]]])
    middle, size = (shown.min(0) + shown.max(0)) / 2, max(0.8, 0.6 * float(np.ptp(shown, axis=0).max()))
    axes.set_xlim(middle[0] - size, middle[0] + size)
    axes.set_ylim(middle[1] - size, middle[1] + size)


def _panel(axes: Axes, title: str) -> Axes:
    """Axes of a view, in metres, equal in both directions."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(color="#eef1f4", lw=0.8)
    return _plain(axes)


def _plain(axes: Axes) -> Axes:
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _over_time(
    axes: Axes, seconds: np.ndarray, values: np.ndarray, log: HeadsetLog, devices: Sequence[int]
) -> None:
    """A number of each device over time, with what was lost shaded in the device's colour."""
    for device in devices:
        axes.plot(seconds, values[:, device], color=DEVICE_INKS[device], lw=1.1, label=DEVICE_NAMES[device])
        for start, end in intervals(log.lost[:, device]):
            last = seconds[min(end, len(seconds) - 1)]
            axes.axvspan(seconds[start], last, color=DEVICE_INKS[device], alpha=0.15, lw=0)
    axes.axhline(0, color=FLOOR, lw=0.8)
    axes.margins(x=0)
    axes.grid(axis="y", color="#eef1f4", lw=0.8)
    _plain(axes)


def _body() -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of the open body, which stands with its head above the origin.

    In Unity's axes, looking ahead, arms down, feet on the floor.
    """
    body = open_body()
    poses = torch.zeros(1, len(BODY), 3)
    for side, turn in (("left_shoulder", -ARMS_DOWN), ("right_shoulder", ARMS_DOWN)):
        poses[0, BODY.index(side), 2] = turn
    posed = body.shape().pose(poses)
    vertices = posed.vertices()[0] - posed.joints[0, HEAD] * torch.tensor([1.0, 0.0, 1.0])
    vertices[:, 1] -= vertices[:, 1].min()
    return (vertices * torch.tensor([-1.0, 1.0, 1.0])).numpy(), body.faces.numpy()
