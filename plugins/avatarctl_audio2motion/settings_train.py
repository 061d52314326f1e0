"""Settings of the training stages; the defaults are those of the published commands (spec 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.config.groups import Count, Loop, Optimizer

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
KEY_STEP = 30
"""Frames from one key pose to the next."""
PUBLISHED_AUDIO = [(512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1)]
"""Convolutions of wav2vec_large's front end; that of vq-wav2vec has one more."""


class AudioNetwork(Group):
    """Sizes of the audio front end; other ones than the published cannot take trained audio networks."""

    audio: list[tuple[Positive, Positive, Positive]] = [*PUBLISHED_AUDIO, (512, 1, 1)]
    """Channels, kernel and stride of each convolution of the audio front end."""
    log_compression: bool = False
    """The front end ends in log(1 + |x|); the published training is believed to leave that out."""


class LipNetwork(Group):
    """Sizes of the lip regressor (spec 4.3)."""

    layers: list[tuple[Positive, Positive, Positive]] = PUBLISHED_AUDIO
    """Channels, kernel and stride of each convolution of its front end."""
    kernels: list[Positive] = list(range(2, 14))
    """Kernels of the convolutions after it."""
    heads: Positive = 4
    """Attention heads."""
    feedforward: Positive = 1024
    """Channels inside its feed-forward parts."""
    encoder_layers: Positive = 2
    """Layers over the sound."""
    decoder_layers: Positive = 4
    """Layers over the frames."""
    vertices: Positive = 338
    """Lip vertices."""


class DenoiserNetwork(AudioNetwork):
    """What face and body networks share."""

    layers: Positive = 8
    """Decoder layers."""
    heads: Positive = 8
    """Attention heads."""
    width: Positive = 512
    """Channels of the transformer."""
    feedforward: Positive = 1024
    """Channels inside its feed-forward parts."""
    rotary: bool = True
    """Rotary positions; else sines are added."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout inside the layers."""

    @model_validator(mode="after")
    def _fitting(self) -> DenoiserNetwork:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width}: expected an even multiple of heads, {self.heads}")
        return self


class FaceNetwork(DenoiserNetwork):
    """Sizes of the face network (spec 4.1)."""

    condition_layers: Count = 2
    """Self-attention layers over the audio."""
    lip: LipNetwork | None = LipNetwork()
    """Sizes of the lip regressor; null leaves it out."""


class BodyNetwork(DenoiserNetwork):
    """Sizes of the body network (spec 4.1)."""

    layers: Positive = 6
    """Decoder layers."""
    width: Positive = 256
    """Channels of the transformer."""


class Train(StageSettings):
    """What the stages share."""

    store: Path = Path("data/PXB184")
    """Prepared conversations (avatarctl prepare conversations)."""
    frames: Annotated[int, Field(ge=KEY_STEP, multiple_of=KEY_STEP)] = 600
    """Frames of a training piece, thirty a second."""
    batch_size: Positive = 4
    """Pieces in a step."""
    validate_items: Count = 16
    """Pieces of the validation split scored at each validation; 0 for none."""


class TrainDiffusion(Train):
    """What face and body share."""

    shortest: Count = 400
    """Shortest piece that is drawn, padded to `frames`; 0, or no less than `frames`: all are full."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Noise schedule of the 1000 steps."""
    condition_drop: Share = 0.2
    """Share of the samples trained without each condition, which guidance needs."""
    audio: WeightsPath | None = None
    """Trained audio networks: the published audio models' folder, or any weights that hold them."""
    start: WeightsPath | None = None
    """Weights to go on from, such as a published checkpoint, with their sizes; left out: fresh ones."""
    log_vb: bool = False
    """Also log the variational bound, which costs a second forward pass, as published."""
    anneal_steps: Count = 0
    """Steps over which the learning rate falls to 0; 0 keeps it."""
    optim: Optimizer = Optimizer(lr=1e-4, weight_decay=0.0)
    """Optimiser."""
    loop: Loop = Loop(steps=800_000, save_every=5000, validate_every=5000)
    """Length, logging, checkpoints."""


