"""A small untrained generator: its people are bodies with a coat of noise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from avatarctl_generative_avatar.model.generator import build
from avatarctl_generative_avatar.model.sizes import GENERATOR, GeneratorSizes

from avatarctl.checkpoints import Weights
from avatarctl.device import Noise

SIZES = GeneratorSizes(
    img_resolution=32,
    plane_resolution=16,
    z_dim=8,
    w_dim=8,
    channel_base=128,
    channel_max=8,
    sr_channels=8,
)


def weights(**config: object) -> Weights:
    """As a training with the open body writes them."""
    state = build(SIZES, Noise.seeded(0, "small")).state_dict()
    for name in state:
        if name.endswith("noise_strength"):
            state[name].fill_(0.5)
    state["decoder.net.2.weight"][0] *= 0.02  # the surface stays at the template's
    words = {"networks": {GENERATOR: asdict(SIZES)}, "body": "open", **config}
    return Weights({GENERATOR: state}, words, "small", Path("small.safetensors"))
