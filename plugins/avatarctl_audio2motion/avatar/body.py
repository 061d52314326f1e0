"""The body's networks: pose and embeddings to vertex offsets and a texture (spec 7.6, steps 1 and 4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avatarctl_audio2motion.avatar.layers import (
    Conv,
    ConvBlock,
    Linear,
    Tensors,
    UpBlock,
    perceptron,
    resized,
)
from avatarctl_audio2motion.avatar.seams import Seams

ROOT = 6
"""Leading body parameters, of the root, which the decoder does not see."""


class BodyEncoder(nn.Module):
    """Vertex offsets as an image to the body's embedding.

    Args:
        mask: Where the body's own offsets are looked at, of the size that the network sees [1, 1, S, S].
    """

    mask: Tensor

    def __init__(self, tensors: Tensors, mask: Tensor) -> None:
        super().__init__()
        self.enter = ConvBlock(tensors.inside("enter"), stride=2)
        self.blocks = nn.ModuleList(ConvBlock(block, stride=2) for block in tensors.each("blocks"))
        self.mean = Linear(tensors.inside("mean"))
        self.register_buffer("mask", mask)

    def forward(self, offsets: Tensor) -> Tensor:
        """The embedding [B, 1024] of an image of vertex offsets [B, 3, H, W]."""
        image = self.enter(resized(offsets, self.mask.shape[-1]) * self.mask)
        for block in self.blocks:
            image = block(image)
        embedding: Tensor = self.mean(image.flatten(1))
        return embedding


class BodyDecoder(nn.Module):
    """Pose, body and face embedding to images of vertex offsets and of the texture without its view.

    Args:
        masks: Of the coarse texture: "pose" [1, D, S, S], and "body", "head", "face" [1, 1, S, S].
        seams: Of the full texture.
    """

    pose_mask: Tensor
    face_mask: Tensor
    rest_mask: Tensor

    def __init__(self, tensors: Tensors, masks: Mapping[str, Tensor], seams: Seams) -> None:
        super().__init__()
        self.pose = ConvBlock(tensors.inside("pose"))
        self.embedding = Linear(tensors.inside("embedding"))
        self.embedding_blocks = nn.ModuleList(UpBlock(block) for block in tensors.each("embedding_blocks"))
        self.face = Linear(tensors.inside("face"))
        self.face_blocks = nn.ModuleList(UpBlock(block) for block in tensors.each("face_blocks"))
        self.joint = ConvBlock(tensors.inside("joint"))
        self.blocks = nn.ModuleList(UpBlock(block) for block in tensors.each("blocks"))
        self.offsets = Conv(tensors.inside("offsets"))
        self.texture = Conv(tensors.inside("texture"))
        self.seams = seams
        self.register_buffer("pose_mask", masks["pose"] * (1 - masks["head"]))
        self.register_buffer("face_mask", masks["face"])
        self.register_buffer("rest_mask", (masks["body"] * (1 - masks["face"])).clamp(0, 1))

    def embedded(self, embedding: Tensor) -> Tensor:
        """The image of a body embedding [B, 1024], the same for all frames of a person [B, C, S, S]."""
        image = perceptron(embedding, self.embedding).unflatten(-1, (-1, 4, 4))
        for block in self.embedding_blocks:
            image = block(image)
        return image

    def posed(self, pose: Tensor) -> Tensor:
        """The image of body parameters [B, 104], outside the head [B, C, S, S]."""
        image: Tensor = self.pose(pose[:, ROOT:, None, None] * self.pose_mask)
        return image * self.rest_mask

    def faced(self, face: Tensor, body: Tensor) -> Tensor:
        """The body's image with a face embedding [B, 256] written into its lower left quadrant."""
        image = perceptron(face, self.face).unflatten(-1, (-1, 4, 4))
        for block in self.face_blocks:
            image = block(image)
        half = image.shape[-1]
        quadrant = (..., slice(half, None), slice(None, half))
        both = body.expand(len(face), -1, -1, -1).clone()
        both[quadrant] = image * self.face_mask[quadrant] + both[quadrant] * self.rest_mask[quadrant]
        return both

    def forward(self, pose: Tensor, faced: Tensor) -> tuple[Tensor, Tensor]:
        """Images of the vertex offsets and of the texture [B, 3, S, S].

        Args:
            pose: The image of the pose.
            faced: The image of body and face embedding.
        """
        image = self.joint(torch.cat([pose, faced], dim=1))
        image = torch.cat([image, image], dim=1)
        for block in self.blocks:
            image = block(image)
        image = self.seams.resample(self.seams.resample(self.seams.impaint(image.contiguous())))
        offsets, texture = image.chunk(2, dim=1)
        return self.offsets(offsets), self.texture(texture)
