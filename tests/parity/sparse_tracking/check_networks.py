"""Golden cases of the networks, their training steps and the sampler, on weights read from official files."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from avatarctl_sparse_tracking import losses
from avatarctl_sparse_tracking.data import Windows, piece
from avatarctl_sparse_tracking.model import WINDOW, build, load
from avatarctl_sparse_tracking.model.denoiser import time_table
from avatarctl_sparse_tracking.model.stack import sine_table
from avatarctl_sparse_tracking.official import MAPS
from avatarctl_sparse_tracking.plugin import avatarctl_weights
from avatarctl_sparse_tracking.sampling import PROCESS, STEPS, latents_of
from avatarctl_sparse_tracking.settings_train import TrainDecoder, TrainRefiner, TrainVqvae
from avatarctl_sparse_tracking.train import autoencode, diffuse, hide
from avatarctl_sparse_tracking.training import tracked
from golden import recipes
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from avatarctl.body import Bodies
from avatarctl.checkpoints import Weights, load_strict, open_weights
from avatarctl.data import Split, Store, StoreWriter
from avatarctl.data.writer import write_part
from avatarctl.device import Noise
from avatarctl.diffusion import ddim
from avatarctl.engine import make_optimizer

Arrays = dict[str, np.ndarray]
ALONE = SimpleNamespace(rank=0, autocast=torch.enable_grad)
"""The little of a run that a training step looks at."""


def official(folder: Path, manifest: str, seed: int) -> Weights:
    """Generated weights, written in the official layout and read by the product's reader."""
    words = json.loads((folder / "manifests" / manifest).read_text())
    made = recipes(folder)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "best.pth.tar"
        torch.save(made.nest(words, made.fill(folder / "manifests" / manifest, seed)), path)
        return open_weights(path, list(avatarctl_weights()))


def network(weights: Weights, part: str, **sizes: Any) -> Any:
    """A network of the weights that can be trained, without dropout."""
    made = build(part, {**weights.config["networks"][part], **sizes})
    load_strict(made, weights.part(part), part)
    return made


def rest_of(folder: Path) -> Tensor:
    """Rest places of the stand-in body, from its files."""
    with tempfile.TemporaryDirectory() as place:
        recipes(folder).write_body_model(place)
        return Bodies().load("smplh", "male", place).rest_joints[:22]


