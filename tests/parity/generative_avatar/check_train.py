"""Training: one step through all phases, with gradients, updates and the averaged generator."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.losses import Drawn, Pair, Real, moment_of
from avatarctl_generative_avatar.model import discriminator as discriminators
from avatarctl_generative_avatar.model.generator import Generator
from avatarctl_generative_avatar.model.sizes import DISCRIMINATOR, LIMITS, DiscriminatorSizes
from avatarctl_generative_avatar.settings_model import Rendering
from avatarctl_generative_avatar.settings_train import Losses, Rates, Train
from avatarctl_generative_avatar.training import (
    adam,
    ema_decay,
    follow,
    learning,
    phases_of,
    stepped,
    trained,
)
from generative_avatar import inputs
from torch import Tensor, nn

from avatarctl.checkpoints.load import load_strict
from avatarctl.checkpoints.sizes import sizes_in

PHASES = {"Gmain": "generator", "Greg": "density", "Dmain": "discriminator", "Dreg": "r1"}
"""Our names of the published phases."""
TERMS = {"Loss/G/loss": "generator", "Loss/G/eikonal": "eikonal", "Loss/D/loss": "discriminator",
         "Loss/r1_penalty": "r1"}  # fmt: skip


def train(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Every phase's terms, gradients and updates; then the averaged generator."""
    settings = settings_of(case)
    pair, averaged = pair_of(case, settings, folder)
    real, batch = real_of(arrays, pair.generator.sizes.img_resolution), len(arrays["real_c"])
    fade = case["loss_kwargs"]["blur_fade_kimg"] * 32 / batch
    losses = settings.losses.model_copy(update={"blur_fade_kimg": fade})
    is_told = not settings.rendering.c_gen_conditioning_zero
    images = int(inputs.told(case, r"cur_nimg=(\d+)", 1000)[0])
    moment = moment_of(losses, images, batch, is_told=is_told)
    networks: dict[bool, tuple[nn.Module, list[nn.Parameter], torch.optim.Optimizer]] = {}
    for of_generator, network in ((True, pair.generator), (False, pair.discriminator)):
        params = list(network.parameters()) if of_generator else trained(pair.discriminator, 0)
        rate = settings.optim.lr if of_generator else settings.optim.lr_discriminator
        every = settings.losses.density_reg_every if of_generator else settings.losses.r1_every
        networks[of_generator] = network, params, adam(params, rate, settings.optim, every)
    found: dict[str, np.ndarray] = {}
    for place, (theirs, phase) in enumerate(zip(PHASES, phases_of(settings), strict=True)):
        assert PHASES[theirs] == phase.name
        rows = slice(place * batch, (place + 1) * batch)
        drawn = Drawn(torch.from_numpy(arrays["gen_z"][rows]), torch.from_numpy(arrays["gen_c"][rows]))
        draws = {"draws": case["draws"][theirs], "KEY": case["S"] * 100000 + place * 1000}
        trainee, params, optimizer = networks[phase.of_generator]
        learning(networks[True][1], phase.of_generator)
        learning(networks[False][1], not phase.of_generator)
        noise = inputs.noise(draws)
        terms = phase.gradients(pair, drawn, real, moment, noise, 1.0)
        assert noise.position == len(noise.stored), f"{theirs}: draws are left"
        grads = {name: p.grad.clone() for name, p in trainee.named_parameters() if p.grad is not None}
        before = {name: p.detach().clone() for name, p in trainee.named_parameters()}
        stepped(params, optimizer)
        after = dict(trainee.named_parameters())
        updates = {name: float((after[name].detach() - value).norm()) for name, value in before.items()}
        hold(theirs, case["phases"][theirs], {k: float(v) for k, v in terms.items()}, grads, updates)
        prefix = f"{theirs}.grad."
        names = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]
        found |= {prefix + name: grads[name].flatten()[:400].numpy() for name in names}
    decay = ema_decay(settings.optim, images, batch, is_fresh=True)
    follow(averaged, pair.generator, decay)
    values = dict(averaged.named_parameters())
    return found | {
        "ema_beta": np.array([decay], np.float32),
        "ema.decoder.net.0.weight": values["decoder.net.0.weight"].numpy(),
        "ema.w_avg": averaged.backbone.mapping.w_avg.numpy(),
        "G.w_avg": pair.generator.backbone.mapping.w_avg.numpy(),
        "ema_norm": np.array([float(value.norm()) for value in values.values()], np.float32),
    }


