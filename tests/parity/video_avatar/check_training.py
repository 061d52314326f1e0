"""Training: losses on stored renderings, image metrics, one step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar.items import Items
from avatarctl_video_avatar.losses import Criterion, crossings, unpacked
from avatarctl_video_avatar.model.avatar import OTHERS, load
from avatarctl_video_avatar.patches import PatchSettings
from avatarctl_video_avatar.sample import Patches
from avatarctl_video_avatar.settings_model import Rendering
from avatarctl_video_avatar.settings_train import Losses, Rates
from avatarctl_video_avatar.train import learn, optimizer_of, schedule_of
from avatarctl_video_avatar.training import Drawn
from torch import Tensor
from video_avatar import inputs, sequence
from video_avatar.check_items import LegacyNoise

from avatarctl.metrics.image import Lpips, lpips_of, psnr, ssim

PUBLISHED = {
    "color": "rgb", "pips": "perceptual", "mse": "mse", "nssim": "nssim", "skinning_weights": "skinning",
    "eikonal": "eikonal", "mask": "mask",
}  # fmt: skip
"""Our names of the published terms; "params" and "pose_refine" have nothing to compare and are always 0."""
ABSENT = ("params", "pose_refine")


def perceptual(folder: Path) -> Lpips:
    """The network of the cases, from an official checkpoint."""
    return lpips_of(inputs.official("hfavatar_zju377_res128", folder))


def weights_of(words: dict[str, Any], **more: Any) -> Losses:
    """The settings of a case's words: NAME_weight."""
    given = {name.removesuffix("_weight"): value for name, value in words.items()}
    assert not any(given.pop(name) for name in ABSENT)
    return Losses(**(given | more))


def named(terms: dict[str, Tensor], prefix: str = "loss") -> dict[str, np.ndarray]:
    """Terms under the published names, 0 where there is none."""
    detached = {name: term.detach() for name, term in terms.items()}
    found = {theirs: float(detached.get(ours, 0.0)) for theirs, ours in PUBLISHED.items()}
    found |= dict.fromkeys(ABSENT, 0.0)
    arrays = {f"{prefix}_{name}": np.array(value) for name, value in found.items()}
    return arrays | {prefix: np.array(float(detached["total"]))}