def drawn(case: dict[str, Any], folder: Path, name: str, count: int) -> Tensor:
    """Normal numbers that a case names in its note instead of storing [count, 10, 384]."""
    seeds = re.findall(r'value\("([\w.]+)",(?:.*?"embedding",(\d+)|\.\.\.)\)', case["note"])
    seed = next(int(number) for key, number in seeds if number)  # "..." stands for the words of the first
    seed = next((int(number) for key, number in seeds if key == name and number), seed)
    return torch.from_numpy(recipes(folder).value(name, (count, 10, 384), "float32", "embedding", seed))


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    """The arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def norms(made: nn.Module, part: str, names: list[str]) -> np.ndarray:
    """Norms of the gradients under official names, in their order."""
    grads = {name: parameter.grad for name, parameter in made.named_parameters()}
    return np.array([float(grads[MAPS[part].ours(name)].norm()) for name in names], np.float32)


class Watch:
    """What modules gave (or took) in each call."""

    def __init__(self, **modules: nn.Module) -> None:
        self.seen: dict[str, list[Tensor]] = {name: [] for name in modules}
        for name, module in modules.items():
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
            self.seen[name].append(taken[0] if name.startswith("before_norm") else given)

        return hook


@torch.no_grad()
def vqvae_eval(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Forward pass with intermediates, and the decoding of a given latent."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    (part,) = weights.parts
    made, given = load(weights, part, torch.device("cpu")), tensors(arrays)
    watch = Watch(
        after_down_conv=made.encoder.input_dropout,
        after_block_0=made.encoder.blocks[0],
        encoder_out=made.encoder,
        before_quantizer=made.to_latent,
        before_norm=made.decoder.norm,
        decoder_out=made.decoder,
    )
    output, quantized = made(given["motion"], given["sparse"])
    found = {name: calls[0] for name, calls in watch.seen.items()}
    found["after_up_conv"] = found.pop("before_norm")
    found |= {
        "embedded": made.embed(given["motion"], given["sparse"]),
        "quantized": quantized.values,
        "indices": quantized.codes,
        "quant_loss": quantized.losses,
        "reconstruction": output,
        "decode_of_given_latent": made.decode(drawn(case, folder, "vq.latent", len(output))),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def vqvae_train(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Optimiser steps without dropout: losses, gradients, usage, moved codes, updated weights."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    (name,) = weights.parts
    part = name.removesuffix("_vqvae")
    settings, given = TrainVqvae(part=part), tensors(arrays)
    made, rest = network(weights, name, dropout=0.0), rest_of(folder)
    optimizer = make_optimizer(made.parameters(), settings.optim)
    codes: list[Tensor] = []
    made.codebook.register_forward_hook(lambda module, taken, quantized: codes.append(quantized.codes))
    found: Arrays = {}
    steps = int(case.get("steps", 2))
    for step in range(steps):
        masked = hide(given["motion"], given["mask_draw"], settings.mask_ratio)
        output, quantised = autoencode(made, masked, given["sparse"], ALONE)
        terms = losses.vqvae_losses(
            output[:, -1],
            given["motion"][:, -1],
            quantised,
            tracked(given["sparse"]),
            part,
            rest,
            settings.losses,
        )
        optimizer.zero_grad()
        terms["total"].backward()
        seen = {
            "indices": codes[step],
            "reconstruction_last": output[:, -1],
            "loss.loss": terms["total"],
            "loss.vq_loss": terms["vq"],
            "loss.recons_loss": terms["recons"],
            "loss.fk_loss": terms["fk"],
            "loss.hand_align_loss": terms.get("hand", torch.zeros(())),
            "embed_prob": made.codebook.usage,
            **{f"codebook{k}_after_forward": made.codebook.books[k].weight for k in (0, 1, 7)},
            **{
                f"grad.quantizer.embeddings.{k}.weight": made.codebook.books[k].weight.grad for k in (0, 1, 7)
            },
            "grad.quant_emb.bias": made.to_latent.bias.grad,
        }
        found |= {f"step{step}.{key}": value.detach().numpy().copy() for key, value in seen.items()}
        found[f"step{step}.grad_norms"] = norms(made, name, case["grad_names"])
        optimizer.step()
    state = made.state_dict()
    for key in arrays:
        start, _, official_name = key.partition(".")
        if start == f"after_{steps}_steps":
            tensor = state[MAPS[name].ours(official_name)]
            found[key] = tensor.reshape(len(tensor), -1)[:16].numpy()
    return {key: value for key, value in found.items() if key in arrays}


def diffusion_train(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Forward and backward pass of a diffusion model with hidden rows."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    (part,) = weights.parts
    made, given = network(weights, part), tensors(arrays)
    count = len(given["sparse"])
    clean = drawn(case, folder, "diff.latents", count)
    upper = drawn(case, folder, "diff.upper", count) if part == "lower" else None
    found = {
        "trackers": given["sparse"],
        "rows": given["masked_rows"],
        "noise": given["noise"],
        "steps": given["timesteps"],
    }
    prediction = diffuse(made, clean, found, upper)
    loss = smooth_l1_loss(prediction, clean)
    loss.backward()
    return {
        "prediction": prediction.detach().numpy(),
        "loss": loss.detach().numpy(),
        "grad_norms": norms(made, part, case["grad_names"]),
    }


@torch.no_grad()
def sampling(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The sampler of both halves with every step's prediction, then the decoder."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    nets = {part: load(weights, part, torch.device("cpu")) for part in ("upper", "lower", "decoder")}
    given = tensors(arrays)
    trackers = given["sparse"]
    upper = nets["upper"].denoiser
    watch = Watch(
        condition=nets["upper"].condition,
        time=upper.time,
        block=upper.blocks[0],
        upper=upper,
        lower=nets["lower"].denoiser,
    )
    noises = [drawn(case, folder, f"sample.{part}", len(trackers)) for part in ("upper", "lower")]
    latents = latents_of(nets["upper"], nets["lower"], trackers, *noises)
    for part, sampled in zip(("upper", "lower"), latents, strict=True):
        # The sampler leaves the call at step 0 out, since it changes nothing; the case has its prediction.
        denoiser = nets[part].denoiser
        context = denoiser.context(nets[part].condition(trackers))
        last = denoiser.modulations(torch.tensor([STEPS[-1]]))
        denoiser(sampled, last, context, latents[0] if part == "lower" else None)
    found = {
        f"{part}_clean_prediction_t{step}": clean
        for part in ("upper", "lower")
        for step, clean in zip(STEPS, watch.seen[part], strict=True)
    }
    found |= {
        "condition": watch.seen["condition"][0],
        "upper_time_embedding_t800": watch.seen["time"][0].expand(len(trackers), -1),
        "upper_after_block_0_t800": watch.seen["block"][0],
        "upper_latents": latents[0],
        "lower_latents": latents[1],
        "decoded": nets["decoder"](*latents, trackers),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def decoder_stage(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """One joint step: losses, and gradients back through both samplers."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    nets = {
        "upper": network(weights, "upper"),
        "lower": network(weights, "lower"),
        "decoder": network(weights, "decoder", dropout=0.0),
    }
    given, settings = tensors(arrays), TrainDecoder()
    noises = [drawn(case, folder, f"sample.{part}", len(given["sparse"])) for part in ("upper", "lower")]
    latents = latents_of(nets["upper"], nets["lower"], given["sparse"], *noises)
    made = nets["decoder"](*latents, given["sparse"])[:, -1]
    terms = losses.decoder_losses(made, given["motion"][:, -1], rest_of(folder), settings.losses)
    terms["total"].backward()
    found = {
        "decoded_last": made,
        "root_loss": terms["root"],
        "other_loss": terms["other"],
        "body_fk_loss": terms["align"],
        "fk_loss": terms["fk"],
        "loss": terms["total"],
    }
    gradients = {
        f"grad_norms_{part}": norms(net, part, case[f"grad_names_{part}"]) for part, net in nets.items()
    }
    return {name: tensor.detach().numpy() for name, tensor in found.items()} | gradients


