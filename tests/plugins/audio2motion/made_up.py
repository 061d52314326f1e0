"""Made-up conversations of nobody, as a prepared store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from avatarctl_audio2motion.conversations.dataset import FIELDS, SYSTEM
from avatarctl_audio2motion.conversations.stats import Statistics

from avatarctl.data import StoreWriter
from avatarctl.data.writer import write_part

SCENES = {"train": (260, 200, 170), "val": (150,), "test": (130,)}
"""Frames of the scenes of each split."""


def made_up_statistics(seed: int = 0) -> Statistics:
    """Statistics of nobody."""
    draw = torch.Generator().manual_seed(seed)
    means = {name: torch.randn(n, generator=draw).double() for name, n in (("pose", 104), ("code", 256))}
    return Statistics(
        pose_mean=means["pose"],
        pose_std=torch.linspace(0.5, 2, 104).double(),
        code_mean=means["code"],
        code_std=torch.linspace(0.5, 2, 256).double(),
        audio_mean=torch.tensor([1e-3, -1e-3]),
        audio_std=0.1,
    )


def made_up_scene(frames: int, seed: int) -> dict[str, np.ndarray]:
    """Smooth motion and two noisy voices; every seventh frame's face is not seen."""
    random, statistics = np.random.default_rng(seed), made_up_statistics()
    time = np.arange(frames)[:, None] / 30

    def waves(mean: torch.Tensor, std: torch.Tensor) -> np.ndarray:
        phase, rate = random.uniform(0, 6.28, len(mean)), random.uniform(0.3, 2, len(mean))
        return (mean.numpy() + std.numpy() * np.sin(rate * time + phase)).astype(np.float32)

    seen = np.ones((frames, 1), np.float32)
    seen[3::7] = 0
    return {
        "audio": (0.1 * random.standard_normal((frames, FIELDS["audio"]))).astype(np.float32),
        "pose": waves(statistics.pose_mean, statistics.pose_std),
        "face": waves(statistics.code_mean, statistics.code_std),
        "seen": seen,
    }


def write_store(folder: Path) -> Path:
    """A prepared store of five short scenes."""
    attributes = {"system": SYSTEM, "person": "nobody", "statistics": made_up_statistics().to_plain()}
    splits: dict[str, list[str]] = {split: [] for split in SCENES}
    with StoreWriter(folder, FIELDS, attributes) as writer:
        for split, lengths in SCENES.items():
            for frames in lengths:
                key = f"scene{sum(map(len, splits.values())) + 1:02d}"
                splits[split].append(key)
                write_part(writer.part(key), made_up_scene(frames, frames), {"names": key})
        writer.finish(splits, "made up")
    return folder
