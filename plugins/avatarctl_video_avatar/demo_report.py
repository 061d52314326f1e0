"""The demo's numbers and its report: views beside the truth, a film, the mesh, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatarctl.metrics import Column, Row, Table
from avatarctl.runs.page import Page

if TYPE_CHECKING:
    from avatarctl.geometry.meshes import Mesh
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_demo import Demo

COLUMNS = (Column("psnr", "PSNR", "dB", 1.0, 1), Column("ssim", "SSIM", "", 1.0, 3))
LEAD = (
    "A made-up person in made-up clothes was filmed by four cameras. From these films and the fitted bodies "
    "an avatar was learned: a surface with colours that follows a skeleton. Below it is seen by cameras that "
    "the training has not had."
)
TOY = (
    "The weights are toys: small networks, trained on one core with small pictures. They show that "
    "everything works, not what the published system can do."
)
NOTE = (
    "In the rectangle around the body, as published. The baseline is the true outline, filled with its mean "
    "colour. The toy's settings were chosen by looking at other cameras; its new pose is not far from those "
    "of the training. A made-up person: not comparable with published numbers."
)


@dataclass(frozen=True)
class Seen:
    """One picture: its name, numbers of the avatar and of the baseline, and the panels that show it."""

    name: str
    scores: dict[str, float]
    baseline: dict[str, float]
    panels: list[np.ndarray]
    """Truth, avatar, normals, uint8 [H, W, 3]."""


def table(seen: Sequence[Seen]) -> Table:
    """The pictures and their means beside the baseline's."""
    rows = [Row(one.name, one.scores) for one in seen]
    for name, several, kind in (
        ("mean", [one.scores for one in seen], "ours"),
        ("mean colour in the true outline", [one.baseline for one in seen], "baseline"),
    ):
        values = {key: float(np.mean([one[key] for one in several])) for key in several[0]}
        rows.append(Row(name, values, kind))  # type: ignore[arg-type]
    return Table(COLUMNS, rows, "Pictures that were not trained on", NOTE)


def page(run: Run, settings: Demo, seen: Sequence[Seen], mesh: Mesh, step: int, took: float) -> Page:
    """The report; its pictures and the film stand in the run folder.

    Args:
        step: Training steps of the avatar.
        took: Seconds that all of this took.
    """
    report = Page("avatarctl demo: an avatar from video", LEAD)
    report.picture(
        run.path("views.png"),
        "Left: what the camera saw. Middle: the avatar. Right: which way its surface faces. From above: "
        + "; ".join(one.name for one in seen)
        + ".",
    )
    if "toy" in settings.weights:
        report.text(TOY)
    report.section("New poses", f"The avatar moves by {settings.motion}, which it has never seen.")
    report.video(run.path("dance.mp4"), "A camera goes around; rendered ray by ray.")
    report.section(
        "The mesh",
        f"Where the distance is zero there is a surface of {len(mesh.faces):,} triangles. avatar.glb holds "
        "it with colours, skeleton and the same motion; Blender and web viewers open it.",
    )
    report.picture(run.path("mesh.png"), "From all sides, in the pose that avatars are learned in.")
    report.section(
        "Beside the truth",
        f"The avatar has had {step:,} training steps. All of this was made in {took:.0f} s.",
    )
    report.table(table(seen))
    report.section("What to do next")
    report.commands(following(run))
    report.provenance(run)
    return report


def following(run: Run) -> dict[str, str]:
    """What to type next."""
    given = f"--data {run.path('Synthetic')} --weights avatar-toy"
    return {
        "Another dance": f"avatarctl infer video-avatar {given} --motion indian_13_a --camera orbit",
        "A finer mesh": f"avatarctl export video-avatar {given} --pose canonical --resolution 256",
        "The recording of this person": "avatarctl prepare synthetic-video",
        "An avatar of this person, trained by yourself": "avatarctl train video-avatar -c toy",
        "Somebody you have filmed": "avatarctl prepare zju-mocap CoreView_377",
    }