def refiner(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Forward pass from a zero state, the six losses and the gradients."""
    weights = official(folder, case["weights"]["manifest"], case["weights"]["seed"])
    made, given = network(weights, "refiner"), tensors(arrays)
    change, state = made(given["input"][None])
    terms = losses.refiner_losses(
        given["input"] + change[0],
        given["target"],
        given["tracked_positions"],
        rest_of(folder),
        TrainRefiner().losses,
    )
    terms["loss"] = terms.pop("total")
    terms["loss"].backward()
    found = {
        name: value.detach().numpy() for name, value in {**terms, "delta": change, "hidden": state}.items()
    }
    return found | {"grad_norms": norms(made, "refiner", case["grad_names"])}


def positional_encodings(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The two fixed tables."""
    return {
        "sine_first_24_rows": sine_table(2048, 256)[:24].numpy(),
        "timestep_embedding": time_table(torch.from_numpy(arrays["timesteps"])).numpy(),
    }


def ddim_schedule(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The noise schedule, its five steps one by one, and the forward process."""
    seed = next(int(number) for number in re.findall(r'"embedding",(\d+)\)', case["calls"]))
    made = {
        name: torch.from_numpy(
            recipes(folder).value(f"ddim.{name}", (2, 10, 384), "float32", "embedding", seed)
        )
        for name in ("sample", "x0", "noise")
    }
    found = {f"step_t{step}": one_step(place, made) for place, step in enumerate(STEPS)}
    found |= {
        "betas": PROCESS.betas,
        "alphas_cumprod": PROCESS.alphas_cumprod,
        "timesteps": torch.tensor(STEPS),
        "add_noise": PROCESS.add_noise(made["x0"], made["noise"], torch.from_numpy(arrays["add_noise_t"])),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def one_step(place: int, made: dict[str, Tensor]) -> Tensor:
    """The sample after one of the sampler's steps: where its next call finds it."""
    calls: list[Tensor] = []

    def denoise(noisy: Tensor, index: int) -> Tensor:
        calls.append(noisy)
        return made["x0"]

    last = ddim(PROCESS, STEPS[place:], denoise, made["sample"])
    return calls[1] if len(calls) > 1 else last


def training_windows(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Items of the training data under a seeded generator."""
    split = stored({name: arrays[name] for name in arrays if name.startswith("sequence")})
    length, items = re.search(r"repeat (\d+)", case["calls"]), re.search(r"items 0\.\.(\d+)", case["calls"])
    seeds = [int(word) for word in re.findall(r"seeded (\d+)", case["calls"])]
    longest = re.search(r"full length (\d+)", case["calls"])
    assert length is not None
    assert items is not None
    assert longest is not None
    windows = Windows(split, repeat=int(length[1]))
    noise = Noise.wrap(torch.Generator().manual_seed(seeds[0]))
    found: Arrays = {"length": np.array(len(windows))}
    for item in range(int(items[1]) + 1):
        made = windows.batch(torch.tensor([item]), noise)
        found[f"window{item}.motion"] = made.sixd[0].numpy()
        found[f"window{item}.sparse"] = made.trackers[0].numpy()
    noise = Noise.wrap(torch.Generator().manual_seed(seeds[1]))
    chosen = piece(int(split.lengths[0]), int(longest[1]), noise)
    made = windows.at(np.arange(chosen.start, chosen.stop - WINDOW + 1))
    found["refiner.motion_last"] = made.sixd[:, -1].numpy()
    found["refiner.sparse_first_window"] = made.trackers[0].numpy()
    found["refiner.shape"] = np.array(made.trackers.shape)
    return found


def stored(arrays: Arrays) -> Split:
    """Sequences with the 396 numbers of official files, as a split of a store."""
    trackers = [15, 20, 21]
    with tempfile.TemporaryDirectory() as place:
        with StoreWriter(place, {"sparse": 54, "sixd": 132}, {}) as writer:
            keys = [str(index) for index in range(len(arrays) // 2)]
            for index, key in enumerate(keys):
                rows, joints = arrays[f"sequence{index}.features"], 22
                sizes = np.cumsum([6 * joints, 6 * joints, 3 * joints])
                blocks = [
                    block.reshape(len(rows), joints, -1)[:, trackers]
                    for block in np.split(rows, sizes, axis=1)
                ]
                sparse = np.concatenate(blocks, axis=-1).reshape(len(rows), -1)
                fields = {"sparse": sparse, "sixd": arrays[f"sequence{index}.motion"]}
                write_part(writer.part(key), fields, {"names": key})
            writer.finish({"train": keys}, "golden")
        split = Store(place).split("train")
        for field in split.fields:
            split.field(field)  # mapped before the folder goes
        return split


KINDS = {
    "vqvae_eval": vqvae_eval,
    "vqvae_train": vqvae_train,
    "first_train": diffusion_train,
    "second_train": diffusion_train,
    "decoder_stage": decoder_stage,
    "refiner": refiner,
    "sampling": sampling,
    "positional_encodings": positional_encodings,
    "ddim_schedule": ddim_schedule,
    "training_windows": training_windows,
}
INPUTS = {
    "vqvae_eval": ("motion", "sparse"),
    "vqvae_train": ("motion", "sparse", "mask_draw"),
    "first_train": ("sparse", "masked_rows", "noise", "timesteps"),
    "second_train": ("sparse", "masked_rows", "noise", "timesteps"),
    "decoder_stage": ("motion", "sparse"),
    "refiner": ("input", "target", "tracked_positions"),
    "sampling": ("sparse",),
    "positional_encodings": ("timesteps",),
    "ddim_schedule": ("add_noise_t",),
    "training_windows": ("sequence*",),
}
