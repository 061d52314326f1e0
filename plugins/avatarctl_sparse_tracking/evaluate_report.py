"""What an evaluation shows: report.html with tables, where the error is, and the clips that have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avatarctl.metrics import Row, Table
from avatarctl.motion.tracking import FPS
from avatarctl.runs.page import Page
from avatarctl_sparse_tracking import plots
from avatarctl_sparse_tracking.data import body_name
from avatarctl_sparse_tracking.evaluate import ESTIMATE, LAST_KNOWN, MEAN, Data, Method, Results
from avatarctl_sparse_tracking.scores import COLUMNS

if TYPE_CHECKING:
    from avatarctl.runs import Run

WORST = 10
"""Clips listed in the report."""


def page(run: Run, data: Data, method: Method, results: Results, tables: Sequence[Table]) -> Page:
    """The report of an evaluation."""
    clips = f"{data.count} clip{'s' if data.count > 1 else ''}"
    made = Page(
        "sparse-tracking: scores",
        f"{method.what.capitalize()}. {clips} of split '{data.split.name}', protocol {data.protocol}, "
        f"scored on {body_name(data.body)}.",
    )
    made.section("Means over clips", _verdict(results))
    for line in data.notes():
        made.text(line[0].upper() + line[1:] + ".")
    for table in tables:
        made.table(table)
    made.text(
        f"Each clip counts once. Last known pose: that of the first frame, kept; mean pose: "
        f"{method.mean.source}. Both are turned and placed by the tracked head. Hand is the wrist joint."
    )
    made.section("Where the error is")
    made.plot(
        plots.by_joint(results.by_joint(), method.scheme.posed),
        "Mean distance of each joint over the clips; "
        + ("bodies are placed by their heads." if method.scheme.is_placed else "the root is not moved."),
    )
    made.section("Which clips have it")
    made.plot(
        plots.by_clip(results.clips, LAST_KNOWN),
        "Every clip from the best to the worst; scores.csv has all numbers.",
    )
    if len({row["subset"] for row in results.clips}) > 1:
        made.plot(
            plots.by_subset(results.clips, LAST_KNOWN),
            "The same clips by subset; the line is the subset's mean, the number how many clips it has.",
        )
    made.text(f"The worst {min(WORST, data.count)}:" if data.count > 1 else "The clip:")
    made.table(worst(results))
    made.section("Frame by frame")
    made.plot(
        plots.over_time(examples(results), FPS),
        "Distance between estimated and true joints, mean over the joints, in the clips named.",
    )
    made.provenance(run)
    return made


def _verdict(results: Results) -> str:
    means = {name: tally.means()["mpjpe"] for name, tally in results.tallies.items()}
    better = sum(
        float(row["mpjpe"]) < min(float(row[f"mpjpe of {name}"]) for name in (LAST_KNOWN, MEAN))
        for row in results.clips
    )
    return (
        f"Joints are {means[ESTIMATE]:.2f} cm off on average (MPJPE). Keeping the last known pose gives "
        f"{means[LAST_KNOWN]:.2f} cm, the mean pose {means[MEAN]:.2f} cm; the estimate is better than both "
        f"in {better} of {len(results.clips)} clips."
    )


def worst(results: Results) -> Table:
    """The clips with the largest position errors."""
    rows = [results.clips[clip] for clip in reversed(results.ordered()[-WORST:])]
    return Table(
        COLUMNS,
        [
            Row(str(row["clip"]), {column.key: float(row[column.key]) for column in COLUMNS}, "plain")
            for row in rows
        ],
    )


def examples(results: Results) -> dict[str, dict[str, plots.Curve]]:
    """The worst, the median and the best clip, as far as they are different."""
    ordered = results.ordered()
    chosen = {
        ordered[0]: "best",
        ordered[len(ordered) // 2]: "median",
        ordered[-1]: "worst",
    }
    found = {}
    for clip, rank in reversed(chosen.items()):
        row = results.clips[clip]
        found[f"{rank}: {row['clip']}, {row['mpjpe']:.1f} cm"] = results.curves[clip]
    return found
