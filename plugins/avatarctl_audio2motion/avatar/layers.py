"""Layers of the avatar's networks, made from the tensors of a checkpoint (spec 7.5).

The networks are tied to the sizes of their tensors: most biases are maps of the output's size. So every width
is read from a tensor, and the published weight normalisation is folded when a layer is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, leaky_relu_, linear

from avatarctl.checkpoints.keymap import KeyMap
from avatarctl.checkpoints.load import is_finite
from avatarctl.errors import CheckpointError

SLOPE = 0.2
"""Of the leaky rectifiers."""


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint below a part of the network.

    `found` has them by their published names, `names` are those of the parts here, and `source` is the file,
    for messages.
    """

    found: Mapping[str, Tensor]
    source: str
    names: KeyMap
    part: str = ""

    def published(self, name: str) -> str:
        """The published name of something in this part."""
        return self.names.theirs(f"{self.part}{name}")

    def __contains__(self, name: str) -> bool:
        start = self.published(name)
        return any(found.startswith(f"{start}.") for found in self.found)

    def inside(self, name: str) -> Tensors:
        """Those of a smaller part."""
        return replace(self, part=f"{self.part}{name}.")

    def each(self, name: str) -> list[Tensors]:
        """Those of a list of layers, of which at least one is expected."""
        count = next(number for number in itertools.count() if f"{name}.{number}" not in self)
        return [self.inside(f"{name}.{number}") for number in range(max(count, 1))]

    def tensor(self, name: str) -> Tensor:
        """One of them, float32.

        Raises:
            CheckpointError: It is missing or holds numbers that are not finite.
        """
        published = self.published(name)
        if published not in self.found:
            raise CheckpointError(
                f"{self.source}: tensor '{published}' is missing; expected a whole Codec Avatar Body",
                hint="use the person's body_dec.ckpt as published",
            )
        if not is_finite(self.found[published]):
            raise CheckpointError(
                f"{self.source}: tensor '{published}' holds numbers that are not finite",
                hint="download the file again",
            )
        return self.found[published].float()

    def weight(self) -> Tensor:
        """The weight of a normalised layer: gain times direction; the older names are accepted too."""
        is_old = self.published("weight_v") not in self.found and self.published("weight") in self.found
        direction = self.tensor("weight" if is_old else "weight_v")
        # parity: one norm over the whole tensor, a gain per output channel (spec 7.5).
        return direction * (self.tensor("g" if is_old else "weight_g") / direction.norm())


class Layer(nn.Module):
    """Weight and bias of a layer; the bias is a number per output channel, or a map of the output's size.

    Images lie in memory with their channels innermost, which is several times faster for so few channels.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        weight, bias = tensors.weight(), tensors.tensor("bias")
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
            bias = bias if bias.dim() == 3 else bias[:, None, None]
            bias = bias[None].contiguous(memory_format=torch.channels_last)  # [1, C, H, W] or [1, C, 1, 1]
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def biased(self, image: Tensor) -> Tensor:
        """The image plus the bias, in place: these images are the largest things here."""
        return image.add_(self.bias)


class Linear(Layer):
    """[B, C] to [B, D]."""

    def forward(self, x: Tensor) -> Tensor:
        """The affine map."""
        return linear(x, self.weight, self.bias)


class Conv(Layer):
    """Convolution [B, C, H, W] to [B, D, H / stride, W / stride], zeros around the image."""

    def __init__(self, tensors: Tensors, stride: int = 1) -> None:
        super().__init__(tensors)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """The convolution; its groups are what the widths of image and weight say."""
        padding, groups = (self.weight.shape[-1] - 1) // 2, x.shape[1] // self.weight.shape[1]
        return self.biased(conv2d(x, self.weight, stride=self.stride, padding=padding, groups=groups))


class UpConv(Layer):
    """Transposed convolution with 4x4 kernels [B, C, H, W] to [B, D, 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        """The transposed convolution."""
        return self.biased(conv_transpose2d(x, self.weight, stride=2, padding=1))


def rectified(x: Tensor) -> Tensor:
    """The leaky rectifier, in place: these images are the largest things here."""
    return leaky_relu_(x, SLOPE)


class ConvBlock(nn.Module):
    """Two convolutions beside a 1x1 one; with stride 2 the image is halved."""

    def __init__(self, tensors: Tensors, stride: int = 1) -> None:
        super().__init__()
        self.skip = Conv(tensors.inside("skip"), stride)
        self.first = Conv(tensors.inside("first"))
        self.second = Conv(tensors.inside("second"), stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's image."""
        return rectified(self.second(rectified(self.first(x)))).add_(self.skip(x))


class UpBlock(ConvBlock):
    """A block on an image that is brought to the size of the block's bias maps first."""

    def forward(self, x: Tensor) -> Tensor:
        """The block's image; the 1x1 convolution is done before the image grows, which is the same."""
        return rectified(self.second(rectified(self.first(self.grown(x))))).add_(self.grown(self.skip(x)))

    def grown(self, x: Tensor) -> Tensor:
        """The image at the block's size."""
        size = self.first.bias.shape[-2:]
        return interpolate(x, size=size, mode="bilinear", align_corners=True)


def perceptron(x: Tensor, layer: Linear) -> Tensor:
    """A rectified affine map."""
    return rectified(layer(x))


def upward(x: Tensor, layers: nn.ModuleList) -> Tensor:
    """Transposed convolutions with rectifiers between them, none after the last."""
    for layer in layers[:-1]:
        x = rectified(layer(x))
    last: Tensor = layers[-1](x)
    return last


def resized(x: Tensor, size: int, *, align_corners: bool = False) -> Tensor:
    """An image [B, C, H, W] bilinear at size x size."""
    if x.shape[-2:] == (size, size):
        return x
    return interpolate(x, size=(size, size), mode="bilinear", align_corners=align_corners)
