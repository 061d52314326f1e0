"""The avatar's weight normalisation, one norm over the whole tensor (spec 7.5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch
from avatarctl_audio2motion.avatar.layers import Conv, Layer, Linear, Tensors, UpConv
from avatarctl_audio2motion.avatar.names import NAMES

inputs = golden.module(Path(__file__).with_name("inputs.py"))
LAYERS: dict[str, type[Layer]] = {"linear": Linear, "conv": Conv, "convt": UpConv, "conv_ub": Conv}


def check_weight_norm(
    case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Each layer from tensors under the published names, on an input of its own."""
    seed = int(case["inputs"]["x and parameters"].split('"embedding", ')[1].split(")")[0])

    def value(name: str, shape: list[int]) -> torch.Tensor:
        entry = {"weights.value": [f"wn/{name}", shape, "float32", "embedding", seed]}
        return torch.from_numpy(inputs.value_of(entry))

    found = {}
    for name, kind in LAYERS.items():
        shapes = json.loads(str(arrays[f"{name}_shapes"]))
        tensors = {key: value(f"{name}/{key}", shape) for key, shape in shapes.items()}
        layer = kind(Tensors(tensors, "weight_norm", NAMES))
        groups = 2 if name == "conv" else 1
        width = layer.weight.shape[0] if name == "convt" else layer.weight.shape[1] * groups
        out = layer(value(f"{name}/x", [2, width] if name == "linear" else [2, width, 6, 6]))
        # The case's plain convolution has no padding: of a padded one, that is all but the border.
        found[f"{name}_out"] = (out[..., 1:-1, 1:-1] if name == "conv" else out).numpy()
        found[f"{name}_weight"] = layer.weight.numpy()
    return found


KINDS = {"weight_norm": check_weight_norm}
INPUTS = {"weight_norm": ("*_shapes",)}
