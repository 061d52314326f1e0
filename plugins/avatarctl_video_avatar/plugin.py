"""What video-avatar offers: targets and weights, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avatarctl.api import Layout, Target, Weights, hookimpl

HERE = Path(__file__).parent
PACKAGE = "avatarctl_video_avatar"
RAW = (
    ("zju-mocap", "PrepareZju", "ZJU-MoCap: 23 cameras, fitted SMPL bodies", "CoreView_377"),
    ("h36m", "PrepareH36m", "Human3.6M as Animatable-NeRF prepared it: 4 cameras", "h36m/S6/Posing"),
    ("monocap", "PrepareMonocap", "MonoCap: one camera of many is trained on", "MonoCap/olek_images0812"),
    ("people-snapshot", "PreparePeopleSnapshot", "People-Snapshot: a person turning", "male-3-casual"),
    ("selfrecon", "PrepareSelfrecon", "SelfRecon's synthetic people", "female-outfit1"),
    ("synthetic-human", "PrepareSyntheticHuman", "SyntheticHuman: rendered people, ten cameras", "jody"),
)
"""Raw data sets: target, settings, summary, folder of an example."""


@hookimpl
def avatarctl_targets() -> Iterator[Target]:
    """The targets of every verb."""
    for name, settings, summary, folder in RAW:
        yield Target(
            verb="prepare",
            name=name,
            summary=summary,
            run=f"{PACKAGE}.prepare:run",
            settings=f"{PACKAGE}.settings_prepare:{settings}",
            examples=(f"avatarctl prepare {name} {folder}",),
        )
    yield Target(
        verb="prepare",
        name="smpl-params",
        summary="SMPL's tables as the published code reads them (data/body_models/misc)",
        run=f"{PACKAGE}.prepare_smpl:run",
        settings=f"{PACKAGE}.settings_prepare:PrepareSmplParams",
        examples=("avatarctl prepare smpl-params body_models --into data/body_models/misc",),
    )
    yield Target(
        verb="prepare",
        name="synthetic-video",
        summary="a made-up dressed person seen by several cameras: open body and clip, drawn here",
        run=f"{PACKAGE}.synthetic:run",
        settings=f"{PACKAGE}.settings_synthetic:PrepareSynthetic",
        examples=("avatarctl prepare synthetic-video --frames 40 --cameras 6",),
    )
    yield Target(
        verb="train",
        name="video-avatar",
        summary="one person's avatar: surface and colour around the body, skinning",
        run=f"{PACKAGE}.train:run",
        settings=f"{PACKAGE}.settings_train:Train",
        examples=("avatarctl train video-avatar -c zju-377 --data data/data_prepared/CoreView_377",),
    )
    yield Target(
        verb="infer",
        name="video-avatar",
        summary="pictures and film of an avatar from any camera, in any pose",
        run=f"{PACKAGE}.infer:run",
        settings=f"{PACKAGE}.settings:Infer",
        examples=(
            "avatarctl infer video-avatar --data data/data_prepared/CoreView_377 --weights latest --mode nvs",
            "avatarctl infer video-avatar --data DATA --weights latest --motion walk.npz --camera orbit",
        ),
    )
    yield Target(
        verb="eval",
        name="video-avatar",
        summary="PSNR, SSIM, LPIPS of held-out pictures; chamfer distance and normals against meshes",
        run=f"{PACKAGE}.evaluate:run",
        settings=f"{PACKAGE}.settings_evaluate:Evaluate",
        examples=("avatarctl eval video-avatar --data data/data_prepared/CoreView_377 --weights latest",),
    )
    yield Target(
        verb="export",
        name="video-avatar",
        summary="the avatar's mesh: canonical, posed, animated glTF; obj, ply, glb, npy",
        run=f"{PACKAGE}.export:run",
        settings=f"{PACKAGE}.settings_export:Export",
        examples=("avatarctl export video-avatar --data DATA --weights latest --resolution 512",),
    )
    yield Target(
        verb="demo",
        name="video-avatar",
        summary="an avatar of a made-up person: a new view, a new pose, the mesh",
        run=f"{PACKAGE}.demo:run",
        settings=f"{PACKAGE}.settings_demo:Demo",
        examples=("avatarctl demo video-avatar --out avatar",),
    )


@hookimpl
def avatarctl_layouts() -> Iterator[Layout]:
    """What `avatarctl inspect` knows of recordings."""
    yield Layout(
        name="prepared-recording",
        summary="prepared recording of a person, for video-avatar",
        describe=f"{PACKAGE}.inspecting:recording",
        files=("mesh_infos.pkl",),
    )


@hookimpl
def avatarctl_weights() -> Iterator[Weights]:
    """The published checkpoint layout and the embedded toy weights."""
    yield Weights(
        name="hfavatar",
        summary="checkpoints of HF-Avatar / PGAHum trainings (epoch=E-step=S.ckpt)",
        sniff=f"{PACKAGE}.official:sniff",
        read=f"{PACKAGE}.official:read",
        write=f"{PACKAGE}.official:write",
        describe=f"{PACKAGE}.official:describe",
    )
    yield Weights(
        name="avatar-toy",
        summary="toy avatar of a made-up person, drawn by this project",
        path=str(HERE / "weights" / "avatar-toy.safetensors"),
    )
