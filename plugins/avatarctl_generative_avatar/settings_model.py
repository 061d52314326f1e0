"""Settings that training, rendering and evaluation share (spec 1.2, 1.4, 4)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from avatarctl.config import Group

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Kind = Literal["smpl", "open"]
NoiseMode = Literal["random", "const", "none"]


def _power_of_two(side: int) -> int:
    if side & (side - 1):
        below = 1 << side.bit_length() - 1
        raise ValueError(f"expected a power of two, as {below} or {2 * below}")
    return side


class Rendering(Group):
    """How rays are sampled and networks conditioned; the defaults are those of the published training."""

    depth_resolution: Annotated[int, Field(ge=4, le=1024)] = 36
    """Samples of a ray in the first pass."""
    depth_resolution_importance: Annotated[int, Field(ge=0, le=1024)] = 36
    """Samples that the second pass puts where the first found something; 0 for no second pass."""
    ray_start: float = -0.3
    """Where samples begin, metres from the plane z = 0 towards the camera."""
    ray_end: float = 0.3
    """Where they end."""
    box_warp: Annotated[float, Field(gt=0)] = 1.9
    """Side of the cube that the planes cover, metres."""
    c_gen_conditioning_zero: bool = True
    """The generator is not told the label."""
    c_scale: float = 1.0
    """Factor on the label that the generator is told."""
    sr_antialias: bool = True
    """Resize the features of super-resolution with an anti-aliasing filter."""
    superresolution_noise_mode: NoiseMode = "none"
    """Noise in super-resolution."""
    is_normal: bool = True
    """Render normals too."""
    chunk: Annotated[int, Field(ge=1024)] = 1 << 20
    """Samples worked on at a time when no gradients are wanted; bounds the memory."""


class Network(Group):
    """Sizes of the generator."""

    img_resolution: Annotated[int, Field(ge=32, le=2048), AfterValidator(_power_of_two)] = 512
    """Side of the pictures, a power of two; rays are half as many."""
    plane_resolution: Annotated[int, Field(ge=16, le=1024), AfterValidator(_power_of_two)] = 256
    """Side of a plane, a power of two."""
    z_dim: Positive = 512
    """Numbers that a person is drawn from."""
    w_dim: Positive = 512
    """Numbers of a style."""
    mapping_layers: Positive = 2
    """Layers between them."""
    channel_base: Positive = 32768
    """Channels times resolution."""
    channel_max: Positive = 512
    """Most channels."""
    sr_channels: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Channels of super-resolution."""


class Critics(Group):
    """Sizes of the discriminators."""

    channel_base: Positive = 32768
    """Channels times resolution."""
    channel_max: Positive = 512
    """Most channels."""
    mapping_layers: Positive = 8
    """Layers between a label and what the picture is compared with."""
    mbstd_group_size: Positive = 4
    """Pictures that are compared with each other; 1 for none."""
    disc_c_noise: Weight = 0.0
    """Noise on the label that the picture's discriminator is told, in standard deviations."""
    conv_clamp: Weight = 256.0
    """Limit of what convolutions give."""
