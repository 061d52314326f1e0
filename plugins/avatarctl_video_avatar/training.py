"""What a training starts from: the recording, the network of LPIPS; and samples that are made ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.checkpoints import Weights
from avatarctl.device import Noise
from avatarctl.engine.shares import share
from avatarctl.errors import AssetError, AvatarError
from avatarctl.metrics.image import Lpips, find_lpips, load_lpips, lpips_of
from avatarctl_video_avatar.body_fit import load_body
from avatarctl_video_avatar.items import Items
from avatarctl_video_avatar.official import LPIPS
from avatarctl_video_avatar.patches import PatchSettings
from avatarctl_video_avatar.prepared import MESHES, Prepared
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.settings_train import frames_of

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings_train import Train


@dataclass(frozen=True)
class Setup:
    """The recording that is learned."""

    data: Prepared
    body: BodyModel
    """The neutral body, whose skinning weights count."""
    items: Items
    """Pictures to train on."""
    held_out: Items | None
    """Pictures to validate on; None where nothing is validated."""

    @staticmethod
    def of(settings: Train, run: Run) -> Setup:
        """From the folder of the recording.

        Raises:
            DataError: Something is missing in it, or broken.
            SettingsError: It has no such frames.
            AssetError: A licensed body model was not found.
        """
        data = Prepared(settings.data)
        run.input(data.folder / MESHES, "data")
        body = load_body(run.bodies, data.kind, "neutral", settings.body_models)
        patches = PatchSettings(**settings.patches.model_dump())

        def items(views: Sequence[str], frames: str) -> Items:
            return Items(
                data,
                list(views),
                frames_of(frames),
                settings.rendering,
                body,
                dataset=None if settings.dataset == "auto" else settings.dataset,
                offset=settings.offset,
                patches=patches,
                res_level=settings.res_level,
            )

        held_out = None
        if settings.validate_views:
            try:
                held_out = items(settings.validate_views, settings.validate_frames)
            except AvatarError as error:
                hint = (
                    "--validate-views and --validate-frames choose others; --validate-views [] validates none"
                )
                raise type(error)(f"validation: {error.message}", hint=hint) from error
        return Setup(data, body, items(settings.views, settings.frames), held_out)


def perceptual_of(settings: Train, weights: Weights | None, run: Run) -> Lpips | None:
    """The network of LPIPS; None where the user has none, which is told.

    Args:
        weights: Those that the training starts from; official ones carry it.
    """
    if settings.lpips:
        return load_lpips([run.input(path, "lpips") for path in settings.lpips])
    if weights is not None and weights.holds(LPIPS):
        return lpips_of(weights)
    try:
        files = find_lpips()
    except AssetError as error:
        run.log.warning(
            "%s; without it there is no perceptual term, fine texture stays softer than published, and PSNR "
            "chooses the best checkpoint. To bring it: %s: --lpips FILE,FILE",
            error.message.replace("\n", ", "),
            error.hint,
        )
        return None
    return load_lpips([run.input(path, "lpips") for path in files])


class Drawn(NamedTuple):
    """What a step learns of one picture."""

    sample: Sample
    shift: Tensor
    """By how much each ray's depths are moved, 0 to 1 [n]."""

    def to(self, device: torch.device) -> Drawn:
        """The same on a device."""
        return Drawn(self.sample.to(device), self.shift.to(device))


class Ahead:
    """The pictures of each step, from seed and step alone; use it as a context.

    While a step is learned, threads make the samples of the next one. Under torchrun each process makes its
    share of the batch.

    Args:
        num_items: Pictures that there are.
        batch_size: Pictures of a step.
        workers: Threads; 0 makes samples when they are asked for.
    """

    def __init__(
        self,
        training: Callable[[int, Noise], Sample],
        num_items: int,
        batch_size: int,
        seed: int,
        workers: int,
    ) -> None:
        self.training, self.num_items, self.batch_size, self.seed = training, num_items, batch_size, seed
        self.steps_per_epoch = math.ceil(num_items / batch_size)
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._coming: dict[int, list[Future[Drawn]]] = {}

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> list[Drawn]:
        """The samples of a step, and those of the next one are begun."""
        if self._pool is None:
            return [self.drawn(step, *row) for row in self.rows(step)]
        begun = self._coming.pop(step, None) or self._begin(self._pool, step)
        self._coming = {step + 1: self._begin(self._pool, step + 1)}
        return [one.result() for one in begun]

    def _begin(self, pool: ThreadPoolExecutor, step: int) -> list[Future[Drawn]]:
        return [pool.submit(self.drawn, step, *row) for row in self.rows(step)]

    def rows(self, step: int) -> list[tuple[int, int]]:
        """This process's pictures in a step: places in the batch, and their indices."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        order = Noise.seeded(self.seed, f"order/{epoch}").permutation(self.num_items)
        places = torch.arange(self.batch_size)
        # The last batch of an epoch is filled up from its beginning.
        indices = order[(batch * self.batch_size + places) % self.num_items]
        rows: list[list[int]] = share(torch.stack([places, indices], dim=1), torch.device("cpu")).tolist()
        return [(place, index) for place, index in rows]

    def drawn(self, step: int, place: int, index: int) -> Drawn:
        """One picture's sample and draws.

        Args:
            place: In the batch, so that a picture that comes twice is drawn anew.
        """
        noise = Noise.seeded(self.seed, f"step/{step}/{place}")
        sample = self.training(index, noise)
        return Drawn(sample, noise.uniform((len(sample.rays),)))
