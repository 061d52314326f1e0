"""Check of the changes that discriminators see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_generative_avatar.augment import Augment, bands, warp_taps
from generative_avatar import inputs as given

Arrays = dict[str, np.ndarray]


def check_augment(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The published pipe on two pictures and on one, and its unused corruptions."""
    stream = np.random.Generator(np.random.Philox(key=int(arrays["x_key"][0])))
    x = torch.from_numpy((stream.random(arrays["y"].shape) * 2 - 1).astype(np.float32))
    (p,) = given.told(case, r"with p=([\d.]*\d)", 0.8)
    corruptions = Augment(geometry=False, colour=False, corruption=True)
    return {
        "Hz_geom": warp_taps().numpy(),
        "Hz_fbank": bands().numpy(),
        "y": Augment()(x, p, given.noise(case)).numpy(),
        "y3": Augment()(x[:, :3], p, given.noise(case)).numpy(),
        "y_corrupt": corruptions(x[:, :3], p, given.noise(case, "draws_corrupt", "KEY_corrupt")).numpy(),
    }


KINDS = {"augment": check_augment}
INPUTS = {"augment": ("x_key",)}
TOLERANCES = {"augment": {"*": {"atol": 1e-4}}}