def losses(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Every term on made-up renderings, by kind of colour loss and step."""
    given = {name: torch.from_numpy(arrays[name]) for name in arrays if name in INPUT_NAMES}
    patches = Patches(given["target_patches"], given["patch_masks"], given["patch_div_indices"])
    rays = SimpleNamespace(hits=given["hit_mask"], alpha=given["occ"], colours=given["gt_rgb"])
    sample: Any = SimpleNamespace(rays=rays, patches=patches, background=torch.zeros(3))
    made: Any = SimpleNamespace(**given)
    network, config = perceptual(folder), case["config"]
    fixed = {name: config[name] for name in ("weight_decay_end", "kick_out_iter")}

    def terms(step: int, **more: Any) -> dict[str, Tensor]:
        settings = weights_of(config["weights"], **fixed, **more)
        return Criterion(settings, network).terms(made, sample, step)

    found: dict[str, np.ndarray] = {}
    for name in {name.partition("_loss")[0] for name in arrays if "_step" in name}:
        kind, _, step = name.rpartition("_step")
        found |= named(terms(int(step), rgb_type=kind), f"{name}_loss")
    found |= named(terms(0, perceptual=0.0, nssim=0.0), "noperceptual_loss")
    found = {name: value.reshape(1).astype(np.float32) for name, value in found.items()}
    signs = crossings(given["sdf"])
    # The first change of sign; where there is none, the published choice of the least is the last place.
    first = torch.where(signs.any(-1), signs.float().argmax(-1), signs.shape[-1] - 1)
    return found | {
        "unpacked_patches": unpacked(given["color"], rays.hits, patches, sample.background).numpy(),
        "crossing_mask": signs.any(-1)[None].numpy(),
        "crossing_index": first[None].numpy(),
    }


def metrics(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """PSNR, SSIM and LPIPS of two pairs of pictures."""
    a, b = torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"])
    network = perceptual(folder)
    found = {
        "ssim": ssim(a, b).mean(),
        "ssim_each": ssim(a, b),
        "ssim_nopad": ssim(a, b, padding=False).mean(),
        "psnr": psnr(a, b),
        "psnr_zero": psnr(a, a),
        "lpips_raw01": network(a, b).view(-1, 1, 1, 1),
        "lpips_scaled": network(2 * a - 1, 2 * b - 1).view(-1, 1, 1, 1),
    }
    return {name: value.numpy() for name, value in found.items()}


def train_step(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Terms, gradients and new values of one step on the sample of case dataset_train."""
    config, weights = case["config"], inputs.official(inputs.manifest_of(case["weights"]), folder)
    avatar = load(weights, torch.device("cpu"), frozen=False)
    rates = Rates(**config["lr"], decade=1000 * config["warm_up_end"])
    optimizer = optimizer_of(avatar, rates)
    schedule_of(optimizer, rates, config["global_step"])
    fixed = {name: config[name] for name in ("weight_decay_end", "kick_out_iter")}
    criterion = Criterion(weights_of(config["loss weights"], **fixed), lpips_of(weights))
    schedule = {name: config[name] for name in ("n_samples", "kick_in_iter", "anneal_end")}
    items = Items(
        sequence.prepared(folder),
        ["0", "1", "2"],
        slice(0, -1),
        Rendering(**schedule),
        inputs.body(folder),
        patches=PatchSettings(config["N_patches"], config["patch_size"]),
    )
    drawn = Drawn(items.training(1, LegacyNoise(5)), torch.from_numpy(arrays["t_rand"])[:, 0])
    terms = learn(avatar, items.subject, [drawn], criterion, items.rendering, config["global_step"])
    terms["total"].backward()
    values = {name: one for name, one in avatar.named_parameters() if one.requires_grad}
    grads = {name: one.grad for name, one in values.items() if one.grad is not None}
    found = {name: value.astype(np.float64) for name, value in named(terms, "log_loss").items()}
    found["grad_names"] = in_order(grads, arrays["grad_names"])
    found["no_grad_names"] = in_order(values.keys() - grads.keys(), arrays["no_grad_names"])
    found["grad_norms"] = np.array([float(grads[name].double().norm()) for name in found["grad_names"]])
    rate_of = {group["name"]: group["lr"] for group in optimizer.param_groups}
    found["lr_names"] = in_order({name.split(".")[0] for name in avatar.state_dict()}, arrays["lr_names"])
    found["lr_values"] = np.array([rate_of.get(name, rate_of[OTHERS]) for name in found["lr_names"]])
    names = [name.partition(":")[2] for name in arrays if name.startswith("grad:")]
    found |= {f"grad:{name}": first(grads[name]) for name in names}
    optimizer.step()
    for name in names:  # entries whose gradient is next to nothing do not count, as the case says
        counts = np.abs(found[f"grad:{name}"]) >= 1e-8
        found[f"after:{name}"] = np.where(counts, first(values[name]), arrays[f"after:{name}"])
    return found


def in_order(names: Iterable[str], like: np.ndarray) -> np.ndarray:
    """Names, those of `like` in its order and any others behind."""
    order = {name: place for place, name in enumerate(like.tolist())}
    return np.array(sorted(names, key=lambda name: order.get(name, len(order))))


def first(tensor: Tensor) -> np.ndarray:
    """The first 32 numbers of a tensor."""
    return tensor.detach().flatten()[:32].numpy()


INPUT_NAMES = (
    "color", "target_patches", "patch_masks", "patch_div_indices", "hit_mask", "z_vals", "sdf", "occ",
    "gt_rgb", "pts_W_pred", "pts_W_sampled", "gradient_error",
)  # fmt: skip
KINDS = {"losses": losses, "metrics": metrics, "train_step": train_step}
INPUTS = {"losses": INPUT_NAMES, "metrics": ("a", "b"), "train_step": ("t_rand",)}
TOLERANCES = {
    "train_step": {
        "log_*": {"rtol": 1e-4},
        "grad_norms": {"rtol": 1e-3},
        "grad:*": {"rtol": 1e-3, "atol": 1e-6},
        "after:*": {"rtol": 1e-5, "atol": 1e-6},
        "lr_values": {"rtol": 1e-12},
        "*_names": {},
    }
}
