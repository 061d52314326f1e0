"""The demo's numbers and its report: pictures, scores with and without guidance, what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.metrics import Column, Row, Table
from avatarctl.runs.page import Page
from avatarctl_ego_hmr.scores import CONTACT, Errors, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avatarctl.runs import Run
    from avatarctl_ego_hmr.evaluate import Bodies
    from avatarctl_ego_hmr.settings import Demo

GUIDED, UNGUIDED, MEAN = "with guidance", "without guidance", "mean body"
COLUMNS = (
    Column("g_mpjpe.all", "G-MPJPE", "mm", 1000.0, 0),
    Column("mpjpe.all", "MPJPE", "mm", 1000.0, 0),
    Column("mpjpe_best", "MPJPE, best", "mm", 1000.0, 0),
    Column("pa_mpjpe.all", "PA-MPJPE", "mm", 1000.0, 0),
    Column("collision", "collision", "%", 100.0, 3),
    Column("contact_corrected", f"contact, {100 * CONTACT:.0f} cm", "%", 100.0, 0),
)
INKS = ("#d98032", "#2f6db3")
LEAD = (
    "Made-up people were drawn into a real photo of an office. From the photo, its camera and the scan of "
    "the office alone, the bodies below were found."
)
TOY = (
    "The weights are toys: small networks, trained on made-up recordings. They show that everything works, "
    "not what the published system can do."
)
NOTE = (
    "Means over people and samples; best: the sample nearest to the truth. The mean body is the mean pose "
    "of the training, placed where the bodies were found. Made-up people: not comparable with published "
    "numbers."
)


@dataclass(frozen=True)
class Scores:
    """Of each method: errors of all people, means of the numbers of the room, and the bodies."""

    errors: Mapping[str, Errors]
    room: Mapping[str, Mapping[str, float]]
    bodies: Mapping[str, Bodies]

    @property
    def first(self) -> str:
        """The method whose bodies are shown."""
        return next(iter(self.errors))

    def table(self) -> Table:
        """The methods beside each other."""
        rows = []
        for name, errors in self.errors.items():
            best = errors.joints.mean(dim=-1).amin(dim=1).mean()
            values = summary(errors) | dict(self.room[name]) | {"mpjpe_best": float(best)}
            rows.append(Row(name, values, "baseline" if name == MEAN else "ours"))
        return Table(COLUMNS, rows, "Errors and collisions", NOTE)

    def people(self) -> Table:
        """The people beside each other, as they are shown."""
        errors, bodies = self.errors[self.first], self.bodies[self.first]
        rows = []
        for row in range(len(errors)):
            each = errors.joints[row].mean(dim=-1)
            values = {
                "g_mpjpe.all": float(errors.joints_global[row].mean()),
                "mpjpe.all": float(each.mean()),
                "mpjpe_best": float(each.min()),
                "pa_mpjpe.all": float(errors.joints_aligned[row].mean()),
                "collision": float(bodies.collision[row].mean()),
                "contact_corrected": float(bodies.contact_corrected[row].mean()),
            }
            rows.append(Row(f"person {row + 1}", values))
        return Table(COLUMNS, rows, f"Each person, {self.first}")

    def numbers(self) -> dict[str, dict[str, float]]:
        """All of it for metrics.json, metres and shares; what is not known is left out."""
        found = {}
        for name, errors in self.errors.items():
            values = summary(errors) | dict(self.room[name])
            found[name.replace(" ", "_")] = {key: one for key, one in values.items() if math.isfinite(one)}
        return found

    @property
    def is_compared(self) -> bool:
        """Whether collisions are known with guidance and without."""
        wanted = (GUIDED, UNGUIDED)
        return all(name in self.room and np.isfinite(self.room[name]["collision"]) for name in wanted)


def page(run: Run, scores: Scores, settings: Demo, took: float) -> Page:
    """The report; its pictures and the film stand in the run folder.

    Args:
        took: Seconds that the bodies shown were found in.
    """
    report = Page("avatarctl demo: people in an office", LEAD)
    report.picture(
        run.path("picture.png"),
        "Left: the picture, and the box that the networks see. Middle: the bodies that were found, the first "
        "sample in pink, others paler. Right: the true body in blue.",
    )
    if "toy" in settings.weights:
        report.text(TOY)
    report.section("In the room", "The same bodies in the scan, seen from aside; people.glb holds them all.")
    report.picture(run.path("room.png"), "Left: found. Right: the true body. The scan has one view only.")
    if settings.turntable:
        report.video(run.path("turntable.mp4"), "The first body of each person.")
    report.section("Beside the truth", verdict(scores, took))
    report.table(scores.table())
    report.text(f"Each person, {scores.first}:")
    report.table(scores.people())
    if scores.is_compared:
        report.plot(figure(scores), "The share of the scan's points around each body that lie inside of it.")
    report.section("What to do next")
    report.commands(following(run))
    report.provenance(run)
    return report


def verdict(scores: Scores, took: float) -> str:
    """What the numbers say, in words."""
    errors = scores.errors[scores.first]
    people, samples = errors.joints.shape[:2]
    words = [f"{people * samples} bodies of {people} people were found in {took:.1f} s."]
    if MEAN in scores.errors:
        ours, mean = (1000 * float(scores.errors[name].joints.mean()) for name in (scores.first, MEAN))
        words.append(
            f"Joints are off by {ours:.0f} mm, seen from the pelvis; the mean body's by {mean:.0f} mm."
        )
    if scores.is_compared:
        pushed, free = (100 * scores.room[name]["collision"] for name in (GUIDED, UNGUIDED))
        words.append(
            f"Guidance pushes bodies out of the room: {pushed:.3f}% of the points around a body lie inside "
            f"of it, without guidance {free:.3f}%."
        )
    elif GUIDED not in scores.errors:
        words.append("Nothing pushed the bodies out of the room: there was no guidance.")
    return " ".join(words)


def figure(scores: Scores) -> Figure:
    """Collisions of every body without and with guidance, the samples of a person beside each other."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(9.0, 2.6), layout="constrained")
    axes = made.subplots()
    for name, ink, shift in ((UNGUIDED, INKS[0], -0.2), (GUIDED, INKS[1], 0.2)):
        shares = 100 * scores.bodies[name].collision  # [n, S]
        places = np.arange(shares.size) + shift
        axes.bar(places, shares.ravel(), width=0.38, color=ink, label=name)
    people, samples = scores.bodies[GUIDED].collision.shape
    axes.set_xticks(np.arange(people) * samples + (samples - 1) / 2)
    axes.set_xticklabels([f"person {number + 1}" for number in range(people)])
    for number in range(1, people):
        axes.axvline(number * samples - 0.5, color="#c8ced6", linewidth=0.8)
    axes.set_ylabel("collision, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    return made


def following(run: Run) -> dict[str, str]:
    """What to type next."""
    return {
        "Your own picture": (
            "avatarctl infer ego-hmr photo.jpg --scene room.ply --camera camera.json --keypoints photo.json"
        ),
        "These bodies in other formats": f"avatarctl export ego-hmr {run.folder} --to obj --to npz",
        "More people of this kind, scored": "avatarctl eval ego-hmr",
        "The published weights on EgoBody": (
            "avatarctl eval ego-hmr --data egobody --weights checkpoints --samples 5"
        ),
        "Training of your own": "avatarctl train ego-hmr --help",
    }
