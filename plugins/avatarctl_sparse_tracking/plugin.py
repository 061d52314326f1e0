"""What sparse-tracking offers: targets and weights, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avatarctl.api import Checkup, Link, Stage, Target, Weights, hookimpl

HERE = Path(__file__).parent
PACKAGE = "avatarctl_sparse_tracking"
TRANSLATE = f"{PACKAGE}.published_config:translate"
"""Published YAML files as settings."""


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="prepare",
        name="amass",
        summary="AMASS archives or BVH clips to a motion store",
        run=f"{PACKAGE}.prepare:run_amass",
        settings=f"{PACKAGE}.settings_prepare:PrepareAmass",
        examples=("avatarctl prepare amass AMASS", "avatarctl prepare amass open --store data/open"),
    )
    yield Target(
        verb="prepare",
        name="headset",
        summary="headset logs: what is wrong with them, a picture, and network features",
        run=f"{PACKAGE}.prepare_headset:run",
        settings=f"{PACKAGE}.settings_prepare:PrepareHeadset",
        examples=("avatarctl prepare headset 12345.txt", "avatarctl prepare headset 12345.txt --swap-hands"),
    )
    yield Target(
        verb="train",
        name="sparse",
        summary="SAGE Net: whole body from a headset and controllers",
        aliases=("sparse-tracking",),
        stages=(
            stage("vqvae", "rotations of one body half to product codes and back", "TrainVqvae"),
            stage("diffusion", "latents of one body half from the trackers", "TrainDiffusion"),
            stage("decoder", "whole body from both latents, then all three together", "TrainDecoder"),
            stage("refiner", "smooth sequence from the decoder's frames", "TrainRefiner"),
        ),
        chain=(
            Link(name="upper-vqvae", stage="vqvae", options={"part": "upper"}),
            Link(name="lower-vqvae", stage="vqvae", options={"part": "lower"}),
            Link(
                name="upper-diffusion",
                stage="diffusion",
                options={"part": "upper"},
                inputs={"vqvae": "upper-vqvae"},
            ),
            Link(
                name="lower-diffusion",
                stage="diffusion",
                options={"part": "lower"},
                inputs={"vqvae": "lower-vqvae", "upper": "upper-diffusion"},
            ),
            Link(
                name="decoder",
                stage="decoder",
                inputs={"upper": "upper-diffusion", "lower": "lower-diffusion"},
            ),
            Link(name="refiner", stage="refiner", inputs={"decoder": "decoder"}),
        ),
        translate=TRANSLATE,
        examples=(
            "avatarctl train sparse --stage all -c open-small",
            "avatarctl train sparse --stage vqvae --part upper --store data/amass",
            "avatarctl train sparse --stage diffusion --part lower -c open-small",
        ),
    )
    yield Target(
        verb="infer",
        name="sparse",
        summary="whole-body motion from a headset log or a motion file",
        aliases=("sparse-tracking",),
        run=f"{PACKAGE}.infer:run",
        settings=f"{PACKAGE}.settings:Infer",
        translate=TRANSLATE,
        examples=(
            "avatarctl infer sparse 12345.txt --video",
            "avatarctl infer sparse walk.npz --out a",
            "avatarctl infer sparse walk_2",
            "avatarctl infer sparse --live",
        ),
    )
    yield Target(
        verb="eval",
        name="sparse",
        summary="errors of position, rotation, velocity and jitter",
        aliases=("sparse-tracking",),
        run=f"{PACKAGE}.evaluate:run",
        settings=f"{PACKAGE}.settings:Evaluate",
        stages=(
            evaluation("vqvae", "one half's true rotations, reconstructed", "EvaluateVqvae"),
            evaluation("diffusion", "sampled latents, decoded by the VQ-VAEs", "EvaluateDiffusion"),
            evaluation("decoder", "the chain without its refiner", "EvaluateWhole"),
            evaluation("refiner", "the whole chain, which must have a refiner", "EvaluateWhole"),
        ),
        translate=TRANSLATE,
        examples=(
            "avatarctl eval sparse --store data/amass --weights SAGE_S1",
            "avatarctl eval sparse --stage vqvae --part lower --store data/amass --weights SAGE_S1",
        ),
    )
    yield Target(
        verb="export",
        name="sparse",
        summary="an estimated motion as glb, bvh, npz, pkl, film or Blender script",
        aliases=("sparse-tracking",),
        run=f"{PACKAGE}.export:run",
        settings=f"{PACKAGE}.settings:Export",
        examples=("avatarctl export sparse runs/infer-sparse/001 --to blender --to pkl",),
    )
    yield Target(
        verb="demo",
        name="sparse-tracking",
        summary="three trackers to a whole body on real motion capture",
        run=f"{PACKAGE}.demo:run",
        settings=f"{PACKAGE}.settings:Demo",
        examples=("avatarctl demo --out demo",),
    )


def stage(name: str, summary: str, settings: str) -> Stage:
    """A training stage; its run function is called like it."""
    return Stage(
        name=name,
        summary=summary,
        run=f"{PACKAGE}.train:run_{name}",
        settings=f"{PACKAGE}.settings_train:{settings}",
    )


def evaluation(name: str, summary: str, settings: str) -> Stage:
    """The evaluation of a single stage; its run function is called like it."""
    return Stage(
        name=name,
        summary=summary,
        run=f"{PACKAGE}.evaluate_stages:run_{name}",
        settings=f"{PACKAGE}.settings:{settings}",
    )


@hookimpl
def avatarctl_checkups() -> Iterator[Checkup]:
    """What `avatarctl doctor` looks at."""
    yield Checkup(
        name="sparse-tracking",
        summary="AMASS copy, body model, weights, stores (--data AMASS --weights FOLDER)",
        run=f"{PACKAGE}.checkup:run",
    )


@hookimpl
def avatarctl_weights() -> Iterator[Weights]:
    """Official checkpoint layouts and the embedded open weights."""
    yield Weights(
        name="sage-net",
        summary="published SAGE Net checkpoints (VQ-VAE, diffusion, decoder, refiner)",
        sniff=f"{PACKAGE}.official:sniff",
        read=f"{PACKAGE}.official:read",
        write=f"{PACKAGE}.official:write",
        describe=f"{PACKAGE}.inspecting:describe",
    )
    yield Weights(
        name="open-small",
        summary="small networks trained on the embedded open clips",
        path=str(HERE / "weights" / "open-small.safetensors"),
    )
