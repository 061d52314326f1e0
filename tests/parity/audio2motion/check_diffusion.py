"""Golden cases of the noise schedule, the loss terms, the sampling loop and a training step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio2motion.inputs import official, value_of
from avatarctl_audio2motion.losses import diffusion_losses, variational_bound
from avatarctl_audio2motion.model import Denoiser, load
from avatarctl_audio2motion.official import MAPS
from avatarctl_audio2motion.sampling import STEPS, guided, process_of, sample
from avatarctl_audio2motion.settings_train import TrainBody, TrainFace
from avatarctl_audio2motion.train import denoise, losses_of, trainable
from torch import Tensor

from avatarctl.diffusion import Process, kept_steps, strided_counts
from avatarctl.engine import make_optimizer
from avatarctl.errors import UsageError

Arrays = dict[str, np.ndarray]
WIDTHS = {"pose": 104, "face": 256}


def schedule(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Tables of the whole schedule and of its respacings."""
    process = process_of("cosine")
    if impossible := re.search(r"ddim\d+", next((key for key in case if key.startswith("error_for_")), "")):
        assert is_refused(impossible[0]), f"{impossible[0]} is taken"
    found: Arrays = {"valid_ddim_counts": np.array(strided_counts(len(process)))}
    for name in {key.removeprefix("map_") for key in arrays if key.startswith("map_")}:
        words = "" if name == "full" else name.replace("_", ",")
        kept = kept_steps(words, len(process))
        tables = tables_of(process.respaced(kept))
        found |= {f"{table}_{name}": array for table, array in tables.items() if f"{table}_{name}" in arrays}
        found[f"map_{name}"] = np.array(kept)
    return found


def is_refused(words: str) -> bool:
    """Whether a number of steps is no possible one."""
    try:
        kept_steps(words, len(process_of("cosine")))
    except UsageError:
        return True
    return False


def tables_of(process: Process) -> Arrays:
    """The published tables, by their names in the case."""
    posterior, kept = process.posterior(), process.alphas_cumprod
    tables = {
        "betas": process.betas,
        "abar": kept,
        "posterior_variance": posterior.variance,
        "posterior_log_variance_clipped": posterior.log_variance,
        "posterior_mean_coef1": posterior.clean,
        "posterior_mean_coef2": posterior.noisy,
        "sqrt_recip_alphas_cumprod": kept.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
    }
    return {name: table.numpy() for name, table in tables.items()}


