"""Settings of the training stages; the defaults are the published configuration (spec 4.8)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.config.groups import Loop, Optimizer, Schedule

Part = Literal["upper", "lower"]
Frame = Literal["world", "heading"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]


def misfit(sizes: Mapping[str, float]) -> str:
    """Why sizes of a network do not go together; empty where they do."""
    width, heads, books = (sizes.get(name, 0) for name in ("width", "heads", "books"))
    if heads and width % heads:
        return f"width {width}: expected a multiple of heads, {heads}"
    if heads and "layers" in sizes and width % 2:
        return f"width {width}: expected an even number"
    if books and sizes["latent"] % books:
        return f"latent {sizes['latent']}: expected a multiple of books, {books}"
    return ""


class Network(Group):
    """Sizes that go together."""

    @model_validator(mode="after")
    def _fitting(self) -> Network:
        if why := misfit(self.model_dump()):
            raise ValueError(why)
        return self


class VqvaeNetwork(Network):
    """Sizes of one body half's VQ-VAE (spec 4.2, 4.3)."""

    layers: Positive = 4
    """Transformer blocks of the encoder and of the decoder; 6 in settings S2 and S3."""
    width: Positive = 256
    """Channels of the transformer."""
    heads: Positive = 4
    """Attention heads."""
    dropout: Share = 0.1
    """Dropout inside the blocks."""
    books: Positive = 8
    """Codebooks that share a latent (product quantisation)."""
    codes: Positive = 64
    """Codes in each book."""
    latent: Positive = 384
    """Channels of a latent token."""


class DenoiserNetwork(Network):
    """Sizes of one latent diffusion model (spec 4.4)."""

    depth: Positive = 12
    """Transformer blocks."""
    width: Positive = 512
    """Channels of the transformer."""
    heads: Positive = 8
    """Attention heads."""


class DecoderNetwork(Network):
    """Sizes of the full-body decoder (spec 4.5)."""

    layers: Positive = 4
    """Transformer blocks."""
    width: Positive = 256
    """Channels of the transformer."""
    heads: Positive = 4
    """Attention heads."""
    dropout: Share = 0.1
    """Dropout inside the blocks."""


class RefinerNetwork(Group):
    """Sizes of the temporal refiner (spec 4.6)."""

    layers: Positive = 2
    """GRU layers; 3 in setting S3."""
    width: Positive = 512
    """Hidden channels."""


class VqvaeLosses(Group):
    """Weights of the VQ-VAE's loss terms (spec 5.1)."""

    root: Weight = 0.2
    """Root rotation against the other joints."""
    codebook: Weight = 0.25
    """Quantiser."""
    fk: Weight = 5.0
    """Joint positions."""
    hand: Weight = 5.0
    """Hands against the trackers; used for the upper half only."""


class DecoderLosses(Group):
    """Weights of the decoder's loss terms (spec 5.4)."""

    root: Weight = 0.02
    """Root rotation."""
    other: Weight = 1.0
    """Rotations of the other joints."""
    align: Weight = 5.0
    """Joint positions after aligning the heads."""


class RefinerLosses(Group):
    """Weights of the refiner's loss terms (spec 5.5)."""

    recons: Weight = 0.01
    """Rotations."""
    vel_1: Weight = 60.0
    """Differences of neighbouring frames."""
    vel_2: Weight = 20.0
    """Differences of frames three apart."""
    fk: Weight = 0.01
    """Joint positions."""
    hand_align: Weight = 0.01
    """Head and hands after aligning the heads."""
    jitter: Weight = 0.03
    """Third differences of the joints."""


class Train(StageSettings):
    """What the stages share."""

    store: Path = Path("data/amass")
    """Prepared motion store (avatarctl prepare amass)."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets, else the open body."""
    epochs: Positive = 40
    """Passes over the training clips."""
    validate_clips: Annotated[int, Field(ge=0)] = 16
    """Clips of the test split scored at each validation; 0 for none, which keeps the last weights."""
    keep: Literal["best", "last"] = "best"
    """Weights that later stages take: of the best validation (by mpjpe), or the last ones (published)."""


class TrainWindows(Train):
    """What the stages that learn from random windows share."""

    repeat: Positive = 500
    """Random windows taken from each clip in one pass."""
    mirror: bool = False
    """Also train on mirrored windows (half of them); the published training does not."""


