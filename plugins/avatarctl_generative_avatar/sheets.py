"""Sheets of pictures on which a training can be watched (spec 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.engine import evaluating
from avatarctl.runs import saving
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.losses import Drawn, real_of
from avatarctl_generative_avatar.model.generator import Generator
from avatarctl_generative_avatar.pictures import bytes_of, grid

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.dataset import Photos
    from avatarctl_generative_avatar.settings_model import Rendering

FOLDER = "sheets"
AT_A_TIME = 8
LARGEST = 7680, 4320
"""Most pixels of a sheet."""


class Sheets:
    """Always the same people, as the averaged generator makes them.

    Args:
        grid: Columns and rows.
        labels: Of the data, on the device [M, 111].
    """

    def __init__(self, grid: tuple[int, int], labels: Tensor, generator: Generator, run: Run) -> None:
        side = generator.sizes.img_resolution
        self.columns, self.rows = (
            max(min(count, most // side), 1) for count, most in zip(grid, LARGEST, strict=True)
        )
        self.run, self.generator = run, generator
        count, noise = self.columns * self.rows, Noise.seeded(run.seed, "sheets")
        self.chosen = noise.integers(0, len(labels), (count,))
        self.people = Drawn(
            noise.normal((count, generator.sizes.z_dim), device=labels.device),
            labels[self.chosen.to(labels.device)],
        )

    def real(self, photos: Photos) -> None:
        """Write the photos and normals whose labels the people have."""
        found = real_of(photos.take(self.chosen.tolist()), torch.device("cpu"))
        self._save("reals.png", found.images)
        self._save("reals_normal.png", found.normals)

    def end(self) -> None:
        """Record the sheets as an output."""
        if (self.run.folder / FOLDER).is_dir():
            self.run.output(self.run.folder / FOLDER, "pictures")

    def made(self, images: int, template: Template, rendering: Rendering) -> None:
        """Write what the generator makes.

        Args:
            images: Photos seen.
        """
        found: dict[str, list[Tensor]] = {}
        noise = Noise.seeded(self.run.seed, "sheets/depths")
        with evaluating(self.generator):
            for z, labels in zip(
                self.people.z.split(AT_A_TIME), self.people.labels.split(AT_A_TIME), strict=True
            ):
                ws = self.generator.mapping(z, labels, rendering=rendering)
                one = self.generator.synthesis(
                    ws, labels, template, rendering, noise_mode="const", noise=noise
                )
                normal = {} if one.image_normal is None else {"normal": one.image_normal}
                parts = {"": one.image, "raw": one.image_raw, "depth": -one.image_depth, **normal}
                for name, part in parts.items():
                    found.setdefault(name, []).append(part.cpu())
        for name, pieces in found.items():
            pictures = torch.cat(pieces)
            if name == "depth":
                low, high = pictures.amin(), pictures.amax()
                pictures = ((pictures - low) / (high - low).clamp(min=1e-8) * 2 - 1).expand(-1, 3, -1, -1)
            words = f"_{name}" if name else ""
            self._save(f"fakes{images // 1000:06d}{words}.png", pictures)

    def _save(self, name: str, pictures: Tensor) -> None:
        """Write pictures in [-1, 1] [N, 3, H, H] side by side."""
        # Not one by one among the outputs: a long training has thousands.
        saving.write(self.run.path(f"{FOLDER}/{name}"), grid(list(bytes_of(pictures)), self.columns))
