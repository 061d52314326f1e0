"""The four discriminators: of pictures, normals, and the faces of both (spec 4.14)."""

from __future__ import annotations

import math
from collections.abc import Mapping as Named

import torch
from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl_generative_avatar.model.backbone import FIRST
from avatarctl_generative_avatar.model.layers import (
    EPSILON,
    Convolution,
    FullyConnected,
    fir_filter,
    initialise,
    innermost,
    resize,
)
from avatarctl_generative_avatar.model.mapping import Mapping
from avatarctl_generative_avatar.model.sizes import DiscriminatorSizes


def batch_deviation(x: Tensor, group: int) -> Tensor:
    """How much the features of a sample's group differ [N].

    Args:
        x: [N, C, H, W]; sample n belongs to group n mod (N / group).
        group: Samples of a group; all if there are fewer.
    """
    size = min(group, len(x))
    if len(x) % size:
        raise ValueError(f"a batch of {len(x)} pictures cannot be split into groups of {size}")
    groups = x.unflatten(0, (size, -1))  # [G, N / G, C, H, W]
    deviation = (groups.var(0, correction=0) + EPSILON).sqrt().mean((1, 2, 3))  # [N / G]
    return deviation.repeat(size)


class DiscriminatorBlock(nn.Module):
    """A residual block that halves the resolution; the first one takes pictures."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, limit: float | None, pictured: int | None = None) -> None:
        super().__init__()
        self.is_first = pictured is not None
        if pictured is not None:
            self.fromrgb = Convolution(pictured, inputs, 1, limit=limit)
        self.conv0 = Convolution(inputs, inputs, 3, limit=limit)
        self.conv1 = Convolution(inputs, outputs, 3, down=2, limit=limit)
        self.skip = Convolution(inputs, outputs, 1, act="linear", has_bias=False, down=2)
        self.register_buffer("resample_filter", fir_filter())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, R, R] to [N, D, R / 2, R / 2]."""
        x = innermost(x)
        if self.is_first:
            x = self.fromrgb(x)
        skipped: Tensor = self.skip(x, math.sqrt(0.5))
        return skipped + self.conv1(self.conv0(x), math.sqrt(0.5))


class DiscriminatorEpilogue(nn.Module):
    """What is left at 4x4, and how samples differ within a batch, as one vector."""

    def __init__(self, inputs: int, group: int, limit: float | None) -> None:
        super().__init__()
        self.group = group
        self.conv = Convolution(inputs + 1, inputs, 3, limit=limit)
        self.fc = FullyConnected(inputs * FIRST**2, inputs, act="lrelu")
        self.out = FullyConnected(inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] to [N, C]."""
        deviation = batch_deviation(x, self.group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        x = self.conv(torch.cat([x, deviation], dim=1))
        made: Tensor = self.out(self.fc(x.flatten(1)))
        return made


class Head(nn.Module):
    """One discriminator: how real pictures look to it, given their labels."""

    def __init__(self, sizes: DiscriminatorSizes, resolution: int, pictured: int) -> None:
        super().__init__()
        limit = sizes.conv_clamp or None
        self.names: list[str] = []
        for side in _halvings(resolution):
            block = DiscriminatorBlock(
                sizes.channels(side),
                sizes.channels(side // 2),
                limit,
                pictured if side == resolution else None,
            )
            self.names.append(f"b{side}")
            self.add_module(self.names[-1], block)
        last = sizes.channels(FIRST)
        self.b4 = DiscriminatorEpilogue(last, sizes.mbstd_group_size, limit)
        self.mapping = Mapping(0, sizes.c_dim, last, None, sizes.mapping_layers, w_avg=False)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Logits [N, 1] of pictures [N, pictured, R, R] with labels [N, c_dim]."""
        x = pictures
        for name in self.names:
            x = self.get_submodule(name)(x)
        wanted: Tensor = self.mapping(None, labels)
        return (self.b4(x) * wanted).sum(-1, keepdim=True) / math.sqrt(wanted.shape[-1])


class Discriminator(nn.Module):
    """All discriminators; those of normals and faces are optional."""

    def __init__(self, sizes: DiscriminatorSizes, has_normal: bool = True, has_face: bool = True) -> None:
        super().__init__()
        side = sizes.img_resolution
        self.label_noise = sizes.disc_c_noise
        self.D_image = Head(sizes, side, 6)
        self.D_image.register_buffer("resample_filter", fir_filter())  # published files have it
        if has_normal:
            self.D_normal = Head(sizes, side // 2, 3)
        if has_face:
            self.D_face_image = Head(sizes, side // 8, 3)
        if has_normal and has_face:
            self.D_face_normal = Head(sizes, side // 16, 3)

    def forward(
        self, pictures: Named[str, Tensor], labels: Tensor, noise: Noise | None = None
    ) -> dict[str, Tensor]:
        """Logits [N, 1] by the name of their discriminator: full, normal, face, normal_face.

        Args:
            pictures: "image" [N, 3, R, R]; "image_raw", resized to it; and those of "normal" [N, 3, R/2,
                R/2], "face" [N, 3, R/8, R/8] and "normal_face" [N, 3, R/16, R/16] that are to be judged.
            labels: [N, c_dim].
            noise: Where noise on labels is drawn from, of networks that want it.
        """
        image = pictures["image"]
        raw = resize(pictures["image_raw"], image.shape[-1])
        told = self._told(labels, noise)
        logits = {"full": self.D_image(torch.cat([image, raw], dim=1), told)}
        for name, member in (
            ("normal", "D_normal"),
            ("face", "D_face_image"),
            ("normal_face", "D_face_normal"),
        ):
            if name in pictures:
                logits[name] = self.get_submodule(member)(pictures[name], labels)
        return logits

    def _told(self, labels: Tensor, noise: Noise | None) -> Tensor:
        """The labels that the picture's discriminator is told: with noise, in deviations of the batch."""
        if not self.label_noise or len(labels) == 1:
            return labels
        assert noise is not None, "noise on labels without a stream to draw from"
        drawn = noise.normal(labels.shape, device=labels.device)
        return labels + drawn * labels.std(0) * self.label_noise


def build(
    sizes: DiscriminatorSizes, noise: Noise, has_normal: bool = True, has_face: bool = True
) -> Discriminator:
    """Fresh discriminators with the published initial values."""
    made = Discriminator(sizes, has_normal, has_face)
    initialise(made, noise)
    return made


def _halvings(resolution: int) -> list[int]:
    """Sides of the pictures that blocks halve, down to 8."""
    if resolution < 2 * FIRST or resolution & (resolution - 1):
        raise ValueError(
            f"a discriminator of pictures of {resolution} pixels; a power of two from 8 is expected"
        )
    return [resolution >> step for step in range(resolution.bit_length() - FIRST.bit_length())]
