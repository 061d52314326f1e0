"""A tiny network of every part, and a small prepared store of embedded clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from avatarctl_sparse_tracking import prepare
from avatarctl_sparse_tracking.model import build
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.checkpoints import Weights
from avatarctl.motion.clips import clips
from avatarctl.runs import Run

SIZES = {
    "upper": {"depth": 1, "width": 32, "heads": 2, "latent": 48},
    "lower": {"depth": 1, "width": 32, "heads": 2, "latent": 48},
    "decoder": {"layers": 1, "width": 32, "heads": 2, "latent": 48},
    "refiner": {"layers": 1, "width": 16},
}
CLIPS = ("walk_2", "jump_4", "dab")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """A native file with all parts that inference needs, untrained."""
    torch.manual_seed(0)
    parts = {part: build(part, sizes).state_dict() for part, sizes in SIZES.items()}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return Weights(parts, {"networks": SIZES, "frame": "heading"}, "sparse-tracking", path).write(path)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory) -> Path:
    """Three embedded clips, of which walk_2 is for testing."""
    folder = tmp_path_factory.mktemp("raw")
    for name in CLIPS:
        shutil.copy(clips()[name].path, folder)
    (folder / "held_out.txt").write_text("walk_2\n")
    store = folder / "store"
    settings = PrepareAmass(raw=folder, store=store, held_out=folder / "held_out.txt", workers=1)
    prepare.run_amass(settings, Run.standalone(folder / "run"))
    return store
