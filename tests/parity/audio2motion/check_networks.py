"""Golden cases of resampler, audio networks and denoisers, on weights read from official files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio2motion.inputs import official, stats_row, value_of
from avatarctl_audio2motion.model import load, used
from avatarctl_audio2motion.model.denoiser import Denoiser
from avatarctl_audio2motion.model.front_end import FrontEnd, conversation_features
from avatarctl_audio2motion.model.lip import LipRegressor
from torch import Tensor, nn

from avatarctl.audio.resample import resample, resample_kernel
from avatarctl.checkpoints import load_strict

Arrays = dict[str, np.ndarray]


def tensors(case: dict[str, Any]) -> dict[str, Tensor]:
    """The inputs of a case that have a recipe."""
    return {
        name: torch.from_numpy(value_of(entry))
        for name, entry in case["inputs"].items()
        if isinstance(entry, dict) and "weights.value" in entry
    }


def audio_resample(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Both resamplers."""
    given = tensors(case)
    found = {
        "out_48k_16k": resample(given["audio_48k"], 48000, 16000),
        "kernel": resample_kernel(48000, 16000),
        "out_44100_48000": resample(given["audio_44k1"], 44100, 48000, filter="float32"),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


@torch.no_grad()
def audio_features(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The front end of vq-wav2vec, with each of its layers."""
    weights = official(case["manifest"], folder, case["weights_seed"])
    made = [FrontEnd(log_compression=is_logarithm).eval() for is_logarithm in (False, True)]
    for front_end in made:
        load_strict(front_end, used(weights.part("audio"), "front_end."), "audio")
    layers: list[np.ndarray] = []
    for layer in made[0].conv_layers:
        layer.register_forward_hook(lambda module, taken, given: layers.append(stats_row(given)))
    plain, logarithm = (front_end(tensors(case)["audio16k"]) for front_end in made)
    return {
        "features_log0": plain[:, ::4].numpy(),
        "features_log1": logarithm[:, ::4].numpy(),
        "layer_stats": np.stack(layers),
    }


@torch.no_grad()
def lip_regressor(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Vertices of a chunk, and the vectors of its sound."""
    weights = official(case["manifest"], folder, case["weights_seed"])
    made = LipRegressor().eval()
    load_strict(made, used(weights.part("lip")), "lip")
    voice = tensors(case)["audio"].flatten(1)
    heard = made.heard(voice)
    return {
        "audio_encoding": heard[:, ::4, ::4].numpy(),
        "audio_encoding_stats": stats_row(heard),
        "verts": made(voice).numpy(),
    }


class Watch:
    """What modules gave, in the order of calls."""

    def __init__(self, **modules: nn.Module) -> None:
        self.seen: dict[str, list[Tensor]] = {name: [] for name in modules}
        for name, module in modules.items():
            module.register_forward_hook(lambda m, taken, given, name=name: self.seen[name].append(given))

    def taken(self, name: str) -> Tensor:
        """What a module gave last."""
        return self.seen[name].pop()


def network(case: dict[str, Any], folder: Path) -> Denoiser:
    """The denoiser of a case's manifest."""
    weights = official(case["manifest"], folder, case["weights_seed"])
    (part,) = weights.config["networks"]
    made: Denoiser = load(weights, part, torch.device("cpu"))
    return made


@torch.no_grad()
def denoise(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """One forward pass with all that a network is told, and one with nothing."""
    made, given, inputs = network(case, folder), tensors(case), case["inputs"]
    assert made.front_end.log_compression == inputs["log_compression"]
    lengths = torch.tensor(inputs["mask"]["lengths"])
    watch = Watch(
        condition_in=made.condition_in,
        time=made.time_vector,
        keys=getattr(made, "keys_norm", nn.Identity()),
        out=made.frames_out,
        **{f"layer{index}": layer for index, layer in enumerate(made.layers)},
    )
    condition_in: list[Tensor] = []
    made.condition_in.register_forward_pre_hook(lambda module, taken: condition_in.append(taken[0]))
    features = conversation_features(made.front_end, given["audio"])
    condition = made.condition(given["audio"], given.get("keyframes"), lengths=lengths)
    steps, noisy = torch.tensor(inputs["timesteps"]), given["x"][:, :, 0].mT
    found: dict[str, Any] = {
        "audio_emb": features[:, ::16, ::4],
        "audio_emb_stats": stats_row(features),
    }
    if made.lip is not None:
        found |= {"lip_cond": condition_in[0][:, ::8, features.shape[2] :: 6]}
        found |= {"cond_stats": stats_row(condition_in[0])}
    keys = watch.taken("keys") if "keyframes" in given else None
    for word, told in (("cond", condition), ("uncond", made.null(condition))):
        found[f"out_{word}"] = made(noisy, steps, told)
        found[f"cond_tokens_{word}"] = memory_of(made, steps, told)[:, ::16, ::4]
        found[f"cond_hidden_{word}"] = made.pool(told.tokens.mean(1)).expand(len(noisy), -1)
        layers = [stats_row(watch.taken(f"layer{index}")) for index in range(len(made.layers))]
        found[f"decoder_layer_stats_{word}"] = np.stack(layers)
        found[f"final_layer_stats_{word}"] = stats_row(watch.taken("out"))
        if keys is not None:
            found[f"keyframe_tokens_{word}"] = keys
    found["time_cond_cond"] = watch.taken("time")
    return {name: np.asarray(value) for name, value in found.items()}


def memory_of(made: Denoiser, steps: Tensor, told: Any) -> Tensor:
    """What the layers' cross-attention looks at [B, L + 2, C], as the network norms it."""
    step = made.time_tokens(made.time(steps)).unflatten(-1, (2, -1))
    tokens = told.tokens.expand(len(steps), -1, -1)
    return made.condition_norm(torch.cat([tokens, step], 1))


KINDS = {
    "audio_resample": audio_resample,
    "audio_features": audio_features,
    "lip_regressor": lip_regressor,
    "face_forward": denoise,
    "pose_forward": denoise,
}
