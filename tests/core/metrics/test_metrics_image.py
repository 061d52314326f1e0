"""PSNR and SSIM against closed forms and scikit-image; LPIPS against its formula; the user's files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import structural_similarity
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl.errors import AssetError, CheckpointError, DataError
from avatarctl.metrics.image import (
    SCALE,
    SHIFT,
    Lpips,
    find_lpips,
    load_lpips,
    psnr,
    ssim,
)


def pictures(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = Noise.seeded(0, "pictures")
    first = noise.uniform(shape)
    return first, (first + 0.2 * noise.normal(shape)).clamp(0, 1)


def network(backbone: str = "alex") -> dict[str, torch.Tensor]:
    """Made-up tensors of LPIPS; those of channels are not negative, as published."""
    noise, tensors = Noise.seeded(1, "lpips"), {}
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Lpips(backbone).state_dict().items()}
    for name, shape in shapes.items():
        tensors[name] = noise.normal(shape) / math.sqrt(max(1, math.prod(shape[1:])))
        if name.startswith("lin"):
            tensors[name] = tensors[name].abs()
    for name, values in (("shift", SHIFT), ("scale", SCALE)):
        tensors[f"scaling_layer.{name}"] = torch.tensor(values).view(1, 3, 1, 1)
    return tensors


def as_torchvision(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The image network as torchvision saves it."""
    found = {f"features.{n.split('.', 2)[2]}": t for n, t in tensors.items() if n.startswith("net.")}
    return found | {"classifier.6.weight": torch.ones(2, 3)}


