"""Checks of the layers and of the networks but for rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from avatarctl_generative_avatar.model import layers
from avatarctl_generative_avatar.model.discriminator import Discriminator, batch_deviation
from avatarctl_generative_avatar.model.sizes import DISCRIMINATOR, LIMITS, DiscriminatorSizes
from generative_avatar import inputs as given
from torch import Tensor, nn

from avatarctl.checkpoints.sizes import network, sizes_in

Arrays = dict[str, np.ndarray]
Words = dict[str, Any]


def numpy(found: dict[str, Tensor]) -> Arrays:
    return {name: tensor.detach().contiguous().numpy() for name, tensor in found.items()}


def drawn(key: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform values from -1 to 1, by the recipe of the cases."""
    stream = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy((stream.random(shape) * 2 - 1).astype(np.float32))


def summary(x: Tensor) -> Tensor:
    """Mean, deviation, least, greatest and mean size."""
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.abs().mean()])


def weights_of(case: Words) -> tuple[str, int]:
    """Manifest and seed of a case."""
    words = case["weights"]
    return words["manifest"].removesuffix(".json"), int(words["seed"])


@torch.no_grad()
def check_ops(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """The layers' functions."""
    raw = {name: torch.from_numpy(array) for name, array in arrays.items()}
    x, f, w1, w3, styles = (raw[name] for name in ("x", "f", "w1", "w3", "styles"))
    torch.testing.assert_close(layers.fir_filter(), f, rtol=0, atol=1e-7)
    convolution = layers.conv2d_resample
    gain = 0.5**0.5
    biased = x * 200 + torch.tensor([1.0, -2.0, 0.5])[:, None, None]
    fused = [
        layers.modulated_conv2d(one[None], w3, style[None], f, up=2, noise=noise[None], fused=True)
        for one, style, noise in zip(x, styles, raw["noise"], strict=True)
    ]
    found = {
        "up2": layers.upsample2d(x, f),
        "down2": layers.downsample2d(x, f),
        "lrelu_clamp": layers.activate(biased * (layers.GAINS["lrelu"] * gain), limit=256 * gain),
        "conv3": convolution(x, w3, f),
        "conv3_up": convolution(x, w3, f, up=2),
        "conv3_down": convolution(x, w3, f, down=2),
        "conv1_down": convolution(x, w1, f, down=2),
        "mod_fused": torch.cat(fused),
        "mod_unfused": layers.modulated_conv2d(x, w3, styles, f, up=2, noise=raw["noise"]),
        "mod_nodemod": layers.modulated_conv2d(x, w1, styles, f, demodulate=False),
        "resize_aa": layers.resize(raw["resize_in"], 12),
        "resize_aa_up": layers.resize(raw["resize_in"], 48),
    }
    blurred = [name for name in arrays if name.startswith("blur_") and not name.startswith("blur_in_")]
    for name in blurred:
        sigma = name.removeprefix("blur_")
        found[name] = layers.blur(raw.get(f"blur_in_{sigma}", x), float(sigma))
    return numpy(found)


@torch.no_grad()
def check_mapping(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Styles of draws, truncated and not, and the running mean."""
    mapping = given.generator(folder, *weights_of(case)).backbone.mapping
    z, c = torch.from_numpy(arrays["z"]), torch.from_numpy(arrays["c"])
    zeros = torch.zeros_like(c)
    ws = mapping(z, zeros)
    found = {
        "ws1": ws[:, 0],
        "ws07": mapping(z, zeros, 0.7)[:, 0],
        "ws_num": torch.tensor(ws.shape),
        "ws_c_zero_off": mapping(z, c)[:, 0],
        "ws_cutoff": mapping(z, zeros, 0.5, 7)[:, [0, 6, 7, 13]],
    }
    mapping(z, zeros, update_w_avg=True)
    found["w_avg_after"] = mapping.w_avg
    return numpy(found)


@torch.no_grad()
def check_backbone(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Planes, block by block."""
    backbone = given.generator(folder, *weights_of(case)).backbone
    z = torch.from_numpy(arrays["z"])
    ws = backbone.mapping(z, torch.zeros(len(z), 111), 0.7)
    found: dict[str, Tensor] = {}

    def note(block: nn.Module, _: Any, made: tuple[Tensor, Tensor]) -> None:
        x, picture = made
        side = x.shape[-1]
        found[f"x_b{side}"], found[f"img_b{side}"] = summary(x), summary(picture)
        found[f"x_b{side}_s"] = x[0, :4, :: side // 4, :: side // 4]

    hooks = [block.register_forward_hook(note) for block in backbone.synthesis.values()]
    planes = backbone.synthesis(ws, "const")
    for hook in hooks:
        hook.remove()
    found |= {
        "planes_stats": torch.stack([summary(plane) for plane in planes[0].unflatten(0, (3, 32))]),
        "planes_row": planes[0, [0, 31, 32, 95], 100],
    }
    for name, mode in (("", "const"), ("_random", "random"), ("_nonoise", "none")):
        made = backbone.synthesis(ws, mode, given.noise(case))
        found[f"planes{name}_slice"] = made[0, ::12, ::16, ::16]
    unfused = backbone.train().synthesis(ws, "const")
    found["max_fused_vs_unfused"] = (planes - unfused).abs().max()[None]
    return numpy(found)


@torch.no_grad()
def check_superres(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Pictures from features with and without resizing."""
    network = given.generator(folder, *weights_of(case)).superresolution
    seed = int(case["S"])
    stream = np.random.Generator(np.random.Philox(key=seed + 3))
    ws = torch.from_numpy((stream.standard_normal((1, 14, 512)) * 0.6).astype(np.float32))
    found = {}
    for side in sorted({int(name[1:].partition("_")[0]) for name in arrays}):
        rgb, features = drawn(seed + side, (1, 3, side, side)), drawn(seed + side + 1, (1, 32, side, side))
        features[:, :3] = rgb
        made = network(rgb, features, ws)
        found |= {
            f"y{side}_stats": summary(made),
            f"y{side}_slice": made[0, :, ::16, ::16],
            f"y{side}_patch": made[0, :, 200:216, 200:216],
        }
    return numpy(found)


@torch.no_grad()
def check_disc(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Logits of the four discriminators, and the blocks of one."""
    weights = given.discriminator(folder, *weights_of(case))
    sizes = sizes_in(weights, DISCRIMINATOR, DiscriminatorSizes(), limits=LIMITS)
    critics = network(weights, DISCRIMINATOR, Discriminator, sizes)
    assert isinstance(critics, Discriminator)
    labels, seed = torch.from_numpy(arrays["c"]), int(case["S"])
    count = len(labels)

    def resized(key: int, side: int) -> Tensor:
        return F.interpolate(
            drawn(seed + key, (count, 3, 32, 32)), (side, side), mode="bilinear", align_corners=False
        )

    pictures = {
        "image": resized(1, 512),
        "image_raw": resized(2, 256),
        "normal": resized(3, 256),
        "face": drawn(seed + 4, (count, 3, 64, 64)),
        "normal_face": drawn(seed + 5, (count, 3, 32, 32)),
    }
    found: dict[str, Tensor] = {}

    def note(block: nn.Module, taken: tuple[Tensor], made: Tensor) -> None:
        side = taken[0].shape[-1]
        found[f"face_b{side}"] = summary(made)
        steps = (made.shape[1] // 8, made.shape[2] // 4)
        found[f"face_b{side}_s"] = made[0, :: steps[0], :: steps[1], :: steps[1]]
        if side == 8:
            found["face_mbstd"] = batch_deviation(made, critics.D_face_image.b4.group)

    blocks = [critics.D_face_image.get_submodule(name) for name in critics.D_face_image.names]
    for block in blocks:
        block.register_forward_hook(note)
    for name, logits in critics(pictures, labels).items():
        found[f"logit_{name}"] = logits
    for name, head in critics.named_children():
        found[f"cmap_{name}"] = head.get_submodule("mapping")(None, labels)[:, :16]
    return numpy(found)


KINDS = {
    "ops": check_ops,
    "mapping": check_mapping,
    "backbone": check_backbone,
    "superres": check_superres,
    "disc": check_disc,
}
INPUTS = {
    "ops": ("x", "f", "blur_in_*", "w3", "w1", "styles", "noise", "resize_in"),
    "mapping": ("z", "c"),
    "backbone": ("z",),
    "disc": ("c",),
}
TOLERANCES = {
    "ops": {"*": {"atol": 1e-5}},
    "mapping": {"*": {"atol": 1e-4}},
    "backbone": {"*": {"atol": 2e-4}},
    "superres": {"*": {"atol": 2e-4}},
    "disc": {"*": {"rtol": 1e-3}},
}
