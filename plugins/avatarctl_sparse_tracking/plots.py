"""Plots of errors, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarctl.body.tables import BODY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = np.ndarray
"""A number for each frame [T]."""
INKS = ("#2f6db3", "#d98032", "#9aa5b4")
"""Estimate, first and second baseline."""


def figure(width: float, height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure that needs no screen, and its axes from top to bottom."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = list(np.atleast_1d(made.subplots(rows, 1)))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        one.set_axisbelow(True)
    return made, axes


def over_time(clips: Mapping[str, Mapping[str, Curve]], fps: float) -> Figure:
    """Mean joint error of each method in each frame.

    Args:
        clips: For each clip, for each method, distances in centimetres [T].
    """
    made, axes = figure(9.0, 2.1 * len(clips) + 0.3, len(clips))
    for one, (name, methods) in zip(axes, clips.items(), strict=True):
        for ink, (method, errors) in zip(INKS, methods.items(), strict=False):
            seconds = np.arange(len(errors)) / fps
            one.plot(seconds, errors, color=ink, linewidth=1.6 if ink == INKS[0] else 1.1, label=method)
        one.set_title(name, loc="left", fontsize=10, fontweight="bold")
        one.set_ylabel("mean error, cm")
        one.set_ylim(bottom=0)
        one.margins(x=0)
    axes[0].legend(
        frameon=False, ncols=len(INKS), loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2
    )
    axes[-1].set_xlabel("seconds")
    return made


def by_joint(methods: Mapping[str, np.ndarray], joints: Sequence[int] = range(len(BODY))) -> Figure:
    """Mean error of body joints by each method, centimetres [J].

    Args:
        joints: Which of the 22.
    """
    made, (one,) = figure(9.0, 3.4)
    place = np.arange(len(joints))
    width = 0.8 / len(methods)
    for index, (ink, (method, errors)) in enumerate(zip(INKS, methods.items(), strict=False)):
        one.bar(place + (index - (len(methods) - 1) / 2) * width, errors, width, color=ink, label=method)
    names = [BODY[joint].replace("_", " ") for joint in joints]
    one.set_xticks(place, names, rotation=50, ha="right", rotation_mode="anchor")
    one.set_ylabel("mean error, cm")
    one.margins(x=0.01)
    one.legend(frameon=False, ncols=len(methods), loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return made


def by_clip(clips: Sequence[Mapping[str, Any]], baseline: str) -> Figure:
    """MPJPE of every clip, best first, beside the baseline's."""
    made, (one,) = figure(9.0, 3.0)
    ordered = sorted(clips, key=lambda row: float(row["mpjpe"]))
    place = np.arange(1, len(ordered) + 1)
    beside = [row[f"mpjpe of {baseline}"] for row in ordered]
    one.plot(place, beside, ".", color=INKS[1], markersize=5, label=baseline)
    one.plot(place, [row["mpjpe"] for row in ordered], "o-", color=INKS[0], markersize=3, label="estimate")
    one.locator_params("x", integer=True)
    one.set_xlabel("clips, best first")
    one.set_ylabel("MPJPE, cm")
    one.set_ylim(bottom=0)
    one.legend(frameon=False)
    return made


def by_subset(clips: Sequence[Mapping[str, Any]], baseline: str) -> Figure:
    """MPJPE of every clip and the mean of each subset, beside the baseline's; the best subset on top."""
    names = list(dict.fromkeys(str(row["subset"]) for row in clips))
    rows = {name: [row for row in clips if row["subset"] == name] for name in names}
    means = {name: float(np.mean([row["mpjpe"] for row in rows[name]])) for name in names}
    names.sort(key=lambda name: -means[name])
    made, (one,) = figure(9.0, 0.3 * len(names) + 1.0)
    one.grid(axis="y", visible=False)
    one.grid(axis="x", color="#e3e7ec", linewidth=0.8)
    for ink, key, shift, label in (
        (INKS[1], f"mpjpe of {baseline}", -0.18, baseline),
        (INKS[0], "mpjpe", 0.18, "estimate"),
    ):
        for height, name in enumerate(names):
            values = [float(row[key]) for row in rows[name]]
            word = label if not height else None
            line = height + shift
            one.plot(values, [line] * len(values), "o", color=ink, markersize=4, alpha=0.45, label=word)
            one.vlines(np.mean(values), line - 0.17, line + 0.17, color=ink, linewidth=2.2)
    one.set_yticks(range(len(names)), [f"{name} ({len(rows[name])})" for name in names])
    one.set_ylim(-0.6, len(names) - 0.4)
    one.set_xlim(left=0)
    one.set_xlabel("MPJPE, cm")
    one.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return made
