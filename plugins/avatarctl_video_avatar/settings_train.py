"""Settings of the training; the defaults are those of ZJU-MoCap's subject 377 as published (spec 4.12)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from avatarctl.config import Group, StageSettings, WeightsPath
from avatarctl.config.groups import Loop, Optimizer
from avatarctl_video_avatar.settings_model import Network, NotNegative, Positive, Rendering

Weight = Annotated[float, Field(ge=0.0)]
Rate = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Dataset = Literal["auto", "zju-mocap", "h36m", "monocap", "people-snapshot", "selfrecon", "synthetic-human"]
View = Annotated[str, Field(min_length=1)]
_PART = re.compile(r"(-?\d*):(-?\d*)(?::([1-9]\d*))?")


def _frames_words(words: str) -> str:
    if not _PART.fullmatch(words):
        raise ValueError(
            f"found '{words}', expected START:END or START:END:STEP, such as 0:300:10; an END of -1 leaves "
            "out the last"
        )
    return words


Frames = Annotated[str, AfterValidator(_frames_words)]
"""Places of frames in their view, as Python writes slices."""


def frames_of(words: str) -> slice:
    """The slice that a setting of the kind `Frames` names."""
    found = _PART.fullmatch(words)
    assert found is not None, "the settings have checked it"
    return slice(*(int(number) if number else None for number in found.groups()))


class Losses(Group):
    """Weights of the loss terms, and what changes them on the way (spec 5)."""

    rgb: Weight = 10.0
    """Colours."""
    rgb_type: Literal["l1", "mse", "smoothed_l1"] = "l1"
    """How colours are compared."""
    perceptual: Weight = 1.0
    """LPIPS of patches; 0 compares colours ray by ray below the mask, as published."""
    mse: Weight = 1.0
    """Squared differences of colours."""
    nssim: Weight = 1.0
    """Structure of patches."""
    eikonal: Weight = 0.1
    """Slope of the signed distances, which should be 1."""
    skinning: Weight = 1.0
    """Skinning weights, seen from those of the nearest vertices."""
    mask: Weight = 1.0
    """Rays that miss the body in the mask, and those that may meet it outside."""
    weight_decay_end: Rate = 1e10
    """Step at which the skinning term would have faded away."""
    kick_out_iter: Weight = 50000
    """Step from which the skinning term is left out."""


class Patches(Group):
    """What a step sees of a picture."""

    n_patches: Positive = 4
    """Patches."""
    patch_size: Annotated[int, Field(ge=16, le=1024)] = 32
    """Side of a patch, pixels."""
    sample_subject_ratio: Share = 0.8
    """Share of the patches that lie on the person; the others lie beside, in the box."""


class Rates(Optimizer):
    """Adam, with a learning rate for each group of networks; the rates fall slowly."""

    lr: Rate = 5e-4
    """Learning rate of surface, colour and sharpness."""
    lr_pose_decoder: Rate = 5e-5
    """Of the pose decoder."""
    lr_skinning_model: Rate = 1e-4
    """Of the skinning network."""
    lr_non_rigid_mlp: Rate = 5e-5
    """Of the non-rigid network."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""
    decade: Rate = 5e6
    """Steps in which the rates fall to a tenth (1000 warm_up_end of the published configuration)."""


class Train(StageSettings):
    """One person's avatar from a prepared recording."""

    data: Path
    """A person's prepared recording."""
    dataset: Dataset = "auto"
    """Data set of the recording, where its kind matters; auto takes what its preparation wrote down."""
    offset: Literal["exact", "published"] = "exact"
    """Bodies of People-Snapshot and SelfRecon: moved to where they were fitted, or by 40 cm as published."""
    views: Annotated[list[View], Field(min_length=1)] = ["0", "6", "12", "18"]
    """Cameras to train on: names of folders in the recording."""
    frames: Frames = "0:300"
    """Their frames, START:END:STEP; an END of -1 leaves out the last."""
    validate_views: list[View] = [str(view) for view in range(23) if view % 6]
    """Cameras to validate on; none for no validation."""
    validate_frames: Frames = "100:300:100000"
    """Their frames."""
    res_level: Positive = 4
    """Of pictures to validate on every so many rows and columns count."""
    batch_size: Positive = 4
    """Pictures in a step; the processes of torchrun share them."""
    epochs: Positive = 1000
    """Times that each picture is seen; loop.steps, where it is not 0, counts steps instead."""
    validate_epochs: NotNegative = 10
    """Epochs between validations; loop.validate_every, where it is not 0, counts steps instead."""
    save_epochs: NotNegative = 10
    """Epochs between checkpoints; loop.save_every, where it is not 0, counts steps instead."""
    start: WeightsPath | None = None
    """Weights to go on from, native or official, with their sizes and number of steps; left out: fresh."""
    lpips: list[Path] = []
    """Files of LPIPS's network: torchvision's vgg16-397923af.pth and the lpips package's vgg.pth, or an
    official checkpoint; left out: those of --start, else those among the added assets."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    pretrain_skinning: NotNegative = 0
    """Steps in which a fresh skinning network first learns the body's weights, such as 10000."""
    workers: NotNegative = 2
    """Threads that prepare the pictures of the next step; 0 for none."""
    patches: Patches = Patches()
    """What a step sees."""
    rendering: Rendering = Rendering()
    """Sampling, deformation and their schedules."""
    losses: Losses = Losses()
    """Weights of the loss terms."""
    optim: Rates = Rates()
    """Optimiser."""
    loop: Loop = Loop(log_every=10, validate_every=0, save_every=0)
    """Length, logging, checkpoints."""
    network: Network = Network()
    """Sizes."""
