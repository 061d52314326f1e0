"""The demo's report: the film, what voice and body do over time, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.wave import FRAME
from avatarctl.body import open_body
from avatarctl.body.tables import BODY, BODY_PARENTS
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.motion import Motion
from avatarctl.runs.page import Page
from avatarctl_audio2motion.generated import FPS, Generated
from avatarctl_audio2motion.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avatarctl.runs import Run

INKS = ("#9aa5b4", "#2f6db3", "#d98032")
WRISTS = [BODY.index(f"{side}_wrist") for side in ("left", "right")]
LEAD = "From the sound of a voice alone, the face and the body below were made to speak."
TOY = (
    "The weights are toys: small networks, trained on made-up pairs of open speech and open motion capture. "
    "They show that everything works, not what the published system can do."
)


def page(
    run: Run,
    made: Generated,
    first: tuple[Tensor, Tensor],
    audio: Tensor,
    subject: Subject,
    took: float,
) -> Page:
    """The report; video.mp4 and picture.png stand in the run folder.

    Args:
        first: Body poses [T, 104] and face codes [T, 256] of the first result.
        audio: Both voices [S, 2].
        took: Seconds of the generation.
    """
    report = Page("avatarctl demo: a voice to a moving person", LEAD)
    report.video(run.path("video.mp4"), f"The film shows {subject.shown}. Turn the sound on.", muted=False)
    if "toy" in str(made.about.get("weights", "")):
        report.text(TOY)
    curves = over_time(first, audio, subject)
    report.section("Voice and motion", verdict(curves, made, took))
    report.plot(figure(curves), "The first result, frame by frame.")
    report.picture(run.path("picture.png"), "Four moments of the film.")
    report.section("What to do next")
    report.commands(following(run))
    report.provenance(run)
    return report


def over_time(first: tuple[Tensor, Tensor], audio: Tensor, subject: Subject) -> dict[str, np.ndarray]:
    """Loudness of the voice, speed of the hands, and opening of the mouth where it is known, each [T]."""
    pose, codes = first
    frames = len(pose)
    loud = audio[: frames * FRAME, 0].reshape(frames, FRAME).square().mean(1).sqrt()
    curves = {
        "loudness, dB": 20 * torch.log10(loud.clamp(min=1e-4)),
        "hands, m/s": hand_speed(subject.motion(pose)),
    }
    face = subject.person.face if subject.person is not None else None
    if face is not None:
        curves["mouth, degrees"] = torch.rad2deg(face.expression(codes).jaw.clamp(min=0))
    return {name: curve.numpy() for name, curve in curves.items()}


def hand_speed(motion: Motion) -> Tensor:
    """Mean speed of both wrists as seen from the pelvis, metres a second [T]."""
    local = matrix_from_axis_angle_smpl(motion.body_poses())
    places = forward_kinematics(local, open_body("smplh").rest_joints[: len(BODY)], BODY_PARENTS)[1]
    steps = (places[:, WRISTS] - places[:, :1]).diff(dim=0).norm(dim=2).mean(1) * motion.fps
    return torch.cat([steps[:1], steps]) if len(steps) else torch.zeros(len(motion))


def verdict(curves: dict[str, np.ndarray], made: Generated, took: float) -> str:
    """What the curves say, in words."""
    words = [f"{made.frames / FPS:.1f} s of motion were made in {took:.1f} s ({len(made)} results)."]
    words.append(f"The hands move at {curves['hands, m/s'].mean():.2f} m/s on average.")
    if "mouth, degrees" in curves and curves["mouth, degrees"].std() > 0:
        agreement = np.corrcoef(curves["mouth, degrees"], curves["loudness, dB"])[0, 1]
        words.append(f"The correlation of mouth opening and loudness is {agreement:.2f}.")
    return " ".join(words)


def figure(curves: dict[str, np.ndarray]) -> Figure:
    """The curves, one below the other."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(9.0, 1.5 * len(curves) + 0.4), layout="constrained")
    axes = np.atleast_1d(made.subplots(len(curves), 1, sharex=True))
    for one, ink, (name, curve) in zip(axes, INKS, curves.items(), strict=False):
        one.plot(np.arange(len(curve)) / FPS, curve, color=ink, linewidth=1.3)
        one.set_ylabel(name)
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        one.margins(x=0)
    axes[-1].set_xlabel("seconds")
    return made


def following(run: Run) -> dict[str, str]:
    """What to type next."""
    return {
        "Your own voice": "avatarctl infer audio2motion VOICE.wav --video",
        "Record it in the browser": "avatarctl demo audio2motion --web",
        "This motion in other formats": f"avatarctl export audio2motion {run.folder} --to blender --to pkl",
        "The published weights": (
            "avatarctl infer audio2motion VOICE.wav --weights checkpoints --stats dataset/PXB184"
        ),
        "Training of your own": "avatarctl train audio2motion --help",
    }
