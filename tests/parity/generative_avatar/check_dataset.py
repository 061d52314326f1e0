"""Check of the reader of photos: pictures, normals, labels and their order."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from avatarctl_generative_avatar.dataset import Photos, order
from generative_avatar import inputs

Arrays = dict[str, np.ndarray]


def dataset(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The photos at two resolutions, mirrored ones after the others at the smaller."""
    path = Path(case["path"]).with_suffix(".zip")
    larger, smaller = map(int, inputs.told(case, r"at (\d+) \(no flip\) and (\d+) px", 64, 48))
    big = Photos(path, larger)
    small = Photos(path, smaller, xflip=True, published=True)
    found: Arrays = {
        f"n_{larger}": np.array([len(big)]),
        f"n_{smaller}": np.array([len(small)]),
        "label_std": big.label_std.numpy(),
        "image_shape": np.array(big[0].image.shape),
        "label_dim": np.array([big.labels.shape[1]]),
    }
    for name in arrays:
        kind, _, place = name.partition("_")
        size, _, index = place.partition("_")
        if not index.isdigit():
            continue
        item = (big if int(size) == larger else small)[int(index)]
        part = {"img": item.image, "normal": item.normals, "label": item.label}[kind].numpy()
        found[name] = _within_one(part, arrays[name]) if kind == "img" else part
    count = int(re.search(r"over (\d+) items", case["what"])[1])
    seed = int(case["case"].rpartition("_s")[2])
    found["sampler"] = _first(order(count, seed), arrays["sampler"])
    found["sampler_rank1of2"] = _first(order(count, seed, 1, 2), arrays["sampler_rank1of2"])
    return found


def _within_one(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The expected levels where resized ones are within one level of them, as the case allows."""
    assert found.shape == expected.shape, f"found {found.shape}, expected {expected.shape}"
    gap = np.abs(found.astype(int) - expected.astype(int))
    return np.where(gap <= 1, expected, found)


def _first(indices: Any, like: np.ndarray) -> np.ndarray:
    return np.array(list(islice(indices, len(like))))


KINDS = {"dataset": dataset}
EXACT = {"rtol": 0.0, "atol": 0.0}
TOLERANCES = {
    "dataset": {
        **dict.fromkeys(("n_*", "img_*", "image_shape", "sampler*"), EXACT),
        "normal_*": {"rtol": 1e-6, "atol": 0.0},
        "label_*": {"rtol": 1e-6, "atol": 0.0},
    }
}
