"""The head's networks: 256 face codes to a face, and that face to what the body decoder wants (spec 7.6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatarctl_audio2motion.avatar.layers import (
    ConvBlock,
    Linear,
    Tensors,
    UpConv,
    perceptron,
    resized,
    upward,
)


class FaceDecoder(nn.Module):
    """Face codes to a face's vertices and texture.

    Args:
        frontal_view: Direction from which the texture is seen [3].
    """

    bias: Tensor
    frontal_view: Tensor

    def __init__(self, tensors: Tensors, frontal_view: Tensor) -> None:
        super().__init__()
        self.code = Linear(tensors.inside("code"))
        self.geometry = Linear(tensors.inside("geometry"))
        self.view = Linear(tensors.inside("view"))
        self.image = Linear(tensors.inside("image"))
        self.layers = nn.ModuleList(UpConv(layer) for layer in tensors.each("layers"))
        self.register_buffer("bias", tensors.tensor("bias"))
        self.register_buffer("frontal_view", frontal_view)

    def vertices(self, codes: Tensor) -> Tensor:
        """Vertices [B, V, 3] of face codes [B, 256]."""
        return self._vertices(perceptron(codes, self.code))

    def _vertices(self, code: Tensor) -> Tensor:
        geometry: Tensor = self.geometry(code)
        return geometry.unflatten(-1, (-1, 3))

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices [B, V, 3] and texture, about 0 to 255 [B, 3, S, S], of face codes [B, 256]."""
        code = perceptron(codes, self.code)
        view = perceptron(self.frontal_view.expand(len(codes), 3), self.view)
        image = perceptron(torch.cat([code, view], dim=-1), self.image).unflatten(-1, (-1, 4, 4))
        texture = upward(image, self.layers).add_(self.bias)
        return self._vertices(code), texture.add_(0.5).mul_(255)


class FaceEncoder(nn.Module):
    """A face to its embedding.

    Args:
        mask: Of the face in its texture, of the size that the network sees [1, 1, S, S].
    """

    mask: Tensor

    def __init__(self, tensors: Tensors, mask: Tensor) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(block, stride=2) for block in tensors.each("blocks"))
        self.geometry = Linear(tensors.inside("geometry"))
        self.joint = Linear(tensors.inside("joint"))
        self.mean = Linear(tensors.inside("mean"))
        self.register_buffer("mask", mask)

    def forward(self, vertices: Tensor, texture: Tensor) -> Tensor:
        """The embedding [B, 256] of vertices [B, V, 3] and texture, 0 to 255 [B, 3, S, S]."""
        image = (resized(texture, self.mask.shape[-1]) / 255 - 0.5) * self.mask
        for block in self.blocks:
            image = block(image)
        geometry = perceptron(vertices.flatten(1), self.geometry)
        embedding: Tensor = self.mean(perceptron(torch.cat([image.flatten(1), geometry], dim=-1), self.joint))
        return embedding