def as_lin(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The file that comes with the lpips package."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith("lin")}


def test_psnr_is_that_of_the_mean_squared_error():
    assert float(psnr(torch.zeros(2, 3), torch.full((2, 3), 0.1))) == pytest.approx(20.0, abs=1e-4)
    assert float(psnr(torch.ones(4), torch.ones(4))) == 100.0


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_ssim_of_whole_windows_agrees_with_scikit_image(leading):
    first, second = pictures(*leading, 3, 20, 17)
    found = ssim(first, second, padding=False)
    assert found.shape == leading
    for place in np.ndindex(leading):
        _, whole = structural_similarity(
            first[place].numpy(),
            second[place].numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert float(found[place]) == pytest.approx(whole[:, 5:-5, 5:-5].mean(), abs=1e-5)


def test_ssim_with_padding_is_that_of_pictures_in_a_black_frame():
    first, second = pictures(3, 12, 9)
    framed = [functional.pad(picture, (5, 5, 5, 5)) for picture in (first, second)]
    assert float(ssim(first, second)) == pytest.approx(float(ssim(*framed, padding=False)), abs=1e-6)


def test_ssim_without_padding_needs_a_whole_window():
    with pytest.raises(DataError, match="a picture of 10x30, smaller than its window of 11"):
        ssim(*pictures(3, 30, 10), padding=False)


def test_lpips_is_the_weighed_distance_of_normalised_features(tmp_path):
    tensors = network()
    torch.save(tensors, tmp_path / "lpips.pth")
    first, second = (2 * picture - 1 for picture in pictures(2, 3, 40, 36))
    found = load_lpips([tmp_path / "lpips.pth"], "alex")(first, second)
    values, layers = [[], []], ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
    for picture, into in zip((first, second), values, strict=True):
        x = (picture - tensors["scaling_layer.shift"]) / tensors["scaling_layer.scale"]
        for place, (number, stride, pad) in enumerate(layers):
            x = functional.max_pool2d(x, 3, 2) if place in (1, 2) else x
            name = f"net.slice{place + 1}.{number}"
            x = functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride, pad).relu()
            into.append(x / x.square().sum(1, keepdim=True).sqrt())
    wanted = sum(
        ((one - other).square() * tensors[f"lin{place}.model.1.weight"]).sum(1).mean((1, 2))
        for place, (one, other) in enumerate(zip(*values, strict=True))
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_lpips_takes_any_leading_shape_and_is_frozen(tmp_path):
    torch.save(network(), tmp_path / "lpips.pth")
    measure = load_lpips([tmp_path / "lpips.pth"], "alex")
    first, second = pictures(2, 3, 3, 32, 32)
    every = measure(first, second)
    assert every.shape == (2, 3)
    torch.testing.assert_close(measure(first[1, 2], second[1, 2]), every[1, 2], rtol=1e-5, atol=1e-7)
    assert not any(parameter.requires_grad for parameter in measure.parameters())
    assert float(measure(first[0, 0], first[0, 0])) == 0.0


def test_a_dead_pixel_leaves_the_gradient_finite(tmp_path):
    """All features of a pixel may be 0, where the length that they are divided by has no derivative."""
    tensors = network()
    tensors = {
        name: tensor.zero_() if name.startswith("net.slice1") else tensor for name, tensor in tensors.items()
    }
    torch.save(tensors, tmp_path / "lpips.pth")
    first, second = pictures(3, 32, 32)
    load_lpips([tmp_path / "lpips.pth"], "alex")(first.requires_grad_(), second).backward()
    assert torch.isfinite(first.grad).all()


def test_the_network_comes_from_any_of_the_published_files(tmp_path):
    tensors = network()
    torch.save(as_torchvision(tensors), tmp_path / "alexnet-owt.pth")
    torch.save(as_lin(tensors), tmp_path / "alex.pth")
    prefixed = {f"lpips.{name}": tensor for name, tensor in tensors.items()}
    again = {f"lpips.lins.{n[3]}.{n[5:]}": tensor for n, tensor in as_lin(tensors).items()}
    other = {"sdf_network.planes": torch.ones(2)}
    torch.save({"state_dict": prefixed | again | other, "epoch": 3}, tmp_path / "epoch=1-step=2.ckpt")
    save_file(prefixed, tmp_path / "weights.safetensors")
    for files in (["alexnet-owt.pth", "alex.pth"], ["epoch=1-step=2.ckpt"], ["weights.safetensors"]):
        found = load_lpips([tmp_path / file for file in files], "alex").state_dict()
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_files_that_are_not_the_network_are_refused(tmp_path):
    tensors = network()
    torch.save(as_torchvision(tensors), tmp_path / "image.pth")
    torch.save(as_lin(tensors), tmp_path / "lin.pth")
    with pytest.raises(CheckpointError, match="no weights of channels of LPIPS") as caught:
        load_lpips([tmp_path / "image.pth"], "alex")
    assert "PerceptualSimilarity" in caught.value.hint
    with pytest.raises(CheckpointError, match="no image network of LPIPS"):
        load_lpips([tmp_path / "lin.pth"], "alex")
    with pytest.raises(CheckpointError, match="do not fit Lpips"):
        load_lpips([tmp_path / "image.pth", tmp_path / "lin.pth"], "vgg")
    with pytest.raises(DataError, match=r"nothing\.pth"):
        load_lpips([tmp_path / "nothing.pth"])


def test_the_users_assets_are_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path))
    with pytest.raises(
        AssetError, match=r"LPIPS \(vgg\) was not found: no vgg16-\*\.pth and vgg\.pth"
    ) as caught:
        find_lpips()
    assert "download https://download.pytorch.org/models/vgg16-397923af.pth" in caught.value.hint
    (tmp_path / "lpips").mkdir()
    for name in ("vgg16-397923af.pth", "vgg.pth"):
        (tmp_path / "lpips" / name).touch()
    assert [path.name for path in find_lpips()] == ["vgg16-397923af.pth", "vgg.pth"]


def test_too_small_a_picture_is_a_line(tmp_path):
    torch.save(network(), tmp_path / "lpips.pth")
    with pytest.raises(DataError, match="a picture of 30x40; 'alex' takes 31 or more"):
        load_lpips([tmp_path / "lpips.pth"], "alex")(*pictures(3, 40, 30))
