"""The demo's numbers and its report: people, films, the mesh, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.metrics import Column, Row, Table
from avatarctl.runs.page import Page

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_demo import Demo

COLUMNS = (Column("overlap", "outlines shared", "%", 100.0, 1),)
LEAD = (
    "Two networks have looked at photos of people, each in another pose and none seen twice. One of them has "
    "learned to make up people who could be in such photos: bodies with clothes and colours in three "
    "dimensions, that take any pose and are seen from any side."
)
TOY = (
    "The weights are toys: small networks, trained on two cores on small photos that were made up here, of "
    "bodies drawn in bold clothes. They show that everything works, not what the published system can do."
)
NOTE = (
    "What the outlines of a person and of the photo whose pose it takes have in common, as a share of what "
    "either covers. They are different people, so that 100 % is out of reach. The baseline compares photos "
    "with each other, each in its own pose. Made-up photos: not comparable with published numbers."
)


@dataclass(frozen=True)
class Seen:
    """A person in the pose of a photo: the photo, the person and its normals, uint8 [H, W, 3] each."""

    photo: np.ndarray
    person: np.ndarray
    normals: np.ndarray
    outline: np.ndarray
    """Of who is in the photo, bool [H, W]."""


BACKGROUND = 235
"""Pixels with all channels above this are background, of people."""


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """What two outlines, bool [H, W], share, of what either covers; 0 where both are empty."""
    return float((first & second).sum() / max(1, (first | second).sum()))


def table(seen: Sequence[Seen]) -> Table:
    """How far people take the poses of photos, beside a baseline."""
    count = len(seen)
    ours = [overlap(one.person.min(axis=2) <= BACKGROUND, one.outline) for one in seen]
    others = [
        overlap(seen[first].outline, seen[second].outline)
        for first in range(count)
        for second in range(first)
    ]
    rows = [
        Row("a person in the photo's pose", {"overlap": float(np.mean(ours))}),
        Row("another photo", {"overlap": float(np.mean(others))}, "baseline"),
    ]
    return Table(COLUMNS, rows, "Poses", NOTE)


def page(run: Run, settings: Demo, seen: Sequence[Seen], faces: int, took: float) -> Page:
    """The report; its pictures and films stand in the run folder.

    Args:
        faces: Triangles of the mesh.
        took: Seconds that all of this took.
    """
    report = Page("avatarctl demo: people from photo collections", LEAD)
    report.picture(
        run.path("people.png"),
        "Above: made-up photos that the networks have not seen. Middle: new people in the poses of these "
        "photos; nothing else of them is taken. Below: which way their surfaces face.",
    )
    if "toy" in settings.weights:
        report.text(TOY)
    report.section("From all sides", "The same people, in the same poses.")
    report.video(run.path("views.mp4"), "They turn; each picture is rendered ray by ray.")
    report.section("One becomes another", "All between two people are people.")
    report.picture(run.path("blend.png"), "From the first to the second in even steps of their styles.")
    report.section("Dancing", f"They move by {settings.motion}. What they are made of stays as it is.")
    report.video(run.path("dance.mp4"), "Two people in one motion.")
    report.section(
        "The mesh",
        f"The first one's surface is {faces:,} triangles. person.glb holds it with colours, skeleton and the "
        "same motion; Blender and web viewers open it.",
    )
    report.picture(run.path("mesh.png"), "Above: rendered ray by ray. Below: the mesh in the same poses.")
    report.section("Do they stand as they are told?", f"All of this was made in {took:.0f} s.")
    report.table(table(seen))
    report.section("What to do next")
    report.commands(following(settings))
    report.provenance(run)
    return report


def following(settings: Demo) -> dict[str, str]:
    """What to type next."""
    infer = f"avatarctl infer generative-avatar --weights {settings.weights}"
    export = f"avatarctl export generative-avatar --weights {settings.weights}"
    return {
        "Other people": f"{infer} --number 16 --seed 1",
        "Another dance": f"{infer} --mode animate --motion indian_13_a",
        "A mesh that moves": f"{export} --to glb --motion walk_2",
        "The photos that the toys were trained on": "avatarctl prepare synthetic-fashion --into photos.zip",
        "A training of your own": "avatarctl train generative-avatar -c toy --data photos.zip",
        "Your own photos": "avatarctl prepare fashion --images photos --smpl fits.json --into fashion.zip",
    }
