"""An audio front end that was designed, not trained: 40 bands of sound, about as an ear hears them.

It has the form of vq-wav2vec's front end, with two convolutions. The first are tones of 25 ms under a Hann
window, each band in two phases, spaced as on the mel scale and louder towards high frequencies, as speech
falls off there. The second are means over 65 ms of what its rectifier lets through. A logarithm follows. The
toy networks listen with it, where published ones have weights trained on a thousand hours.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from avatarctl.checkpoints import Weights
from avatarctl_audio2motion.model.front_end import INNER_RATE, FrontEnd

BANDS, LOWEST_HZ, HIGHEST_HZ = 40, 100.0, 7000.0
TAPS, STEP = 400, 20
"""Samples at 16 kHz of a tone, and from one to the next."""
MEANS, MEANS_STEP = 52, 26
"""Of means. About one vector comes out for each motion frame: the networks count places and do not time them
(spec 4.1), so what sounds and moves together stands at nearly the same place."""
LAYERS = ((2 * BANDS, TAPS, STEP), (BANDS, MEANS, MEANS_STEP))
RECTIFIED, LOUD, FLOOR = 5.0, 10.0, 0.6
"""Gains after the normalisations, so that GELU rectifies and the logarithm compresses; and how many standard
deviations silence lies below the mean."""


def open_front_end() -> FrontEnd:
    """The designed front end: [B, n] at 16 kHz to [B, 40, L], 30.8 a second."""
    low, high = (1127 * math.log1p(hertz / 700) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    hertz = 700 * torch.expm1(torch.linspace(low, high, BANDS, dtype=torch.float64) / 1127)
    time = torch.arange(TAPS, dtype=torch.float64) / INNER_RATE
    phases = torch.tensor([[0.0], [math.pi / 2]], dtype=torch.float64)
    waves = torch.cos(2 * math.pi * hertz[:, None, None] * time + phases)  # [bands, 2, taps]
    window = torch.hann_window(TAPS, dtype=torch.float64)
    gains = (hertz / hertz[0]).sqrt()[:, None, None] * (2 / window.sum())
    share = torch.hann_window(MEANS + 2, periodic=False, dtype=torch.float64)[1:-1]
    bands = torch.eye(BANDS, dtype=torch.float64).repeat_interleave(2, dim=1)  # both phases of a band
    front_end = FrontEnd(LAYERS, log_compression=True)
    front_end.load_state_dict(
        {
            "conv_layers.0.0.weight": (waves * window * gains).flatten(0, 1)[:, None],
            "conv_layers.0.2.weight": torch.full((2 * BANDS,), RECTIFIED),
            "conv_layers.0.2.bias": torch.zeros(2 * BANDS),
            "conv_layers.1.0.weight": bands[..., None] * share / share.sum(),
            "conv_layers.1.2.weight": torch.full((BANDS,), LOUD),
            "conv_layers.1.2.bias": torch.full((BANDS,), FLOOR * LOUD),
        }
    )
    return front_end.requires_grad_(False)


def open_audio() -> Weights:
    """The front end as weights of the part that other trainings take audio networks from."""
    tensors = {f"front_end.{name}": tensor for name, tensor in open_front_end().state_dict().items()}
    sizes = {"audio": [list(layer) for layer in LAYERS], "log_compression": True}
    config = {"networks": {"audio": sizes}}
    return Weights({"audio": tensors}, config, "audio2motion", Path("open-audio.safetensors"))
