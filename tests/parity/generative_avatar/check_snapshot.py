"""A training snapshot as published, read without running anything of it, and its generator's picture."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_generative_avatar import official
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.generator import load
from avatarctl_generative_avatar.model.sizes import GENERATOR
from avatarctl_generative_avatar.plugin import avatarctl_weights
from avatarctl_generative_avatar.settings_model import Rendering
from generative_avatar import inputs

from avatarctl.checkpoints import Weights, open_weights

SHARE = 0.01
"""Of pixels that may differ by more than the tolerance."""


def check_snapshot(
    words: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Every tensor bit for bit, the configuration, and a picture."""
    packed = Path(words["path"]).with_suffix(".pkl.xz")
    packed = packed if packed.is_file() else inputs.place(folder, f"cases/{packed.name}")
    path = inputs.scratch() / packed.stem
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    weights = open_weights(path, list(avatarctl_weights()))
    for name, tensors in words["tensors"].items():
        found = weights.part(official.NETWORKS[name])
        assert {key: _digest(tensor) for key, tensor in found.items()} == tensors, name
    progress = words["progress"]
    assert (weights.config["step"], weights.config["images"]) == (progress["batch_idx"], progress["cur_nimg"])
    _check_words(words["init_kwargs"]["G_ema"], weights)
    return _picture(words, arrays, folder, weights)


def _digest(tensor: torch.Tensor) -> list[Any]:
    name = str(tensor.dtype).removeprefix("torch.")
    return [name, list(tensor.shape), hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]]


def _check_words(stated: dict[str, Any], weights: Weights) -> None:
    """The sizes and the rendering are those that the generator was built with."""
    sizes = weights.config["networks"][GENERATOR]
    for name in ("z_dim", "w_dim", "c_dim", "img_resolution", "channel_base", "channel_max"):
        assert sizes[name] == stated[name], name
    assert sizes["mapping_layers"] == stated["mapping_kwargs"]["num_layers"]
    rendering = weights.config["rendering"]
    for name, value in stated["rendering_kwargs"].items():
        assert rendering.get(name, value) == value, name


def _picture(
    words: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path, weights: Weights
) -> dict[str, np.ndarray]:
    start, end = inputs.told(words, r"ray (-?[\d.]*\d)\.\.(-?[\d.]*\d)", -0.5, 0.5)
    (psi,) = inputs.told(words, r"truncation_psi=([\d.]+)", 0.7)
    sampling = inputs.samples(words["draws"]) | {"ray_start": start, "ray_end": end}
    rendering = Rendering(**{**weights.config["rendering"], **sampling})
    rays = arrays["forward_raw"].shape[-1]
    generator = load(weights)
    label, z = torch.from_numpy(arrays["c"]), torch.from_numpy(arrays["z"])
    template = Template.of(inputs.body(folder), inputs.sdf(folder))
    with torch.no_grad():
        ws = generator.mapping(z, label, psi=psi, rendering=rendering)
        made = generator.synthesis(
            ws, label, template, rendering, noise_mode="const", noise=inputs.noise(words), rays=rays
        )
    found = {
        "ws": ws[:, 0],
        "forward_raw": made.image_raw,
        "forward_normal": made.image_normal,
        "forward_image": made.image[:, :, ::2, ::2],
    }
    return {name: _but_few(tensor.numpy(), arrays[name]) for name, tensor in found.items()}


def _but_few(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What was found; of the few pixels that may differ, as the case's tolerance says, the wanted ones."""
    if found.ndim != 4:
        return found
    far = (np.abs(found - wanted) > 2e-3).any(axis=1, keepdims=True)
    assert far.mean() <= SHARE, f"{far.mean():.2%} of the pixels differ"
    return np.where(far, wanted, found)


KINDS = {"tiny_snapshot": check_snapshot}
INPUTS = {"tiny_snapshot": ("z", "c")}
TOLERANCES = {"tiny_snapshot": {"ws": {"rtol": 1e-5, "atol": 1e-5}, "forward_*": {"atol": 2e-3}}}