def settings_of(case: Mapping[str, Any]) -> Train:
    """The case's words in our vocabulary."""
    words = case["loss_kwargs"]
    names = {
        "gamma": "r1_gamma", "style_mixing_prob": "style_mixing_prob", "blur_init_sigma": "blur_init_sigma",
        "gpc_reg_fade_kimg": "gpc_reg_fade_kimg", "lambda_eikonal": "lambda_eikonal",
        "normal_gan": "normal_gan", "face_gan": "face_gan", "lambda_normal": "lambda_normal",
    }  # fmt: skip
    given = {ours: words[theirs] for ours, theirs in names.items()}
    told = words["gpc_reg_prob"]
    losses = Losses(**given, reg_type=case["reg_type"], gpc_reg_prob=1.0 if told is None else told)
    assert (told is None) == case["c_gen_conditioning_zero"]
    rendering = Rendering(
        **inputs.samples(case["draws"]["Gmain"]),
        c_gen_conditioning_zero=case["c_gen_conditioning_zero"],
        is_normal=words["is_normal"],
    )
    return Train(data=Path(), losses=losses, rendering=rendering, optim=Rates())


def pair_of(case: Mapping[str, Any], settings: Train, folder: Path) -> tuple[Pair, Generator]:
    """The networks, through the product's reader of snapshots, and the averaged generator."""
    kept = {name: words.split() for name, words in case["weights"].items()}  # FILE.json seed N
    manifests = {name: (words[0].removesuffix(".json"), int(words[2])) for name, words in kept.items()}
    generator, averaged = (copy.deepcopy(inputs.generator(folder, *manifests[name])) for name in ("G", "ema"))
    weights = inputs.discriminator(folder, *manifests["D"])
    sizes = sizes_in(weights, DISCRIMINATOR, DiscriminatorSizes(), limits=LIMITS)
    losses = settings.losses
    discriminator = discriminators.Discriminator(sizes, losses.normal_gan, losses.face_gan)
    wanted = discriminator.state_dict()
    tensors = weights.part(DISCRIMINATOR)
    load_strict(discriminator, {name: tensors[name] for name in wanted}, str(weights.path))
    body = inputs.body(folder)
    pair = Pair(
        generator=generator.train(),
        discriminator=discriminator.train(),
        template=Template.of(body, inputs.sdf(folder)),
        body=body,
        rendering=settings.rendering,
        settings=losses,
    )
    return pair, averaged


def real_of(arrays: Mapping[str, np.ndarray], side: int) -> Real:
    """The smooth noise that stands for photos of so many pixels a side."""
    stream = np.random.Generator(np.random.Philox(key=int(arrays["real_u8"][0])))
    labels = torch.from_numpy(arrays["real_c"])

    def picture() -> Tensor:
        values = torch.from_numpy(stream.integers(0, 256, (len(labels), 3, side, side))).float()
        return nn.functional.avg_pool2d(values, 9, stride=1, padding=4) / 127.5 - 1

    return Real(picture(), picture(), labels)


def hold(
    phase: str,
    words: Mapping[str, Any],
    terms: Mapping[str, float],
    grads: Mapping[str, Tensor],
    updates: Mapping[str, float],
) -> None:
    """Assert what the case says in words: reports, norms of gradients and updates."""
    for name, values in words["reports"].items():
        wanted = float(values[0][0])
        ours = name.removeprefix("Loss/").replace("/", ".")
        if name in TERMS or ours in terms:
            found = terms[TERMS.get(name, ours)]
            assert math.isclose(found, wanted, rel_tol=1e-3, abs_tol=1e-4), (
                f"{phase}: {name}: {found}, {wanted}"
            )
    norms = {name: float(grad.double().norm()) for name, grad in grads.items()}
    total, wanted = math.hypot(*norms.values()), words["total_norm"]
    assert math.isclose(total, wanted, rel_tol=1e-3), f"{phase}: total norm {total}, expected {wanted}"
    assert words["n_grads"] == len(norms), f"{phase}: {len(norms)} gradients, expected {words['n_grads']}"
    for name, wanted in words["grad_norm"].items():
        limit = allowed(phase, name, wanted / words["total_norm"])
        found = norms[name]
        assert math.isclose(found, wanted, rel_tol=limit, abs_tol=1e-12), (
            f"{phase}: {name}: {found}, {wanted}"
        )
    ratios = [abs(updates[name] / wanted - 1) for name, wanted in words["update_norm"].items()]
    assert np.median(ratios) < 1e-2, f"{phase}: updates differ by {np.median(ratios)}"


def allowed(phase: str, name: str, share: float) -> float:
    """How much a gradient's norm may differ, relative.

    Args:
        share: Of the total norm.
    """
    if phase.startswith("G"):
        return 3e-1 if name.endswith("noise_strength") else 5e-2 if share < 2e-2 else 1e-2
    return 5e-2 if share < 1e-4 else 1e-2


KINDS = {"train": train}
INPUTS = {"train": ("real_u8", "real_c", "gen_c", "gen_z")}
TOLERANCES = {
    "train": {
        "*.grad.*": {"rtol": 1e-2, "atol": 1e-4},
        "ema_beta": {"rtol": 1e-6},
        "ema.*": {"rtol": 1e-4, "atol": 1e-5},
        "G.w_avg": {"rtol": 1e-4, "atol": 1e-6},
        "ema_norm": {"rtol": 1e-4},
    }
}
