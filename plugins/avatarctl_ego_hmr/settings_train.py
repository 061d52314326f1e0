"""Settings of the training stages; the defaults are those of the published commands (spec 1.2, 1.3, 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.config.groups import Count, Loop, Optimizer

Positive = Annotated[int, Field(gt=0)]
Even = Annotated[int, Field(gt=0, multiple_of=2)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]


class BackboneNetwork(Group):
    """Sizes of the image network; those of ResNet-50."""

    width: Positive = 64
    """Channels of its first stage."""
    blocks: Annotated[list[Positive], Field(min_length=1, max_length=8)] = [3, 4, 6, 3]
    """Blocks of each stage."""


class ConditionedNetwork(Group):
    """Sizes of what both stages are told of the picture and the room."""

    backbone: BackboneNetwork = BackboneNetwork()
    """Image network."""
    point_hidden: Positive = 256
    """Width of the network over scene points."""
    point_features: Positive = 512
    """Numbers that it says of the scene."""
    with_focal_length: bool = True
    """The focal length is told."""
    with_cam_center: bool = True
    """The principal point is told."""
    with_bbox_info: bool = True
    """Place and size of the box are told."""


class SceneNetwork(ConditionedNetwork):
    """Sizes of stage 1 (spec 4.4)."""

    layers: Positive = 4
    """Steps of the flow, each an ActNorm, a linear layer and a coupling."""
    hidden: Positive = 1024
    """Width of the networks in couplings."""
    depth: Positive = 2
    """Their residual blocks."""
    dropout: Share = 0.5
    """Dropout in these."""
    head: Positive = 1024
    """Width of the head that says shape and camera."""
    critic: Positive = 1024
    """Width of the discriminator's layers over all joints."""


class SceneLosses(Group):
    """Weights of the loss terms; `mode` is the likeliest sample, `exp` the mean over the others."""

    v2v_exp: Weight = 0.0
    """Vertices."""
    v2v_mode: Weight = 0.5
    """Vertices."""
    keypoints_3d_exp: Weight = 0.0
    """Joints, seen from the pelvis."""
    keypoints_3d_mode: Weight = 0.05
    """Joints, seen from the pelvis."""
    keypoints_3d_full_exp: Weight = 0.0
    """Joints in camera axes."""
    keypoints_3d_full_mode: Weight = 0.02
    """Joints in camera axes."""
    keypoints_2d_exp: Weight = 0.001
    """Keypoints in the crop."""
    keypoints_2d_mode: Weight = 0.01
    """Keypoints in the crop."""
    keypoints_2d_full_exp: Weight = 0.001
    """Keypoints in the picture."""
    keypoints_2d_full_mode: Weight = 0.01
    """Keypoints in the picture."""
    global_orient_exp: Weight = 0.0
    """Rotation of the root."""
    global_orient_mode: Weight = 0.001
    """Rotation of the root."""
    body_pose_exp: Weight = 0.0
    """Rotations of the other joints."""
    body_pose_mode: Weight = 0.001
    """Rotations of the other joints."""
    betas_exp: Weight = 0.0
    """Shape."""
    betas_mode: Weight = 0.0005
    """Shape."""
    orthogonal: Weight = 0.1
    """6D rotations that are far from rotations."""
    nll: Weight = 0.001
    """Negative log likelihood of the true pose."""
    adversarial: Weight = 0.0005
    """Judgement of the discriminator."""


class Train(StageSettings):
    """What the stages share."""

    data: Path = Path("data/egobody")
    """Folder of EgoBody, or of recordings in its layout."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """People in a step."""
    box_scale: Annotated[float, Field(gt=0, le=10)] = 1.2
    """Boxes around people are enlarged by this."""
    augment: bool = True
    """Turn, scale, shift, mirror and tint the pictures."""
    body: Literal["auto", "smpl", "open"] = "auto"
    """Bodies: licensed SMPL, or the open body; auto takes those that the data was made with."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    start: WeightsPath | None = None
    """Weights of this stage to go on from, native or official, with their sizes; left out: fresh ones."""
    backbone: Path | None = None
    """Image network to start from: ProHMR's checkpoint.pt or torchvision's ResNet-50; left out: fresh."""
    mean_params: Path | None = None
    """smpl_mean_params.npz, where shape and camera start; left out: the mean shape, and a scale of 0.9."""
    validate_spacing: Count = 1
    """Validate on every so many frames of the val split; 0 for no validation."""
    optim: Optimizer = Optimizer(lr=1e-4, weight_decay=1e-4)
    """Optimiser."""
    loop: Loop = Loop(steps=200_000, validate_every=2000, save_every=2000)
    """Length, logging, checkpoints; the published training has no end and is stopped by hand."""


class TrainScene(Train):
    """Where the body is: a flow over poses given picture and room, with a head for shape and camera."""

    points: Literal["front", "cube-gt"] = "front"
    """Scene points: all in front of the camera, or a cube around the body (avatarctl prepare egobody)."""
    samples: Annotated[int, Field(ge=2, le=64)] = 2
    """Bodies drawn of each person in a step, the likeliest among them."""
    validate_samples: Annotated[int, Field(ge=2, le=64)] = 4
    """The same in validation."""
    pose_noise: Weight = 0.005
    """Noise on the 6D numbers of true poses whose likelihood is learned."""
    full_2d: bool = True
    """Compare keypoints in the whole picture; else in the crop."""
    global_3d: bool = True
    """Also compare joints in camera axes."""
    mocap: Path | None = None
    """Poses for the discriminator (ProHMR's cmu_mocap.npz); left out: no adversarial term."""
    losses: SceneLosses = SceneLosses()
    """Weights of the loss terms."""
    network: SceneNetwork = SceneNetwork()
    """Sizes."""


