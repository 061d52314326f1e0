"""What generative-avatar offers: targets and weights, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avatarctl.api import Asset, Layout, Target, Weights, hookimpl

HERE = Path(__file__).parent
PACKAGE = "avatarctl_generative_avatar"


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    yield Target(
        verb="prepare",
        name="fashion",
        summary="photos of people with fitted bodies: the zip that trainings and evaluations read",
        run=f"{PACKAGE}.prepare:run",
        settings=f"{PACKAGE}.settings_prepare:PrepareFashion",
        examples=("avatarctl prepare fashion --images photos --smpl fits.json --into fashion.zip",),
    )
    yield Target(
        verb="prepare",
        name="synthetic-fashion",
        summary="made-up photos: open bodies in random shapes, poses, clothes and light, drawn here",
        run=f"{PACKAGE}.synthetic:run",
        settings=f"{PACKAGE}.settings_synthetic:PrepareSynthetic",
        examples=("avatarctl prepare synthetic-fashion --number 2000 --resolution 128 --into photos.zip",),
    )
    yield Target(
        verb="train",
        name="generative-avatar",
        summary="generator and discriminators of people, from a collection of photos",
        run=f"{PACKAGE}.train:run",
        settings=f"{PACKAGE}.settings_train:Train",
        examples=("avatarctl train generative-avatar -c deepfashion --data fashion.zip",),
    )
    yield Target(
        verb="infer",
        name="generative-avatar",
        summary="new people: pictures, turning views, blends, films in any motion",
        run=f"{PACKAGE}.infer:run",
        settings=f"{PACKAGE}.settings:Infer",
        examples=(
            "avatarctl infer generative-avatar --weights ag3d.pkl --poses dp_pose_dist.npy --number 8",
            "avatarctl infer generative-avatar --weights fashion-toy --mode animate --motion walk.npz",
            "avatarctl infer generative-avatar --people runs/infer-generative-avatar/001 --pick 3",
        ),
    )
    yield Target(
        verb="eval",
        name="generative-avatar",
        summary="Fréchet distances of pictures, normals and faces to those of a collection",
        run=f"{PACKAGE}.evaluate:run",
        settings=f"{PACKAGE}.settings_evaluate:Evaluate",
        examples=("avatarctl eval generative-avatar --weights deep_fashion.pkl --data fashion.zip",),
    )
    yield Target(
        verb="export",
        name="generative-avatar",
        summary="a sampled person's mesh: obj, ply, glb; animated glTF with skinning weights",
        run=f"{PACKAGE}.export:run",
        settings=f"{PACKAGE}.settings_export:Export",
        examples=("avatarctl export generative-avatar --weights fashion-toy --to glb --motion walk_2",),
    )
    yield Target(
        verb="demo",
        name="generative-avatar",
        summary="made-up people from toy weights: samples, views, a blend, a dance, a mesh",
        run=f"{PACKAGE}.demo:run",
        settings=f"{PACKAGE}.settings_demo:Demo",
        examples=("avatarctl demo generative-avatar --out people",),
    )


@hookimpl
def avatarctl_layouts() -> Iterator[Layout]:
    """What `avatarctl inspect` knows: collections of photos, and people that were drawn."""
    yield Layout(
        name="photo-collection",
        summary="photos of people with labels, for generative-avatar",
        describe=f"{PACKAGE}.inspecting:collection",
        files=("dataset.json", "*img*"),
    )
    for name, summary, array in (
        ("people", "people of a generator: styles and labels", "labels"),
        ("person", "a person of a generator: styles and label", "label"),
    ):
        yield Layout(name=name, summary=summary, describe=f"{PACKAGE}.people:describe", arrays=("ws", array))


@hookimpl
def avatarctl_weights() -> Iterator[Weights]:
    """The published snapshots and the embedded toy weights."""
    yield Weights(
        name="ag3d",
        summary="snapshots of AG3D trainings (deep_fashion.pkl, network-snapshot.pkl)",
        sniff=f"{PACKAGE}.official:sniff",
        read=f"{PACKAGE}.official:read",
        describe=f"{PACKAGE}.official:describe",
    )
    yield Weights(
        name="fashion-toy",
        summary="toy generator of people, trained by this project on photos that it drew",
        path=str(HERE / "weights" / "fashion-toy.safetensors"),
    )


@hookimpl
def avatarctl_assets() -> Iterator[Asset]:
    """What users of the published weights fetch themselves."""
    yield Asset(
        name="ag3d-sdf",
        summary="signed distances of the canonical body, as the published networks were trained with",
        patterns=("sdf_smpl.npy", "model/sdf_smpl.npy"),
        register_at="https://github.com/zj-dong/AG3D",
        licence="see the authors' page",
    )
