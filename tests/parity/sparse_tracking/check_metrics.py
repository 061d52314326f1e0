"""Golden cases of kind `metrics`: given places and rotations, through the function that evaluations call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_sparse_tracking.scores import Posture, raw_scores, reported


def check(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The case's `metric.*` (raw) and `reported.*` (in printed units) numbers."""
    given = {name: torch.from_numpy(arrays[name]) for name in arrays}
    predicted, truth = (
        Posture(given[f"{who}_position"], given[f"{who}_angle"].unflatten(-1, (-1, 3)))
        for who in ("pred", "gt")
    )
    raw = raw_scores(predicted, truth, fps=float(case.get("fps", 60.0)))
    found = {"metric": raw, "reported": reported(raw)}
    wanted = [name.partition(".") for name in case["arrays"] if name.startswith(("metric.", "reported."))]
    return {f"{group}.{name}": np.float32(found[group][name]) for group, _, name in wanted}


KINDS = {"metrics": check}
INPUTS = {"metrics": ("*_position", "*_angle")}
