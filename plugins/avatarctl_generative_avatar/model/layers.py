"""Layers of StyleGAN2 with equalised learning rates (Karras et al., 2020; spec 4.1).

Weights are drawn from N(0, 1) and scaled where they are used. Constructors leave them 0: `initialise` draws
the published initial values. Pictures are kept with their channels innermost (`channels_last`), which halves
the time of convolutions and filters on CPUs; gains are folded into weights and biases, which saves passes.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatarctl.device import Noise

SLOPE = 0.2
TAPS = (1.0, 3.0, 3.0, 1.0)
EPSILON = 1e-8
Activation = Literal["lrelu", "linear"]
GAINS: dict[Activation, float] = {"lrelu": math.sqrt(2), "linear": 1.0}


@runtime_checkable
class Drawn(Protocol):
    """A module whose own parameters start from random draws."""

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""


@torch.no_grad()
def initialise(module: nn.Module, noise: Noise) -> None:
    """Draw the published initial values of all layers of a module, in place."""
    for part in module.modules():
        if isinstance(part, Drawn):
            part.draw(noise)


def refill(tensor: Tensor, noise: Noise, scale: float = 1.0) -> None:
    """Standard normal draws times `scale`, in place."""
    tensor.copy_(noise.normal(tensor.shape, device=tensor.device) * scale)


def fir_filter() -> Tensor:
    """The low-pass filter of all resampling [4, 4], sum 1."""
    taps = torch.tensor(TAPS)
    return torch.outer(taps, taps) / taps.sum().square()


def innermost(x: Tensor) -> Tensor:
    """The same picture with its channels innermost in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def normalise(x: Tensor) -> Tensor:
    """Vectors [..., C] over the root of their mean square."""
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt()


def activate(x: Tensor, act: Activation = "lrelu", limit: float | None = None) -> Tensor:
    """The activation of values already times its gain, clamped to +-limit; x itself is overwritten."""
    x = F.leaky_relu_(x, SLOPE) if act == "lrelu" else x
    if limit is None:
        return x
    return x.clamp(-limit, limit) if x.requires_grad else x.clamp_(-limit, limit)


def _each(f: Tensor, channels: int, gain: float = 1.0) -> Tensor:
    """A filter [h, w] as the weight of a convolution of every channel by itself."""
    return (f * gain).expand(channels, 1, -1, -1)


def downsample2d(x: Tensor, f: Tensor) -> Tensor:
    """Filtered and every second pixel taken [N, C, H / 2, W / 2]."""
    return F.conv2d(x, _each(f.flip(0, 1), x.shape[1]), padding=1, stride=2, groups=x.shape[1])


def upsample2d(x: Tensor, f: Tensor) -> Tensor:
    """Zeros put between pixels, then filtered [N, C, 2H, 2W]."""
    return F.conv_transpose2d(x, _each(f, x.shape[1], 4.0), padding=1, stride=2, groups=x.shape[1])


def resize(x: Tensor, size: int, *, antialias: bool = True) -> Tensor:
    """Bilinear, corners not aligned [N, C, size, size]."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=antialias)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Pictures blurred with a kernel that halves at `sigma` pixels, zeros outside [N, C, H, W] (spec 5.3)."""
    reach = math.floor(3 * sigma)
    if reach <= 0:
        return x

    def band(size: int) -> Tensor:
        """The filter of a row as a matrix: for long filters faster than a convolution [size, size]."""
        steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=x.device)
        taps = torch.exp2(-(steps / sigma).square())
        place = torch.arange(size, device=x.device)
        offset = place[:, None] - place
        weights = (taps / taps.sum())[(offset + reach).clamp(0, 2 * reach)]
        return torch.where(offset.abs() <= reach, weights, 0.0)

    return band(x.shape[-2]) @ x @ band(x.shape[-1])


def conv2d_resample(
    x: Tensor, weight: Tensor, f: Tensor, *, up: int = 1, down: int = 1, bias: Tensor | None = None
) -> Tensor:
    """A convolution of the same padding with twofold up- or downsampling.

    Args:
        x: [N, C, H, W].
        weight: [D, C, k, k], k 1 or 3. Correlated with the picture; with `up` convolved (spec 4.1).
        f: Low-pass filter [4, 4].
        up: 1 or 2.
        down: 1 or 2.
        bias: Added in the end [D].
    """
    kernel = weight.shape[-1]
    if up == 2:
        assert kernel == 3, f"upsampling with a kernel of {kernel}"
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, D, 2H + 1, 2W + 1]
        return F.conv2d(x, _each(f.flip(0, 1), x.shape[1], 4.0), bias, padding=1, groups=x.shape[1])
    if down == 1:
        return F.conv2d(x, weight, bias, padding=kernel // 2)
    if kernel == 1:
        return F.conv2d(downsample2d(x, f), weight, bias)
    x = F.conv2d(x, _each(f.flip(0, 1), x.shape[1]), padding=2, groups=x.shape[1])
    return F.conv2d(x, weight, bias, stride=2)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    f: Tensor,
    *,
    up: int = 1,
    demodulate: bool = True,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    gain: float = 1.0,
    fused: bool = False,
) -> Tensor:
    """gain (d conv(x s) + noise + bias), with d one over the norm of a filter times the styles.

    Args:
        x: [N, C, H, W].
        weight: [D, C, k, k].
        styles: Factors of channels [N, C].
        f: Low-pass filter [4, 4].
        up: 1 or 2.
        demodulate: Whether d is not 1.
        bias: [D].
        noise: [N or 1, 1, H', W'].
        gain: A factor on all.
        fused: Put the factors into the filters, which saves passes over the picture; only of one picture.
    """
    scale = styles.new_full((len(styles), len(weight)), gain)
    if demodulate:
        scale = gain * (F.linear(styles.square(), weight.square().sum((2, 3))) + EPSILON).rsqrt()
    bias = bias if bias is None else bias * gain
    if fused:
        assert len(x) == 1, f"fused modulation of {len(x)} pictures"
        made = conv2d_resample(x, weight * (styles * scale.mT)[:, :, None, None], f, up=up, bias=bias)
    else:
        made = conv2d_resample(x * styles[:, :, None, None], weight, f, up=up)
        scale = scale[:, :, None, None]
        made = made * scale if bias is None else torch.addcmul(bias[:, None, None], made, scale)
    return made if noise is None else made.add_(noise * gain)


class FullyConnected(nn.Module):
    """act(x W^T lr / sqrt(C) + b lr) of vectors [..., C]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        act: Activation = "linear",
        lr: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.act, self.lr, self.bias_init = act, lr, bias_init
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""
        refill(self.weight, noise, 1 / self.lr)
        self.bias.fill_(self.bias_init)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D]."""
        gain = self.lr * GAINS[self.act]
        return activate(
            F.linear(x * (gain / math.sqrt(x.shape[-1])), self.weight, self.bias * gain), self.act
        )


class Convolution(nn.Module):
    """A convolution of pictures, its activation and its limit."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        act: Activation = "lrelu",
        has_bias: bool = True,
        down: int = 1,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.act, self.down, self.limit = act, down, limit
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if has_bias else None
        self.register_buffer("resample_filter", fir_filter())

    def draw(self, noise: Noise) -> None:
        """Draw the published initial values."""
        refill(self.weight, noise)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """[N, C, H, W] to [N, D, H / down, W / down], times `gain`, as is the limit."""
        total = gain * GAINS[self.act]
        weight = self.weight * (total / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * total
        made = conv2d_resample(innermost(x), weight, self.resample_filter, down=self.down, bias=bias)
        return activate(made, self.act, None if self.limit is None else self.limit * gain)