class TrainVqvae(TrainWindows):
    """Body-half VQ-VAE: windows of rotations to product codes and back."""

    network_fields: ClassVar[tuple[str, ...]] = ("network", "part", "frame")
    part: Part = "upper"
    """Body half."""
    frame: Frame = "world"
    """Axes of a window: the room's (published), or turned and moved to the head of its last frame."""
    batch_size: Positive = 512
    """Windows in a step."""
    mask_ratio: Share = 0.5
    """Share of the joints whose rotations are hidden from the encoder."""
    epochs_plain: Annotated[int, Field(ge=0)] = 0
    """First passes without quantiser, which small data needs to leave the mean pose; published: none."""
    network: VqvaeNetwork = VqvaeNetwork()
    """Sizes."""
    losses: VqvaeLosses = VqvaeLosses()
    """Loss weights."""
    optim: Optimizer = Optimizer(lr=1e-4, betas=(0.9, 0.99), weight_decay=1e-4)
    """Optimiser."""
    schedule: Schedule = Schedule(milestones=[30, 50], gamma=0.25)
    """Learning-rate steps, in epochs."""
    loop: Loop = Loop()
    """Length, logging, checkpoints."""


class TrainDiffusion(TrainWindows):
    """Latent diffusion of one body half; the lower half is given the upper one's latents."""

    network_fields: ClassVar[tuple[str, ...]] = ("network", "part")
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "part": {
            "lower": {
                "epochs": 41,
                "batch_size": 512,
                "schedule": {"milestones": [15, 20], "gamma": 0.2},
            }
        }
    }
    part: Part = "upper"
    """Body half."""
    vqvae: WeightsPath = "latest"
    """VQ-VAE of this half."""
    upper: WeightsPath = "latest"
    """Upper diffusion, for the lower half only."""
    epochs: Positive = 51
    """Passes over the training clips; lower half: 41."""
    batch_size: Positive = 400
    """Windows in a step; lower half: 512."""
    mask_rows: Annotated[int, Field(ge=0, le=22)] = 2
    """Rows of the condition that are hidden in each training sample."""
    network: DenoiserNetwork = DenoiserNetwork()
    """Sizes."""
    optim: Optimizer = Optimizer(lr=2e-4, weight_decay=1e-4)
    """Optimiser."""
    schedule: Schedule = Schedule(milestones=[20, 30], gamma=0.25)
    """Learning-rate steps, in epochs; lower half: after 15 and 20, by 0.2."""
    loop: Loop = Loop()
    """Length, logging, checkpoints."""


class TrainDecoder(TrainWindows):
    """Full-body decoder on sampled latents, then decoder and both diffusion models together."""

    upper: WeightsPath = "latest"
    """Upper diffusion."""
    lower: WeightsPath = "latest"
    """Lower diffusion."""
    epochs: Positive = 12
    """Passes over the training clips, both phases together."""
    epochs_decoder: Annotated[int, Field(ge=0)] = 6
    """Passes that train the decoder alone."""
    batch_size: Positive = 300
    """Windows in a step."""
    network: DecoderNetwork = DecoderNetwork()
    """Sizes."""
    losses: DecoderLosses = DecoderLosses()
    """Loss weights."""
    optim: Optimizer = Optimizer(lr=1e-4, weight_decay=1e-4)
    """Optimiser of the first phase."""
    lr_joint: Annotated[float, Field(gt=0)] = 8e-5
    """Peak learning rate of the second phase."""
    schedule: Schedule = Schedule()
    """Learning-rate steps of the second phase, in epochs; the published training has none."""
    loop: Loop = Loop()
    """Length, logging, checkpoints."""


class TrainRefiner(Train):
    """Temporal refiner over the decoder's frames."""

    decoder: WeightsPath = "latest"
    """Decoder stage (it holds both diffusion models)."""
    epochs: Positive = 18
    """Passes over the training clips."""
    frames: Annotated[int, Field(ge=40)] = 500
    """Longest piece of a clip, in frames."""
    network: RefinerNetwork = RefinerNetwork()
    """Sizes."""
    losses: RefinerLosses = RefinerLosses()
    """Loss weights."""
    optim: Optimizer = Optimizer(lr=8e-5, weight_decay=1e-4)
    """Optimiser."""
    schedule: Schedule = Schedule(milestones=[15], gamma=0.2)
    """Learning-rate steps, in epochs."""
    loop: Loop = Loop()
    """Length, logging, checkpoints."""
