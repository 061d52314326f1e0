"""ResNet of bottleneck blocks, without its classifier (He et al. 2016; torchvision's names, spec 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

EXPANSION = 4


@dataclass(frozen=True)
class BackboneSizes:
    """Channels of the first stage, and blocks of the four; ResNet-50 by default."""

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    @property
    def features(self) -> int:
        """Numbers that come out."""
        return self.width * EXPANSION * 2 ** (len(self.blocks) - 1)


class Bottleneck(nn.Module):
    """1x1, 3x3 (which strides), 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps [B, 4 width, H / stride, W / stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn3(self.conv3(y)) + shortcut)


class Backbone(nn.Module):
    """Image features [B, features] of crops [B, 3, H, W]."""

    def __init__(self, sizes: BackboneSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or BackboneSizes()
        self.conv1 = nn.Conv2d(3, sizes.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(sizes.width)
        inputs = sizes.width
        self.stages = tuple(f"layer{number}" for number in range(1, len(sizes.blocks) + 1))
        for number, (name, count) in enumerate(zip(self.stages, sizes.blocks, strict=True)):
            width = sizes.width * 2**number
            made = []
            for block in range(count):
                made.append(Bottleneck(inputs, width, 2 if number and not block else 1))
                inputs = EXPANSION * width
            self.add_module(name, nn.Sequential(*made))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the last feature map."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))
