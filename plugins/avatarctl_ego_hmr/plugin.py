"""What ego-hmr offers: targets and weights, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avatarctl.api import Checkup, Layout, Link, Stage, Target, Weights, hookimpl

HERE = Path(__file__).parent
PACKAGE = "avatarctl_ego_hmr"


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="prepare",
        name="egobody",
        summary="EgoBody: scene points around each person, pose statistics, what is missing",
        run=f"{PACKAGE}.prepare:run",
        settings=f"{PACKAGE}.settings_prepare:PrepareEgobody",
        examples=(
            "avatarctl prepare egobody egobody --step front --split train",
            "avatarctl prepare egobody egobody --step cube-predicted --split test --translations results.pkl",
        ),
    )
    yield Target(
        verb="prepare",
        name="synthetic-egobody",
        summary="made-up recordings in EgoBody's layout: open bodies, clips and scene, drawn here",
        run=f"{PACKAGE}.synthetic.prepare:run",
        settings=f"{PACKAGE}.settings_synthetic:PrepareSynthetic",
        examples=("avatarctl prepare synthetic-egobody --frames 200",),
    )
    yield Target(
        verb="train",
        name="ego-hmr",
        summary="bodies of people seen from a head-mounted camera, in their scene",
        stages=(
            stage("scene", "where the body is: ProHMR-scene, a flow given picture and room", "TrainScene"),
            stage("diffusion", "its pose: diffusion given picture, room and place", "TrainDiffusion"),
            stage("collision", "occupancy of a body (COAP), for guidance and scores", "TrainCollision"),
        ),
        chain=(Link(name="scene", stage="scene"), Link(name="diffusion", stage="diffusion")),
        examples=(
            "avatarctl train ego-hmr --stage scene --data egobody",
            "avatarctl train ego-hmr --stage diffusion --data egobody --collision coap_smpl_neutral.ckpt",
        ),
    )
    yield Target(
        verb="infer",
        name="ego-hmr",
        summary="several bodies for each person in a picture, in the scanned room",
        run=f"{PACKAGE}.infer:run",
        settings=f"{PACKAGE}.settings:Infer",
        examples=(
            "avatarctl infer ego-hmr photo.jpg --scene room.ply --camera camera.json --keypoints photo.json",
            "avatarctl infer ego-hmr --data egobody --split test --weights checkpoints",
        ),
    )
    yield Target(
        verb="eval",
        name="ego-hmr",
        summary="errors of visible and hidden joints, diversity, collision, contact",
        run=f"{PACKAGE}.evaluate:run",
        settings=f"{PACKAGE}.settings_evaluate:Evaluate",
        examples=(
            "avatarctl eval ego-hmr --data egobody --results results_seed_0.pkl",
            "avatarctl eval ego-hmr --data egobody --weights checkpoints --samples 5",
        ),
    )
    yield Target(
        verb="export",
        name="ego-hmr",
        summary="recovered bodies as npz, glb, ply, obj in camera or scene, pictures, published results",
        run=f"{PACKAGE}.export:run",
        settings=f"{PACKAGE}.settings:Export",
        examples=("avatarctl export ego-hmr runs/infer-ego-hmr/001 --to glb --to npz",),
    )
    yield Target(
        verb="demo",
        name="ego-hmr",
        summary="people in an office scan: bodies over the picture and in the room",
        run=f"{PACKAGE}.demo:run",
        settings=f"{PACKAGE}.settings:Demo",
        examples=("avatarctl demo ego-hmr --out people",),
    )


def stage(name: str, summary: str, settings: str) -> Stage:
    """A training stage; its module is called like it."""
    return Stage(
        name=name,
        summary=summary,
        run=f"{PACKAGE}.train_{name}:run",
        settings=f"{PACKAGE}.settings_train:{settings}",
    )


@hookimpl
def avatarctl_checkups() -> Iterator[Checkup]:
    """What `avatarctl doctor` looks at."""
    yield Checkup(
        name="ego-hmr",
        summary="EgoBody copy or its zips, prepared points, body models (--data EGOBODY --weights FOLDER)",
        run=f"{PACKAGE}.checkup:run",
    )


@hookimpl
def avatarctl_layouts() -> Iterator[Layout]:
    """What `avatarctl inspect` knows of EgoBody and of recovered bodies."""
    yield Layout(
        name="egobody-annotations",
        summary="annotations of EgoBody: who is seen in each picture, with box, keypoints, body and camera",
        describe=f"{PACKAGE}.inspecting:annotation",
        arrays=("imgname", "global_orient_pv", "transl_pv", "valid_keypoints"),
    )
    yield Layout(
        name="recovered-bodies",
        summary="bodies recovered by infer ego-hmr",
        describe=f"{PACKAGE}.inspecting:recovered",
        arrays=("names", "matrices", "box_centre", "camera_from_scene"),
    )
    for name, file in (
        ("egobody", "data_info_release.csv"),
        ("egobody-annotated", "annotation_egocentric_smpl_npz"),
    ):
        yield Layout(
            name=name,
            summary="EgoBody, or recordings in its layout: people seen from a head-mounted camera",
            describe=f"{PACKAGE}.inspecting:dataset",
            files=(file,),
        )


@hookimpl
def avatarctl_weights() -> Iterator[Weights]:
    """Official checkpoint layouts and the embedded toy weights."""
    yield Weights(
        name="egohmr",
        summary="published EgoHMR checkpoints (ProHMR-scene, diffusion), COAP and VolumetricSMPL",
        sniff=f"{PACKAGE}.official:sniff",
        read=f"{PACKAGE}.official:read",
        write=f"{PACKAGE}.official:write",
        describe=f"{PACKAGE}.official:describe",
    )
    yield Weights(
        name="egohmr-start",
        summary="image networks to start from: ProHMR's checkpoint, or ImageNet's ResNet-50",
        sniff=f"{PACKAGE}.official:is_start",
    )
    yield Weights(
        name="ego-toy",
        summary="toy networks trained on made-up recordings of open bodies in the open office scan",
        path=str(HERE / "weights" / "ego-toy.safetensors"),
    )