class DiffusionNetwork(ConditionedNetwork):
    """Sizes of stage 2 (spec 4.5)."""

    place_hidden: Positive = 64
    """Width of the network over the body's place."""
    place_features: Positive = 128
    """Numbers that it says of it."""
    latent: Annotated[int, Field(ge=2, multiple_of=2)] = 512
    """Numbers for the pose of a joint, and for the step."""
    hidden: Positive = 1024
    """Width of the graph convolutions."""
    layers: Positive = 4
    """Their residual blocks."""
    non_local: bool = False
    """Joints attend to each other before the output."""
    head: Positive = 1024
    """Width of the head that says the shape."""
    scene_cano: bool = True
    """Scene points are told as seen from the body's place; else from the camera."""
    only_mask_img_cond: bool = True
    """Without the image, the room and the place are still told."""


class DiffusionLosses(Group):
    """Weights of the loss terms (spec 5.2)."""

    v2v: Weight = 0.5
    """Vertices."""
    keypoints_3d: Weight = 0.05
    """Joints, seen from the pelvis."""
    keypoints_3d_full: Weight = 0.02
    """Joints in camera axes."""
    keypoints_2d_full: Weight = 0.01
    """Keypoints in the picture."""
    betas: Weight = 0.0005
    """Shape."""
    body_pose: Weight = 0.001
    """Rotations of all joints but the root."""
    global_orient: Weight = 0.001
    """Rotation of the root."""
    orthogonal: Weight = 0.1
    """6D rotations that are far from rotations."""
    collision: Weight = 0.0002
    """Depth of the room in the body."""


class TrainDiffusion(Train):
    """Its pose: diffusion given picture, room and place."""

    points: Literal["front", "cube-gt"] = "cube-gt"
    """Scene points: a cube around the body (avatarctl prepare egobody), or all in front of the camera."""
    loosen: bool = False
    """Hips count as seen where the knees are; the published training is strict, its tests are not."""
    image_drop: Share = 0.01
    """Share of the people of whom the image is not told."""
    collision: WeightsPath = "coap_smpl_neutral.ckpt"
    """Collision network (COAP or VolumetricSMPL), for a loss; none trains without."""
    collision_epoch: Count = 3
    """Epoch, counted from 0, from which bodies must not reach into the room."""
    validate_spacing: Count = 20
    """Validate on every so many frames of the val split; 0 for no validation."""
    validate_sampler: Literal["ddim5", "ddpm"] = "ddim5"
    """Sampler of the validation: five steps, or all 50."""
    loop: Loop = Loop(steps=200_000, validate_every=1000, save_every=2000)
    """Length, logging, checkpoints; the published training has no end and is stopped by hand."""
    losses: DiffusionLosses = DiffusionLosses()
    """Weights of the loss terms."""
    network: DiffusionNetwork = DiffusionNetwork()
    """Sizes."""


class CollisionNetwork(Group):
    """Sizes of COAP (spec 4.6)."""

    hidden: Positive = 128
    """Width of the network over points of a part's surface."""
    features: Positive = 128
    """Numbers that it says of the part."""
    query: Positive = 256
    """Width of the layers that mix these with a point."""
    mixed: Positive = 128
    """Numbers that they make."""
    width: Positive = 256
    """Width of the layers that decide."""

    @model_validator(mode="after")
    def _fitting(self) -> CollisionNetwork:
        # One layer of each network makes room for its input, which the next one takes once more.
        for name, least in (("query", self.features + 20), ("width", self.mixed + 3)):
            if getattr(self, name) <= least:
                raise ValueError(f"{name} {getattr(self, name)}: expected more than {least}")
        return self


class TrainCollision(StageSettings):
    """Occupancy of a body in poses of the embedded clips; needs no data, and the recipe is our own."""

    body: Literal["smpl", "open"] = "smpl"
    """Body: licensed SMPL, or the open body."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    start: WeightsPath | None = None
    """COAP to go on from, native or official, with its sizes; left out: a fresh one."""
    bodies: Positive = 1000
    """Bodies that are posed before the training; each step takes some."""
    body_points: Even = 4096
    """Points around each, half of them near its surface."""
    batch_size: Positive = 8
    """Bodies in a step."""
    points: Positive = 1024
    """Points around each in a step, at most `body_points`."""
    surface: Even = 1000
    """Points on the surface of each part that are encoded; as many as guidance and scores take are best."""
    validate_bodies: Count = 50
    """Bodies in poses of held-out clips; 0 for no validation."""
    optim: Optimizer = Optimizer(lr=1e-3, weight_decay=0.0)
    """Optimiser; its learning rate falls to 0."""
    loop: Loop = Loop(steps=20_000, validate_every=1000, save_every=1000)
    """Length, logging, checkpoints."""
    network: CollisionNetwork = CollisionNetwork()
    """Sizes."""
