"""What the networks are built from; the defaults are the published ones (spec 4)."""

from __future__ import annotations

from dataclasses import dataclass

from avatarctl_generative_avatar import label

GENERATOR, DISCRIMINATOR, RAW = "generator", "discriminator", "generator_raw"
"""Parts of a weights file: averaged generator (G_ema), discriminators (D), generator as it trains (G)."""


LIMITS = ("channel_base", "decoder_lr_mul", "conv_clamp")
"""Sizes that no tensor has; for `checkpoints.sizes.sizes_in`."""


@dataclass(frozen=True)
class GeneratorSizes:
    """Sizes of the generator."""

    img_resolution: int = 512
    plane_resolution: int = 256
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = label.SIZE
    mapping_layers: int = 2
    channel_base: int = 32768
    channel_max: int = 512
    sr_channels: int = 128
    decoder_lr_mul: float = 1.0

    @property
    def rays(self) -> int:
        """Rays along a side of the picture."""
        return self.img_resolution // 2

    def channels(self, resolution: int) -> int:
        """Channels of the backbone's block of a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True)
class DiscriminatorSizes:
    """Sizes of the four discriminators."""

    img_resolution: int = 512
    c_dim: int = label.SIZE
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mbstd_group_size: int = 4
    disc_c_noise: float = 0.0
    conv_clamp: float = 256.0

    def channels(self, resolution: int) -> int:
        """Channels of the block of a resolution."""
        return min(self.channel_base // resolution, self.channel_max)
