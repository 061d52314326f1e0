"""What audio2motion offers: targets and weights, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avatarctl.api import Layout, Link, Stage, Target, Weights, hookimpl

HERE = Path(__file__).parent
PACKAGE = "avatarctl_audio2motion"


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="prepare",
        name="conversations",
        summary="recorded conversations: what is wrong with them, splits, statistics",
        run=f"{PACKAGE}.conversations.prepare:run",
        settings=f"{PACKAGE}.settings_prepare:PrepareConversations",
        examples=("avatarctl prepare conversations dataset/PXB184",),
    )
    yield Target(
        verb="train",
        name="audio2motion",
        summary="face and body of a person in conversation, from two voices",
        stages=(
            stage("face", "face codes from audio and lip shapes", "TrainFace", "train"),
            stage("vqvae", "key poses to residual codes and back", "TrainVqvae", "train_tokens"),
            stage("guide", "codes of key poses, one a second, from audio", "TrainGuide", "train_tokens"),
            stage("body", "whole body motion from audio and key poses", "TrainBody", "train"),
        ),
        chain=(
            Link(name="face", stage="face"),
            Link(name="vqvae", stage="vqvae"),
            Link(name="guide", stage="guide", inputs={"vqvae": "vqvae"}),
            Link(name="body", stage="body"),
        ),
        examples=(
            "avatarctl train audio2motion --stage face --store data/PXB184",
            "avatarctl train audio2motion --stage all -c open-toy",
        ),
    )
    yield Target(
        verb="infer",
        name="audio2motion",
        summary="face, body and a film from any sound file",
        run=f"{PACKAGE}.infer:run",
        settings=f"{PACKAGE}.settings:Infer",
        examples=(
            "avatarctl infer audio2motion clip.wav --video",
            "avatarctl infer audio2motion clip.wav --partner other.wav --samples 3",
        ),
    )
    yield Target(
        verb="eval",
        name="audio2motion",
        summary="Frechet distances, diversity and lip errors of generated motion",
        run=f"{PACKAGE}.evaluate:run",
        settings=f"{PACKAGE}.settings_evaluate:Evaluate",
        examples=(
            "avatarctl eval audio2motion --results results.npy",
            "avatarctl eval audio2motion --store data/PXB184 --weights checkpoints",
        ),
    )
    yield Target(
        verb="export",
        name="audio2motion",
        summary="a generated motion as glb, bvh, npz, pkl, film or Blender script",
        run=f"{PACKAGE}.export:run",
        settings=f"{PACKAGE}.settings:Export",
        examples=("avatarctl export audio2motion runs/infer-audio2motion/001 --to glb --to bvh",),
    )
    yield Target(
        verb="demo",
        name="audio2motion",
        summary="a voice to a moving person; --web: record your own in the browser",
        run=f"{PACKAGE}.demo:run",
        settings=f"{PACKAGE}.settings:Demo",
        examples=("avatarctl demo audio2motion --out talk", "avatarctl demo audio2motion --web"),
    )


def stage(name: str, summary: str, settings: str, module: str) -> Stage:
    """A training stage; its run function is called like it."""
    return Stage(
        name=name,
        summary=summary,
        run=f"{PACKAGE}.{module}:run_{name}",
        settings=f"{PACKAGE}.settings_train:{settings}",
    )


@hookimpl
def avatarctl_layouts() -> Iterator[Layout]:
    """What `avatarctl inspect` knows of recordings."""
    for name, files in (
        ("conversations", ("data_stats.pth", "*_body_pose.npy")),
        ("conversations-alone", ("scene01_body_pose.npy",)),
    ):
        yield Layout(
            name=name,
            summary="recorded conversations of a person, as published, for audio2motion",
            describe=f"{PACKAGE}.inspecting:recordings",
            files=files,
        )


@hookimpl
def avatarctl_weights() -> Iterator[Weights]:
    """Official checkpoint layouts and the embedded toy weights."""
    yield Weights(
        name="audio2photoreal",
        summary="published audio2photoreal checkpoints (face, body, guide, VQ codec, audio models)",
        sniff=f"{PACKAGE}.official:sniff",
        read=f"{PACKAGE}.official:read",
        write=f"{PACKAGE}.official:write",
        describe=f"{PACKAGE}.official:describe",
    )
    yield Weights(
        name="codec-avatar",
        summary="a drawn person's network, mesh or views (infer audio2motion --person)",
        sniff=f"{PACKAGE}.official:is_avatar",
    )
    yield Weights(
        name="open-toy",
        summary="toy networks trained on open clips with made-up pairs of speech and motion",
        path=str(HERE / "weights" / "open-toy.safetensors"),
    )
    yield Weights(
        name="open-audio",
        summary="an audio front end that was designed, not trained: 40 bands of sound, for toy networks",
        path=str(HERE / "weights" / "open-audio.safetensors"),
    )
