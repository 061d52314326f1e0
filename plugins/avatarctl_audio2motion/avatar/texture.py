"""The texture's networks: view, shadow and finer detail (spec 7.6, steps 6 to 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from avatarctl_audio2motion.avatar.layers import (
    Conv,
    Layer,
    Linear,
    Tensors,
    UpConv,
    perceptron,
    rectified,
    resized,
    upward,
)

VIEW_GAIN = 0.1
SHADOW_SHIFT = 1.0
"""Added before the sigmoid, so that networks at rest leave most of the light."""


class ViewNet(nn.Module):
    """What the texture gains from where it is seen from; an encoder and decoder with skips that are added."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.down = nn.ModuleList(Conv(layer, stride=2) for layer in tensors.each("down"))
        self.up = nn.ModuleList(UpConv(layer) for layer in tensors.each("up"))
        self.leave = Conv(tensors.inside("leave"))

    def forward(self, cosine: Tensor, texture: Tensor) -> Tensor:
        """The change [B, 3, S, S] for an image of view cosines [B, 1, S, S] and a texture [B, 3, S, S]."""
        entered = torch.cat([cosine, texture], dim=1)
        image, skips = entered, list[Tensor]()
        for layer in self.down:
            image = rectified(layer(image))
            skips.append(image)
        skips.pop()
        for layer in self.up:
            image = rectified(layer(image))
            if skips:
                image.add_(skips.pop())
        change: Tensor = self.leave(torch.cat([image, entered], dim=1))
        return change.mul_(VIEW_GAIN)


class ShadowFromPose(nn.Module):
    """Shadows from the body parameters alone."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.enter = Linear(tensors.inside("enter"))
        self.layers = nn.ModuleList(UpConv(layer) for layer in tensors.each("layers"))

    def forward(self, pose: Tensor) -> Tensor:
        """How much light is left, 0 to 1 [B, 1, S, S], of body parameters [B, 104]."""
        image = perceptron(pose, self.enter).unflatten(-1, (-1, 4, 4))
        return upward(image, self.layers).add_(SHADOW_SHIFT).sigmoid_()


class ShadowFromOcclusion(nn.Module):
    """Shadows from a map of ambient occlusion; an encoder and decoder with skips side by side.

    Args:
        mean: The person's mean map, of the size that the network sees [1, S, S].
    """

    mean: Tensor

    def __init__(self, tensors: Tensors, mean: Tensor) -> None:
        super().__init__()
        self.down = nn.ModuleList(Conv(layer) for layer in tensors.each("down"))
        self.up = nn.ModuleList(Conv(layer) for layer in tensors.each("up"))
        self.leave = Conv(tensors.inside("leave"))
        self.register_buffer("mean", mean)

    def forward(self, occlusion: Tensor) -> Tensor:
        """How much light is left, 0 to 1 [B, 1, S, S], of a map of ambient occlusion [B, 1, H, W]."""
        image, skips = nearest(occlusion, self.mean.shape[-1]) - self.mean, list[Tensor]()
        for layer in self.down:
            if skips:
                image = interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=True)
            image = rectified(layer(image))
            skips.append(image)
        image = rectified(self.up[0](skips.pop()))
        for layer in self.up[1:]:
            skip = skips.pop()
            image = resized(image, skip.shape[-1], align_corners=True)
            image = rectified(layer(torch.cat([image, skip], dim=1)))
        light: Tensor = self.leave(image)
        return light.add_(SHADOW_SHIFT).sigmoid_()


def nearest(image: Tensor, size: int) -> Tensor:
    """An image [B, C, H, W] at size x size, each texel the nearest one."""
    return interpolate(image, size=(size, size), mode="nearest")


class Upscale(nn.Module):
    """Detail for a texture of twice the size, a colour at a time: images of that size are large."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.enter = Conv(tensors.inside("enter"))
        self.leave = Layer(tensors.inside("leave"))
        self.leave.bias = self.leave.bias.contiguous()

    def hidden(self, texture: Tensor, view: Tensor) -> Tensor:
        """What colours are made from [B, C, S, S], of the texture and its change by the view [B, 3, S, S]."""
        return rectified(self.enter(torch.cat([texture, view], dim=1))).contiguous()

    def forward(self, hidden: Tensor, colour: int) -> Tensor:
        """Detail of one of the three colours [B, 1, 2S, 2S]."""
        finer = slice(4 * colour, 4 * colour + 4)
        texels = self.leave.weight[finer, :, 0, 0] @ hidden.flatten(2)
        return pixel_shuffle(texels.unflatten(2, hidden.shape[2:]).add_(self.leave.bias[:, finer]), 2)
