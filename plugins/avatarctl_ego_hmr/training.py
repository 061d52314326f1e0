"""What the trainings of both stages share: the data and its bodies, batches, and what networks start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from avatarctl.checkpoints import Weights, load_strict, native
from avatarctl.checkpoints.arrays import read_npz
from avatarctl.checkpoints.official import flatten, is_safetensors
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, DataError
from avatarctl.files import check_input_file
from avatarctl_ego_hmr.bodies import Kind, People
from avatarctl_ego_hmr.egobody.annotations import annotation_file
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.model.scene import BETAS
from avatarctl_ego_hmr.views import Truth, View

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings_train import Train

HELD_OUT = "val"
"""Split that is scored while training."""
COUNTER = "num_batches_tracked"
"""Ends the names of tensors that old files lack."""


@dataclass(frozen=True)
class Setup:
    """What a training starts from."""

    people: People
    """Bodies, on the device of the run."""
    kind: Kind
    """Which ones."""
    items: Items
    """The people of the training split."""
    held_out: Items | None
    """Those of the validation split; None where nothing is validated."""
    spacing: int
    """Of these, every so many count."""
    size: tuple[int, int]
    """Width and height of the pictures, pixels: those of the first."""

    @staticmethod
    def of(settings: Train, run: Run, points: Literal["front", "cube-gt"]) -> Setup:
        """From the folder of recordings.

        Args:
            points: Scene points that the networks are given.

        Raises:
            DataError: Something is missing in it.
            AssetError: A licensed body model was not found.
        """
        data = EgoBody(settings.data)
        run.input(data.files.source(annotation_file(data.files, "train")), "data")
        kind: Kind = data.kind if settings.body == "auto" else settings.body
        if kind != data.kind:
            run.log.warning("%s was made with %s bodies; the losses take %s", settings.data, data.kind, kind)
        people = People.load(run.bodies, kind, settings.body_models)
        items = Items(
            data, "train", people, points=points, augment=settings.augment, box_scale=settings.box_scale
        )
        if len(items) < settings.batch_size:
            raise DataError(
                f"{settings.data}: {len(items)} people in its train split, fewer than a batch of "
                f"{settings.batch_size}",
                hint=f"--batch-size {len(items)}",
            )
        held_out = None
        if settings.validate_spacing:
            try:
                held_out = Items(data, HELD_OUT, people, points=points, box_scale=settings.box_scale)
            except DataError as error:
                raise DataError(error.message, hint=f"{error.hint}; or --validate-spacing 0") from error
        size = data.picture_size(items.people.names[0])
        return Setup(people.to(run.device), kind, items, held_out, settings.validate_spacing, size)

    def shuffled(self, batch_size: int, seed: int) -> tuple[int, Callable[[int], tuple[View, Truth]]]:
        """Steps in an epoch, and the batch of each step, from seed and step alone."""
        steps = len(self.items) // batch_size
        order: dict[int, Tensor] = {}

        def batch(step: int) -> tuple[View, Truth]:
            epoch, place = divmod(step, steps)
            if epoch not in order:
                order.clear()
                order[epoch] = Noise.seeded(seed, f"order/{epoch}").permutation(len(self.items))
            rows = order[epoch][place * batch_size : (place + 1) * batch_size].tolist()
            return self.items.batch(rows, Noise.seeded(seed, f"augmentation/{step}"))

        return steps, batch

    def validation(self, batch_size: int) -> Iterator[tuple[View, Truth]]:
        """The people that are scored, on the device of the bodies."""
        assert self.held_out is not None
        rows, device = list(range(0, len(self.held_out), self.spacing)), self.people.neutral.template.device
        for first in range(0, len(rows), batch_size):
            view, truth = self.held_out.batch(rows[first : first + batch_size], None)
            yield view.to(device), truth.to(device)


class Means:
    """Means of named numbers over people, batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, numbers: dict[str, Tensor], count: int) -> None:
        """Add the means of a batch of so many people."""
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * count
        self._count += count

    def result(self) -> dict[str, float]:
        """The means of all."""
        return {name: value / self._count for name, value in self._sums.items()}


def check_start(weights: Weights, kind: Kind, run: Run) -> None:
    """Tell when a network goes on with bodies that it was not trained with."""
    theirs = weights.config.get("body")
    if theirs and theirs != kind:
        run.log.warning("%s: was trained with %s bodies; goes on with %s", weights.path, theirs, kind)


def start_image(backbone: nn.Module, settings: Train, run: Run) -> None:
    """Give an image network the weights that the settings name; tell where it is new."""
    if settings.backbone is not None:
        start_backbone(backbone, run.input(settings.backbone, "backbone"))
    elif settings.start is None:
        run.log.warning("the image network is new; the published training starts from one: --backbone FILE")


def start_backbone(backbone: nn.Module, path: Path) -> None:
    """Give an image network the weights of ProHMR's checkpoint, or of torchvision's ResNet-50.

    Raises:
        CheckpointError: The file holds no image network, or one of other sizes.
    """
    check_input_file(path, "an image network")
    content = native.load(path)[0] if is_safetensors(path) else load_torch(path)
    nested = content.get("state_dict") if isinstance(content, dict) else None
    tensors = flatten(nested if isinstance(nested, dict) else content)
    own = {
        name.removeprefix("backbone."): tensor
        for name, tensor in tensors.items()
        if name.startswith("backbone.")
    }
    own = own or {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    if "conv1.weight" not in own:
        shown = ", ".join(list(tensors)[:4]) or "none"
        raise CheckpointError(
            f"{path}: no image network among its {len(tensors)} tensors ({shown}, ...)",
            hint="name ProHMR's checkpoint.pt, or torchvision's resnet50-....pth",
        )
    counters = {name: tensor for name, tensor in backbone.state_dict().items() if name.endswith(COUNTER)}
    load_strict(backbone, counters | own, f"{path}: image network")


def start_means(path: Path) -> tuple[Tensor, Tensor]:
    """Shape [10] and camera [3] that networks start from, in smpl_mean_params.npz (spec 2.2).

    Raises:
        DataError: It lacks them.
    """
    arrays = read_npz(path, ("shape", "cam"))
    for name, count in (("shape", BETAS), ("cam", 3)):
        if name not in arrays or arrays[name].shape != (count,) or not np.isfinite(arrays[name]).all():
            raise DataError(
                f"{path}: no array '{name}' of {count} finite numbers", hint="name smpl_mean_params.npz"
            )
    shape, camera = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("shape", "cam"))
    return shape, camera
