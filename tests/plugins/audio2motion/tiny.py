"""Tiny networks with random weights in real checkpoint files, and sound for them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from avatarctl_audio2motion.conversations.stats import CODE, POSE, Statistics
from avatarctl_audio2motion.model import BODY, FACE, build
from avatarctl_audio2motion.model.codec import CodecSizes
from avatarctl_audio2motion.model.guide import GuideSizes
from avatarctl_audio2motion.model.lip import LipSizes
from torch import Tensor

from avatarctl.audio.wave import RATE, Sound
from avatarctl.checkpoints import Weights

AUDIO = ((8, 10, 5), (8, 8, 4), (8, 4, 2), (8, 4, 2), (8, 4, 2))
LIP = LipSizes(
    layers=AUDIO, kernels=(2, 3), heads=2, feedforward=16, encoder_layers=1, decoder_layers=1, vertices=6
)
SMALL: dict[str, Any] = {"width": 16, "feedforward": 32, "layers": 2, "heads": 2, "audio": AUDIO}


def sizes(window: int = 120) -> dict[str, Any]:
    """Sizes of the four networks, which take windows of so many frames."""
    tokens = 10 * window // 3 - 2
    return {
        "face": replace(FACE, **SMALL, condition_layers=1, lip=LIP, tokens=tokens),
        "body": replace(BODY, **SMALL, key_frames=window // 30, tokens=tokens),
        "guide": GuideSizes(
            width=16,
            feedforward=32,
            layers=2,
            heads=2,
            codes=16,
            depth=2,
            audio_layers=1,
            tokens=tokens,
            audio=AUDIO,
        ),
        "codec": CodecSizes(width=8, codes=16, depth=2),
    }


def statistics() -> Statistics:
    """Statistics that leave the networks' numbers small."""
    return Statistics(
        pose_mean=torch.zeros(POSE, dtype=torch.float64),
        pose_std=torch.full((POSE,), 0.1, dtype=torch.float64),
        code_mean=torch.zeros(CODE, dtype=torch.float64),
        code_std=torch.ones(CODE, dtype=torch.float64),
        audio_mean=torch.zeros(2),
        audio_std=0.1,
    )


def write_weights(
    path: Path, person: str = "open", window: int = 120, parts: str = "face body guide codec"
) -> Path:
    """A native checkpoint of tiny networks."""
    wanted = {part: sizes(window)[part] for part in parts.split()}
    tensors: dict[str, dict[str, Tensor]] = {"stats": statistics().to_tensors()}
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for part, one in wanted.items():
            tensors[part] = build(part, asdict(one)).state_dict()
        if "codec" in tensors:  # untrained books are empty
            for name, tensor in tensors["codec"].items():
                if name.endswith(".codes"):
                    tensor.normal_()
    config = {"networks": {part: asdict(one) for part, one in wanted.items()}, "person": person}
    return Weights(tensors, config, "tiny", path).write(path)


def voices(seconds: float, seed: int = 0) -> Tensor:
    """Two voices of noise that comes and goes [S, 2] at 48 kHz."""
    frames = round(30 * seconds)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames * 1600, 2, generator=generator)
    loud = torch.rand(frames, 2, generator=generator).repeat_interleave(1600, 0)
    return 0.1 * noise * loud


def write_sound(path: Path, seconds: float, channels: int = 1) -> Path:
    """A sound file of such voices."""
    Sound(voices(seconds)[:, :channels], RATE).write(path)
    return path
