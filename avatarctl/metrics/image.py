"""How alike pictures are: PSNR, SSIM, and LPIPS with the user's copy of its network.

LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
version 0.1): both pictures pass a classification network; features after five of its layers are normalised
over channels, and their squared differences are weighed by channel, averaged over pixels and summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.assets import added_folder
from avatarctl.checkpoints import load_strict, native
from avatarctl.checkpoints.official import Weights, flatten, is_safetensors
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import AssetError, CheckpointError, DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.shapes import expect

Backbone = Literal["vgg", "alex"]
WINDOW, SIGMA = 11, 1.5
"""Side of SSIM's Gaussian window and its deviation, pixels."""
C1, C2 = 0.01**2, 0.03**2
"""SSIM's constants for values of 0 to 1."""
LEAST_MSE = 1e-10
"""Where the mean squared error ends, so that equal pictures have 100 dB."""
EPSILON = 1e-10
"""Beside the length of LPIPS's features."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What LPIPS does to colours of -1 to 1."""
OWN = ("scaling_layer.", "net.", "lin0.", "lin1.", "lin2.", "lin3.", "lin4.")
"""Beginnings of the names of its tensors."""
SMALLEST: dict[Backbone, int] = {"vgg": 16, "alex": 31}
"""Pictures of a shorter side have no pixel left in the last layers."""
FILES: dict[Backbone, tuple[str, str, str]] = {
    "vgg": ("vgg16-*.pth", "vgg.pth", "vgg16-397923af.pth"),
    "alex": ("alexnet-*.pth", "alex.pth", "alexnet-owt-7be5be79.pth"),
}
"""torchvision's file as a pattern, LPIPS's own, and the name of the former on its page."""
PAGES = (
    "https://download.pytorch.org/models/{}",
    "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/{}",
)
CONVOLUTIONS: dict[Backbone, tuple[tuple[tuple[int, int, int, int], ...], ...]] = {
    # by slice: channels in and out, kernel, stride
    "vgg": (
        ((3, 64, 3, 1), (64, 64, 3, 1)),
        ((64, 128, 3, 1), (128, 128, 3, 1)),
        ((128, 256, 3, 1), (256, 256, 3, 1), (256, 256, 3, 1)),
        ((256, 512, 3, 1), (512, 512, 3, 1), (512, 512, 3, 1)),
        ((512, 512, 3, 1), (512, 512, 3, 1), (512, 512, 3, 1)),
    ),
    "alex": (
        ((3, 64, 11, 4),),
        ((64, 192, 5, 1),),
        ((192, 384, 3, 1),),
        ((384, 256, 3, 1),),
        ((256, 256, 3, 1),),
    ),
}
POOLS: dict[Backbone, tuple[int, ...]] = {"vgg": (0, 2, 2, 2, 2), "alex": (0, 3, 3, 0, 0)}
"""Side of the maximum over pixels that a slice begins with, two pixels apart; 0 for none."""


