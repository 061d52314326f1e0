"""What the training stages share: data in the networks' axes, decoded clips, held-out errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from avatarctl.body.tables import NUM_BODY
from avatarctl.data import Split
from avatarctl.errors import DataError
from avatarctl_sparse_tracking.data import Batch, Windows, held_out, held_out_clips, open_store
from avatarctl_sparse_tracking.heading import heading, to_heading, turn_root
from avatarctl_sparse_tracking.losses import at_head, half_joints, joints_of
from avatarctl_sparse_tracking.model import WINDOW
from avatarctl_sparse_tracking.model.vqvae import HALVES
from avatarctl_sparse_tracking.sampling import latents_of

if TYPE_CHECKING:
    from avatarctl.config.groups import Loop
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings_train import Train

CHUNK = 512
"""Windows computed at once where nothing is learned."""


@dataclass(frozen=True)
class Setup:
    """What the stages start from: the data, and the rest places of the 22 joints [22, 3]."""

    windows: Windows
    valid: Split
    rest: Tensor
    clips: int

    @staticmethod
    def of(settings: Train, run: Run, repeat: int = 1) -> Setup:
        """From a prepared store.

        Args:
            repeat: Random windows taken from each clip in one pass.
        """
        body = run.bodies.load("smplh", "male", settings.body_models)
        store = open_store(settings.store, body)
        run.input(settings.store, "store")
        valid, clips = store.split("test"), settings.validate_clips
        if clips and not held_out_clips(valid, clips):
            raise DataError(
                f"{store.path}: split 'test': no clip of at least {WINDOW} frames to validate on",
                hint="prepare the store with test clips, or --validate-clips 0",
            )
        rest = body.rest_joints[:NUM_BODY].to(run.device)
        return Setup(Windows(store.split("train"), repeat), valid, rest, clips)

    def validation(self, run: Run) -> Iterator[Batch]:
        """Batches of evenly spaced windows of held-out clips."""
        rows = held_out(self.valid, self.clips)
        windows = Windows(self.valid)
        for first in range(0, len(rows), CHUNK):
            found = windows.at(rows[first : first + CHUNK])
            yield Batch(found.trackers.to(run.device), found.sixd.to(run.device))


def seen(batch: Batch, frame: str) -> Batch:
    """The windows in the axes that the networks work in."""
    if frame == "world":
        return batch
    turn, origin = heading(batch.trackers)
    return Batch(to_heading(batch.trackers, turn, origin), turn_root(batch.sixd, turn[:, None]))


def half(sixd: Tensor, part: str) -> Tensor:
    """One half's rotations [..., 6 J] of the whole body's [..., 132]."""
    return sixd.unflatten(-1, (NUM_BODY, 6))[..., list(HALVES[part]), :].flatten(-2)


def tracked(trackers: Tensor) -> Tensor:
    """Places of head, left and right hand in the last frames [B, 3, 3]."""
    return trackers[:, -1, :, 12:15]


@dataclass(frozen=True)
class Sequence:
    """Consecutive frames F of a clip.

    `made` [F, 132] is the decoder's, in the networks' axes; `turn` [F, 3, 3] leads from world axes to those;
    `truth` [F, 132] and `tracked` [F, 3, 3] are in world axes.
    """

    made: Tensor
    turn: Tensor
    truth: Tensor
    tracked: Tensor

    def __getitem__(self, frames: slice) -> Sequence:
        return Sequence(self.made[frames], self.turn[frames], self.truth[frames], self.tracked[frames])


@torch.no_grad()
def decode_clip(
    split: Split, clip: int, nets: Mapping[str, Any], frame: str, device: torch.device
) -> Sequence:
    """What decoder and diffusion models make, from zero noise, of the last frames of a clip's windows."""
    rows = int(split.offsets[clip]) + np.arange(int(split.lengths[clip]) - WINDOW + 1)
    made, turns, truth, places = [], [], [], []
    for first in range(0, len(rows), CHUNK):
        found = Batch(*(tensor.to(device) for tensor in Windows(split).at(rows[first : first + CHUNK])))
        count = len(found.trackers)
        turns.append(
            heading(found.trackers)[0]
            if frame == "heading"
            else torch.eye(3, device=device).repeat(count, 1, 1)
        )
        trackers = seen(found, frame).trackers
        zeros = trackers.new_zeros(count, nets["upper"].tokens, nets["upper"].latent)
        latents = latents_of(nets["upper"], nets["lower"], trackers, zeros, zeros)
        made.append(nets["decoder"](*latents, trackers)[:, -1])
        truth.append(found.sixd[:, -1])
        places.append(tracked(found.trackers))
    return Sequence(torch.cat(made), torch.cat(turns), torch.cat(truth), torch.cat(places))


def distances(made: Tensor, truth: Tensor, rest: Tensor) -> Tensor:
    """Mean distance of each frame's joints after the heads are put together, cm [F]."""
    difference = at_head(joints_of(made, rest)) - at_head(joints_of(truth, rest))
    return difference.norm(dim=-1).mean(-1) * 100


def validate_half(
    setup: Setup, run: Run, part: str, frame: str, reconstruct: Callable[[Batch], Tensor]
) -> dict[str, float]:
    """Mean distance of one half's joints in held-out windows' last frames, cm; the upper's from the head."""
    errors = []
    for world in setup.validation(run):
        found = seen(world, frame)
        made = half_joints(reconstruct(found)[:, -1], part, setup.rest)
        true = half_joints(half(found.sixd, part)[:, -1], part, setup.rest)
        if part == "upper":
            made, true = at_head(made), at_head(true)
        errors.append((made - true)[:, list(HALVES[part])].norm(dim=-1).mean(-1) * 100)
    return {"mpjpe": float(torch.cat(errors).mean())}


def validate_whole(setup: Setup, run: Run, frame: str, models: tuple[nn.Module, ...]) -> dict[str, float]:
    """Mean distance of all joints in held-out windows' last frames after the heads are put together, cm."""
    upper, lower, decoder = models
    errors = []
    for world in setup.validation(run):
        found = seen(world, frame)
        zeros = found.trackers.new_zeros(len(found.trackers), upper.tokens, upper.latent)  # type: ignore[call-overload]
        latents = latents_of(upper, lower, found.trackers, zeros, zeros)  # type: ignore[arg-type]
        errors.append(distances(decoder(*latents, found.trackers)[:, -1], found.sixd[:, -1], setup.rest))
    return {"mpjpe": float(torch.cat(errors).mean())}


def of_part(part: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a run's settings are those of one body half."""
    return lambda settings: settings["part"] == part


def length(loop: Loop, epochs: int, per_epoch: int) -> dict[str, int]:
    """Steps of the stage, and of an epoch."""
    return {"steps": loop.steps or epochs * per_epoch, "steps_per_epoch": per_epoch}


def chosen_by(settings: Train) -> str:
    """The validation's number that picks the weights to keep; none where the last ones are kept."""
    return "mpjpe" if settings.keep == "best" else ""
