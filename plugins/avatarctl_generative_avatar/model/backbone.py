"""From styles to tri-planes: the synthesis network of StyleGAN2, with skips (spec 4.1, 4.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avatarctl.device import Noise
from avatarctl_generative_avatar.model.decoder import FEATURES, PLANES
from avatarctl_generative_avatar.model.layers import (
    GAINS,
    FullyConnected,
    activate,
    fir_filter,
    innermost,
    modulated_conv2d,
    refill,
    upsample2d,
)
from avatarctl_generative_avatar.model.mapping import Mapping
from avatarctl_generative_avatar.model.sizes import GeneratorSizes
from avatarctl_generative_avatar.settings_model import NoiseMode

FIRST = 4
"""Side of the constant that synthesis starts from."""


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution, noise, bias and activation."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        *,
        up: int = 1,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.limit = resolution, up, limit
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = FullyConnected(w_dim, inputs, bias_init=1.0)
        self.register_buffer("resample_filter", fir_filter())
        self.register_buffer("noise_const", torch.zeros(resolution, resolution))

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""
        refill(self.weight, noise)
        refill(self.noise_const, noise)
        self.noise_strength.zero_()
        self.bias.zero_()

    def added(self, count: int, mode: NoiseMode, noise: Noise | None) -> Tensor | None:
        """The noise of `count` pictures [count or 1, 1, R, R]."""
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const[None, None] * self.noise_strength
        assert noise is not None, "random noise without a stream to draw from"
        shape = (count, 1, self.resolution, self.resolution)
        return noise.normal(shape, device=self.weight.device) * self.noise_strength

    def forward(self, x: Tensor, w: Tensor, mode: NoiseMode, noise: Noise | None) -> Tensor:
        """[N, C, H, W] and styles [N, w_dim] to [N, D, R, R]."""
        made = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            self.resample_filter,
            up=self.up,
            bias=self.bias,
            noise=self.added(len(x), mode, noise),
            gain=GAINS["lrelu"],
            fused=len(x) == 1 and not self.training,
        )
        return activate(made, "lrelu", self.limit)


class ToRgb(nn.Module):
    """A modulated 1x1 convolution without demodulation."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = FullyConnected(w_dim, inputs, bias_init=1.0)

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""
        refill(self.weight, noise)
        self.bias.zero_()

    def forward(self, x: Tensor, w: Tensor, f: Tensor) -> Tensor:
        """[N, C, R, R] and styles [N, w_dim] to [N, D, R, R]."""
        made = modulated_conv2d(
            x,
            self.weight,
            self.affine(w) / math.sqrt(x.shape[1]),
            f,
            demodulate=False,
            bias=self.bias,
            fused=len(x) == 1 and not self.training,
        )
        return activate(made, "linear", self.limit)


class SynthesisBlock(nn.Module):
    """Two layers of a resolution, and what they add to the picture; the first starts from a constant."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int | None,
        outputs: int,
        w_dim: int,
        resolution: int,
        pictured: int,
        *,
        up: int = 2,
        limit: float | None = None,
    ) -> None:
        """`inputs` None: the first block. `pictured`: channels of the picture."""
        super().__init__()
        self.up = up
        self.register_buffer("resample_filter", fir_filter())
        if inputs is None:
            self.const = nn.Parameter(torch.zeros(outputs, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, up=up, limit=limit)
        self.is_first = inputs is None
        self.convs = 1 if self.is_first else 2
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, limit=limit)
        self.torgb = ToRgb(outputs, pictured, w_dim, limit=limit)

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""
        if self.is_first:
            refill(self.const, noise)

    def forward(
        self,
        x: Tensor | None,
        picture: Tensor | None,
        ws: Sequence[Tensor],
        mode: NoiseMode,
        noise: Noise | None,
    ) -> tuple[Tensor, Tensor]:
        """Features [N, D, R, R] and the picture [N, pictured, R, R] of this resolution.

        Args:
            x: Features of the block before [N, C, H, W]; None in the first block.
            picture: That of the block before; None in the first block.
            ws: One style for each convolution and one for the picture, each [N, w_dim].
            mode: Noise of the layers.
            noise: Where random noise is drawn from.
        """
        ws = list(ws)
        if x is None:
            x = self.const.expand(len(ws[0]), -1, -1, -1)
        x = innermost(x)
        if not self.is_first:
            x = self.conv0(x, ws.pop(0), mode, noise)
        x = self.conv1(x, ws.pop(0), mode, noise)
        added: Tensor = self.torgb(x, ws.pop(0), self.resample_filter)
        if picture is None:
            return x, added
        if self.up == 2:
            picture = upsample2d(innermost(picture), self.resample_filter)
        return x, picture + added


class Synthesis(nn.ModuleDict):
    """Blocks from 4x4 to the planes' resolution."""

    def __init__(self, sizes: GeneratorSizes) -> None:
        resolution, inputs, blocks = FIRST, None, {}
        while resolution <= sizes.plane_resolution:
            outputs = sizes.channels(resolution)
            blocks[f"b{resolution}"] = SynthesisBlock(
                inputs, outputs, sizes.w_dim, resolution, PLANES * FEATURES
            )
            resolution, inputs = resolution * 2, outputs
        super().__init__(blocks)

    @property
    def num_ws(self) -> int:
        """One style for each convolution, and one for the last picture."""
        return 2 * len(self)

    def forward(self, ws: Tensor, mode: NoiseMode = "const", noise: Noise | None = None) -> Tensor:
        """Styles [N, num_ws, w_dim] to planes [N, 96, P, P], channels innermost in memory."""
        x, picture, used = None, None, 0
        styles = ws.unbind(1)
        for block in self.values():
            assert isinstance(block, SynthesisBlock)
            # parity: a picture shares its style with the convolution after it (spec 4.3).
            x, picture = block(x, picture, styles[used : used + block.convs + 1], mode, noise)
            used += block.convs
        assert picture is not None
        return picture


class Backbone(nn.Module):
    """A draw and a label to planes."""

    def __init__(self, sizes: GeneratorSizes) -> None:
        super().__init__()
        self.synthesis = Synthesis(sizes)
        self.num_ws = self.synthesis.num_ws
        self.mapping = Mapping(sizes.z_dim, sizes.c_dim, sizes.w_dim, self.num_ws, sizes.mapping_layers)
