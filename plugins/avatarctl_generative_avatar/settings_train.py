"""Settings of the training; the defaults are the published ones at the paper's setting (spec 1.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.config.groups import Decay, Loop
from avatarctl_generative_avatar.settings_model import (
    Critics,
    Kind,
    Network,
    NotNegative,
    Positive,
    Rendering,
    Share,
    Weight,
)

Rate = Annotated[float, Field(gt=0.0)]
Sign = Annotated[float, Field(ge=-1.0, le=1.0)]
Regulariser = Literal["l1", "monotonic-detach", "monotonic-fixed"]


class Losses(Group):
    """Loss terms, their weights and what changes them on the way (spec 5)."""

    gamma: Weight = 10.0
    """R1: the discriminators' slope at real pictures; the published recipe is not known."""
    r1_every: Positive = 16
    """Steps between R1 terms."""
    normal_gan: bool = True
    """A discriminator looks at normals."""
    face_gan: bool = True
    """Discriminators look at faces."""
    lambda_normal: Weight = 1.0
    """Factor on the logits of normals."""
    lambda_eikonal: Weight = 1.0
    """Slope of the decoder's signed distances, which should be 1."""
    density_reg: Weight = 0.25
    """Smoothness of densities; 0 for none."""
    density_reg_every: Positive = 4
    """Steps between smoothness terms."""
    density_reg_p_dist: Rate = 0.004
    """Distance of the densities compared by l1, metres."""
    reg_type: Regulariser = "l1"
    """How densities are compared: near each other, or first along the view."""
    style_mixing_prob: Share = 0.0
    """How often the last styles are another person's."""
    gpc_reg_prob: Share = 0.5
    """How often the generator is told another label, with rendering.c_gen_conditioning_zero off."""
    gpc_reg_fade_kimg: Rate = 500.0
    """Thousand pictures over which this share falls from 1."""
    blur_init_sigma: Weight = 10.0
    """Blur of the discriminators' pictures at the beginning, pixels."""
    blur_fade_kimg: Rate = 200.0
    """Thousand pictures, at batches of 32, over which the blur fades away."""
    blur_normals: bool = False
    """Blur what the discriminator of normals sees, too, as was meant; the published code does not."""


class Augmenting(Group):
    """Augmentation of what the discriminator of pictures sees (spec 5.5)."""

    mode: Literal["none", "ada", "fixed"] = "none"
    """None, as strong as overfitting asks for, or always alike."""
    p: Share = 0.2
    """Share of augmented pictures with mode fixed."""
    target: Sign = 0.6
    """Mean sign of real logits that mode ada aims at."""
    kimg: Rate = 500.0
    """Thousand pictures in which mode ada may go from 0 to 1; 100 with --start."""


class Rates(Group):
    """Adam for generator and discriminators; terms that come at intervals scale rates and betas."""

    lr: Rate = 0.0025
    """Learning rate of the generator."""
    lr_discriminator: Rate = 0.002
    """Of the discriminators."""
    betas: tuple[Decay, Decay] = (0.0, 0.99)
    """Decay of the two moment estimates."""
    decoder_lr_mul: Rate = 1.0
    """Factor on the decoder's rates."""
    freeze_layers: NotNegative = 0
    """Layers of each discriminator, counted from the picture, that are not trained."""
    ema_kimg: Rate = 10.0
    """Half-life of the averaged generator, thousand pictures at batches of 32."""
    ema_rampup: Weight = 0.05
    """Largest half-life as a share of the pictures seen; 0 or --start for no limit."""


class Train(StageSettings):
    """Generator and discriminators of people, from a collection of photos."""

    network_fields = ("network", "critics")

    data: Path
    """Photos with labels and normals: a zip or a folder."""
    max_size: NotNegative = 0
    """Photos to take of them, chosen at random; 0 takes all."""
    mirror: bool = False
    """Take the photos mirrored, too."""
    body: Kind = "smpl"
    """Body that the labels are of: the licensed one, or the open one that comes with avatarctl."""
    body_models: Path | None = None
    """Folder of the licensed body model; left out: the added assets."""
    sdf: Path | None = None
    """Signed distances of the canonical body (sdf_smpl.npy); left out: computed from the body."""
    begin: Literal["published", "body"] = "published"
    """A fresh generator's surface: anywhere, as published, or the body's own and sharp."""
    start: WeightsPath | None = None
    """Weights to begin with, a snapshot or our own; tensors of the same name are taken over."""
    start_noise: bool = True
    """Take its noise over too."""
    start_blur: bool = False
    """Begin with blur, also from such weights."""
    batch_size: Positive = 32
    """Photos in a step; the processes of torchrun share them. The published recipe is not known."""
    micro_batch: NotNegative = 0
    """Photos that a process works on at a time; 0 for its whole share."""
    kimg: Positive = 25000
    """Length in thousand photos seen; loop.steps, where it is not 0, counts steps instead."""
    picture_kimg: Weight = 10.0
    """Thousand photos between two sheets of samples; 0 for none."""
    save_kimg: Rate = 100.0
    """Thousand photos between checkpoints; loop.save_every, where it is not 0, counts steps instead."""
    grid: tuple[Positive, Positive] = (8, 8)
    """Columns and rows of a sheet."""
    workers: NotNegative = 3
    """Threads that read the photos of the next step; 0 for none."""
    losses: Losses = Losses()
    """Loss terms."""
    augment: Augmenting = Augmenting()
    """Augmentation."""
    rendering: Rendering = Rendering()
    """How rays are sampled and the generator is conditioned."""
    optim: Rates = Rates()
    """Optimisers and averages."""
    loop: Loop = Loop(log_every=16, validate_every=0, save_every=0)
    """Length, logging, checkpoints."""
    network: Network = Network()
    """Sizes of the generator."""
    critics: Critics = Critics()
    """Sizes of the discriminators."""
