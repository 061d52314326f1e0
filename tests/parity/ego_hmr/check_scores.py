"""Alignment and scores of ego-hmr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.scores import published_alignment

Arrays = dict[str, np.ndarray]


def check_procrustes(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Errors after both alignments."""
    pred, truth, visible = (torch.from_numpy(arrays[name]) for name in ("pred", "gt", "visible"))
    return {
        "error": published_alignment(pred, truth).numpy(),
        "error_visible_alignment": published_alignment(pred, truth, visible).numpy(),
    }


KINDS = {"procrustes": check_procrustes}
INPUTS = {"procrustes": ("pred", "gt", "visible")}