def psnr(predicted: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio over all values of 0 to 1 [...], decibels; a scalar."""
    _expect_pair(predicted, truth)
    return -10 * (predicted - truth).square().mean().clamp(min=LEAST_MSE).log10()


def ssim(predicted: Tensor, truth: Tensor, *, padding: bool = True) -> Tensor:
    """Structural similarity of pictures with values of 0 to 1 [..., C, H, W]: means over C, H, W [...].

    Wang et al., "Image Quality Assessment", 2004: a Gaussian window of 11 pixels.

    Args:
        padding: Windows reach over the edge, where pixels count as zero; else only whole windows count.
    """
    _expect_pair(predicted, truth)
    expect(predicted, "... C H W", "predicted")
    if not padding and min(predicted.shape[-2:]) < WINDOW:
        raise DataError(f"SSIM: a picture of {_size(predicted)}, smaller than its window of {WINDOW} pixels")
    moments = torch.stack([predicted, truth, predicted**2, truth**2, predicted * truth])
    mean, mean_truth, square, square_truth, product = _blurred(moments, padding)
    variances = square - mean**2 + square_truth - mean_truth**2
    covariance = product - mean * mean_truth
    likeness = (2 * mean * mean_truth + C1) * (2 * covariance + C2)
    likeness = likeness / ((mean**2 + mean_truth**2 + C1) * (variances + C2))
    means: Tensor = likeness.mean(dim=(-3, -2, -1))
    return means


def _blurred(pictures: Tensor, padding: bool) -> Tensor:
    """Pictures [..., H, W] under the Gaussian window, first over rows, then over columns."""
    places = torch.arange(WINDOW, dtype=pictures.dtype, device=pictures.device) - WINDOW // 2
    window = torch.exp(-(places**2) / (2 * SIGMA**2))
    window = window / window.sum()
    flat, margin = pictures.reshape(-1, 1, *pictures.shape[-2:]), WINDOW // 2 if padding else 0
    flat = functional.conv2d(flat, window.view(1, 1, -1, 1), padding=(margin, 0))
    flat = functional.conv2d(flat, window.view(1, 1, 1, -1), padding=(0, margin))
    return flat.reshape(*pictures.shape[:-2], *flat.shape[-2:])


class _Scaling(nn.Module):
    """Colours of -1 to 1 as the classification network was trained with them."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures - self.shift) / self.scale


class _Features(nn.Module):
    """The layers of VGG-16 or AlexNet up to the last that LPIPS looks at, numbered as torchvision does."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        number = 0
        for place, (convolutions, pool) in enumerate(
            zip(CONVOLUTIONS[backbone], POOLS[backbone], strict=True), start=1
        ):
            slice_ = nn.Sequential()
            if pool:
                slice_.add_module(str(number), nn.MaxPool2d(pool, 2))
                number += 1
            for into, out, kernel, stride in convolutions:
                margin = 2 if stride > 1 else kernel // 2
                slice_.add_module(str(number), nn.Conv2d(into, out, kernel, stride, margin))
                slice_.add_module(str(number + 1), nn.ReLU())
                number += 2
            self.add_module(f"slice{place}", slice_)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        found = []
        for slice_ in self.children():
            pictures = slice_(pictures)
            found.append(pictures)
        return found


class Lpips(nn.Module):
    """Perceptual distance; frozen, with the names of the published package's tensors."""

    def __init__(self, backbone: Backbone = "vgg") -> None:
        super().__init__()
        self.backbone = backbone
        self.scaling_layer = _Scaling()
        self.net = _Features(backbone)
        for place, convolutions in enumerate(CONVOLUTIONS[backbone]):
            line = nn.Module()
            # The published layer follows a dropout, which is off: its weights are number 1 of the model.
            line.model = nn.Sequential(nn.Identity(), nn.Conv2d(convolutions[-1][1], 1, 1, bias=False))
            self.add_module(f"lin{place}", line)
        self.requires_grad_(False)

    def forward(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Distances [...] of pictures [..., 3, H, W] with values of -1 to 1."""
        _expect_pair(predicted, truth)
        expect(predicted, "... 3 H W", "predicted")
        if min(predicted.shape[-2:]) < SMALLEST[self.backbone]:
            least = SMALLEST[self.backbone]
            raise DataError(
                f"LPIPS: a picture of {_size(predicted)}; '{self.backbone}' takes {least} or more"
            )
        total = torch.zeros((), device=predicted.device)
        pairs = (self._features(pictures.flatten(0, -4)) for pictures in (predicted[None], truth[None]))
        for place, (first, second) in enumerate(zip(*pairs, strict=True)):
            difference = (_normalised(first) - _normalised(second)).square()
            weighed = self.get_submodule(f"lin{place}.model.1")(difference)
            total = total + weighed.mean(dim=(1, 2, 3))
        return total.reshape(predicted.shape[:-3])

    def _features(self, pictures: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.net(self.scaling_layer(pictures))
        return found


def _normalised(features: Tensor) -> Tensor:
    """Features [N, C, H, W] of length 1 over channels; where all are 0 their gradient is 0."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (lengths + EPSILON)


def lpips_of(weights: Weights, part: str = "lpips") -> Lpips:
    """The network that trained weights carry beside their own, as HF-Avatar's checkpoints do.

    Raises:
        CheckpointError: They carry none.
    """
    return _loaded(weights.part(part), f"{weights.path}: {part}", "vgg")


def load_lpips(files: Sequence[Path], backbone: Backbone = "vgg") -> Lpips:
    """The network in files of the user: torchvision's and LPIPS's own, or one file that holds it all.

    The latter is a checkpoint with tensors lpips.*, or a network that the lpips package has saved.

    Raises:
        CheckpointError: What is in them is not all of it, or belongs to another backbone.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= _tensors(check_input_file(path, "a network of LPIPS"), backbone)
    shown = ", ".join(map(str, files))
    needed = {"image network": "net.slice1.0.weight", "weights of channels": "lin0.model.1.weight"}
    missing = [what for what, name in needed.items() if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{shown}: no {' and no '.join(missing)} of LPIPS", hint=f"{_where(backbone)}, and name both"
        )
    return _loaded(tensors, shown, backbone)


def find_lpips(backbone: Backbone = "vgg") -> list[Path]:
    """The files of the network in the folder `lpips` of the user's assets.

    Raises:
        AssetError: One is missing.
    """
    folder = added_folder() / "lpips"
    found = [sorted(folder.glob(pattern)) for pattern in FILES[backbone][:2]]
    if not all(found):
        missing = " and ".join(
            pattern for pattern, files in zip(FILES[backbone], found, strict=False) if not files
        )
        raise AssetError(
            f"LPIPS ({backbone}) was not found: no {missing}\nlooked in {folder}",
            hint=f"{_where(backbone)} into that folder, or name both",
        )
    return [files[0] for files in found]


def _where(backbone: Backbone) -> str:
    """How to get the files."""
    _, own, image = FILES[backbone]
    return f"download {PAGES[0].format(image)} and {PAGES[1].format(own)}"


def _tensors(path: Path, backbone: Backbone) -> dict[str, Tensor]:
    """What a file holds of the network, under the names that the network has."""
    content: Any = native.load(path)[0] if is_safetensors(path) else load_torch(path)
    nested = content.get("state_dict") if isinstance(content, Mapping) else None
    tensors = flatten(nested if isinstance(nested, Mapping) else content)
    inside = {
        name.removeprefix("lpips."): tensor for name, tensor in tensors.items() if name.startswith("lpips.")
    }
    tensors = inside or tensors
    # torchvision counts the layers through; the network has them in slices. Older files name "lins" twice.
    names = {
        f"features.{name.split('.', 2)[2]}": name
        for name in _empty(backbone).state_dict()
        if name.startswith("net.")
    }
    every = {names.get(name, name): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in every.items() if name.startswith(OWN)}


def _empty(backbone: Backbone) -> Lpips:
    """The network without numbers."""
    with torch.device("meta"):
        return Lpips(backbone)


def _loaded(tensors: Mapping[str, Tensor], where: str, backbone: Backbone) -> Lpips:
    constants = {"shift": SHIFT, "scale": SCALE}
    fixed = {
        f"scaling_layer.{name}": torch.tensor(values).view(1, 3, 1, 1) for name, values in constants.items()
    }
    network = _empty(backbone)
    load_strict(network, {**fixed, **tensors}, where, is_shared=True)
    return network.eval().requires_grad_(False)


def _size(pictures: Tensor) -> str:
    return f"{pictures.shape[-1]}x{pictures.shape[-2]}"


def _expect_pair(predicted: Tensor, truth: Tensor) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"truth has shape {list(truth.shape)}, predicted {list(predicted.shape)}")