def losses(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The loss terms of a given prediction."""
    inputs, process = case["inputs"], process_of("cosine")
    steps = torch.tensor(inputs["t"])
    found: Arrays = {}
    for kind, width in WIDTHS.items():
        clean, noise, made = (drawn(inputs, kind, width, name) for name in ("x0", "noise", "pred"))
        inside = torch.arange(clean.shape[1]) < torch.tensor(inputs["lengths"])[:, None]
        known = known_frames(inputs["missing(face)"], inside) if kind == "face" else torch.ones_like(inside)
        noisy = process.add_noise(clean, noise, steps)
        terms = diffusion_losses(made, clean, inside, known, inputs["lambda_vel"][kind])
        tensors = {
            "rot_mse": terms["rotation"],
            "loss": terms["total"],
            "vb": variational_bound(process, made, clean, noisy, steps),
            "x_t": noisy.mT[:, ::8, None],
        }
        tensors |= {"vel_mse": terms["velocity"]} if "velocity" in terms else {}
        found |= {f"{kind}_{name}": tensor.numpy() for name, tensor in tensors.items()}
    return found


def drawn(inputs: dict[str, Any], kind: str, width: int, name: str) -> Tensor:
    """An input [B, T, C] that the case describes by the words of its first one."""
    described = re.search(r'"([^"]+)/FMT/x0",\[(\d+),C,1,(\d+)\]', inputs["x0"])
    assert described is not None
    start, batch, frames = described[1], int(described[2]), int(described[3])
    shape = (batch, frames, width) if name == "pred" else (batch, width, 1, frames)
    entry = {"weights.value": [f"{start}/{kind}/{name}", shape, "float32", inputs["kind"], inputs["seed"]]}
    made = torch.from_numpy(value_of(entry))
    return made if name == "pred" else made[:, :, 0].mT


def known_frames(words: str, inside: Tensor) -> Tensor:
    """Frames whose truth is known [B, T], from words such as "ones [3,60,256] with [0,10:20]=0"."""
    known = torch.ones_like(inside)
    for row, frames in re.findall(r"\[(\d+),([\d:]+)\]=0", words):
        known[int(row), slice(*(int(word) if word else None for word in frames.split(":")))] = False
    return known


def network(case: dict[str, Any], folder: Path) -> tuple[str, Denoiser]:
    """The part and the network of a case's manifest."""
    weights = official(case["manifest"], folder, case["weights_seed"])
    (part,) = weights.parts
    made: Denoiser = load(weights, part, torch.device("cpu"))
    assert made.front_end.log_compression == case["inputs"]["log_compression"]
    return part, made


def motion(entry: dict[str, Any] | str) -> Tensor:
    """An input [B, C, 1, T] as [B, T, C]; its recipe may stand inside a sentence."""
    if isinstance(entry, str):
        entry = json.loads(entry[entry.index("{") :])
    assert isinstance(entry, dict)
    return torch.from_numpy(value_of(entry))[:, :, 0].mT


def told(inputs: dict[str, Any]) -> dict[str, Tensor]:
    """The voices, the key poses (for the face: none), and the lengths of a case."""
    audio = torch.from_numpy(value_of(inputs["audio"]))
    keys = torch.from_numpy(value_of(inputs["keyframes"])) if "keyframes" in inputs else audio.new_zeros(0)
    return {"audio": audio, "keys": keys, "lengths": torch.tensor(inputs["mask"]["lengths"])}


@torch.no_grad()
def loop(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Guided sampling: each step's prediction, and the sample that it leads to."""
    _, made = network(case, folder)
    inputs, given = case["inputs"], told(case["inputs"])
    words = re.search(r"ddim\d+", case["call"])
    assert words is not None
    kept = kept_steps(words[0], STEPS)
    condition = made.condition(given["audio"], given["keys"], lengths=given["lengths"])
    predict, seen = guided(made, condition, inputs["guidance"], kept), list[tuple[Tensor, Tensor]]()

    def watched(noisy: Tensor, place: int) -> Tensor:
        seen.append((noisy, predict(noisy, place)))
        return seen[-1][1]

    last = sample(watched, motion(inputs["initial_noise"]), kept)
    after = [noisy for noisy, _ in seen[1:]] + [last]
    clean = [prediction for _, prediction in seen]
    rows = {"pred_xstart": clean, "sample": after}
    return {name: torch.stack(steps)[:, 0].mT.numpy() for name, steps in rows.items()}


def train_step(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Losses, gradients and weights of one step without dropout."""
    part, made = network(case, folder)
    trainable(made)
    inputs, settings = case["inputs"], TrainFace() if part == "face" else TrainBody()
    clean, noise, steps = motion(inputs["x"]), motion(inputs["noise"]), torch.tensor(inputs["t"])
    given, keep = told(inputs), inputs["keep_masks"]
    inside = torch.arange(clean.shape[1]) < given["lengths"][:, None]
    seen = inside.float()
    if part == "face":
        row, first, last = map(int, re.findall(r"\d+", inputs["missing"]))
        seen[row, first : last + 1] = 0
    found = {**given, "motion": clean, "steps": steps, "inside": inside, "seen": seen}
    found["keep_audio"] = torch.tensor(keep["audio"])
    found["keep_keys"] = torch.tensor(keep.get("keyframes", keep["audio"]))
    prediction = denoise(made, process_of("cosine").add_noise(clean, noise, steps), found)
    terms = losses_of(prediction, found, settings.velocity)
    terms["total"].mean().backward()
    names = arrays["grad_names"]
    grads = norms(made, part, names, of_gradient=True)
    make_optimizer(made.parameters(), settings.optim).step()
    tensors = {
        "loss": terms["total"],
        "loss_mean": terms["total"].mean(),
        "rot_mse": terms["rotation"],
        "grad_norms": grads,
        "param_norms_after": norms(made, part, names),
    }
    tensors |= {"vel_mse": terms["velocity"]} if "velocity" in terms else {}
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()} | {"grad_names": names}


def norms(made: Denoiser, part: str, names: np.ndarray, *, of_gradient: bool = False) -> Tensor:
    """Lengths of trained parameters or their gradients, by official names; -1 where there is no gradient."""
    own = {MAPS[part].theirs(name): one for name, one in made.named_parameters() if one.requires_grad}
    assert own.keys() == set(names.tolist()), own.keys() ^ set(names.tolist())
    found = [own[name].grad if of_gradient else own[name] for name in names.tolist()]
    return torch.tensor([-1.0 if one is None else float(one.detach().norm()) for one in found])


KINDS = {
    "diffusion_schedule": schedule,
    "diffusion_losses": losses,
    "ddim_loop_face": loop,
    "ddim_loop_pose": loop,
    "train_step_face": train_step,
    "train_step_pose": train_step,
}