class TrainFace(TrainDiffusion):
    """Diffusion of face codes, given both voices and the lips that the person's own voice suggests."""

    network_fields: ClassVar[tuple[str, ...]] = ("network", "schedule")
    velocity: Weight = 0.0
    """Weight of the error of frame-to-frame differences."""
    lip_dropout: bool = False
    """Leave the dropout of the frozen lip regressor on, as the published training does by oversight."""
    network: FaceNetwork = FaceNetwork()
    """Sizes."""


class TrainBody(TrainDiffusion):
    """Diffusion of body poses, given both voices and true key poses, one a second."""

    network_fields: ClassVar[tuple[str, ...]] = ("network", "schedule")
    velocity: Weight = 2.0
    """Weight of the error of frame-to-frame differences."""
    network: BodyNetwork = BodyNetwork()
    """Sizes."""


class CodecNetwork(Group):
    """Sizes of the codec of key poses (spec 4.4)."""

    width: Positive = 64
    """Channels of a latent."""
    codes: Positive = 1024
    """Codes in each book."""
    depth: Positive = 4
    """Books, each coding what those before it left over."""


class GuideNetwork(AudioNetwork):
    """Sizes of the guide (spec 4.5)."""

    layers: Positive = 6
    """Decoder layers."""
    heads: Positive = 4
    """Attention heads."""
    width: Positive = 64
    """Channels of the transformer."""
    feedforward: Positive = 1024
    """Channels inside its feed-forward parts."""
    audio_layers: Count = 2
    """Groups of six convolutions over the audio features; each takes 24 of them, about 0.24 s."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout inside the layers."""

    @model_validator(mode="after")
    def _fitting(self) -> GuideNetwork:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width}: expected an even multiple of heads, {self.heads}")
        return self


class TrainTokens(Train):
    """What codec and guide share."""

    warm_up: Count = 1000
    """Steps over which the learning rate rises."""
    milestones: list[Count] = [300_000]
    """Steps after which the learning rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(gt=0)] = 0.05
    """Factor at each milestone."""
    keep: Literal["best", "last"] = "best"
    """Weights that later stages take: of the best validation, or the last ones (published)."""
    start: WeightsPath | None = None
    """Weights to go on from, such as a published checkpoint; left out: fresh ones."""


class TrainVqvae(TrainTokens):
    """Codec of key poses, one a second: poses to codes and back."""

    commitment: Weight = 0.02
    """Weight of the distance from latents to their codes."""
    velocity: Weight = 0.0
    """Weight of the error of differences."""
    velocity_along: Literal["time", "channels"] = "time"
    """Differences of neighbouring key poses, or of neighbouring numbers of one (published, by oversight)."""
    revive_below: Weight = 0.0
    """Codes that stand for fewer key poses a step are put onto random ones; 0 leaves all (published)."""
    network: CodecNetwork = CodecNetwork()
    """Sizes."""
    optim: Optimizer = Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    """Optimiser."""
    loop: Loop = Loop(steps=300_000, save_every=5000, validate_every=1000)
    """Length, logging, checkpoints."""


class TrainGuide(TrainTokens):
    """Codes of key poses, one after the other, from both voices."""

    vqvae: WeightsPath = "latest"
    """Codec whose codes are learned."""
    audio: WeightsPath | None = None
    """Trained audio networks: published audio models or any weights that hold them."""
    condition_drop: Share = 0.2
    """Share of the samples trained without the voices."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the target that is spread over all codes."""
    warm_up: Count = 5000
    """Steps over which the learning rate rises."""
    milestones: list[Count] = [50_000, 400_000]
    """Steps after which the learning rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    """Factor at each milestone."""
    network: GuideNetwork = GuideNetwork()
    """Sizes."""
    optim: Optimizer = Optimizer(lr=2e-4, betas=(0.9, 0.99), weight_decay=0.1, clip=1.0)
    """Optimiser."""
    loop: Loop = Loop(steps=100_000, save_every=5000, validate_every=1000)
    """Length, logging, checkpoints."""
