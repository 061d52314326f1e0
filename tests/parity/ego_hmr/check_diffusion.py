"""Stage 2: the graph's adjacency, the denoiser layer by layer, its losses, and a step of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Draws
from avatarctl_ego_hmr.losses import in_picture
from avatarctl_ego_hmr.losses_diffusion import Criterion
from avatarctl_ego_hmr.model.diffusion import Features, PoseDiffusion
from avatarctl_ego_hmr.model.graph import JOINTS, adjacency
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.model.visibility import visible
from avatarctl_ego_hmr.settings_train import TrainDiffusion
from avatarctl_ego_hmr.train_diffusion import Drawn, Step, colliding, denoised, step_losses
from ego_hmr import inputs
from torch import Tensor

from avatarctl.engine import evaluating, make_optimizer

Arrays = dict[str, np.ndarray]
Words = Mapping[str, Any]
TERMS = {"orthogonal": "pose_6d_ortho", "collision": "coap_penetration", "total": "loss"}
"""Names of terms in the cases, where they differ."""


def check_adjacency(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """The fixed matrix."""
    return {"adjacency": adjacency().numpy()}


def network(folder: Path) -> PoseDiffusion:
    """The network of the cases, read by the product."""
    found = load(inputs.official("stage2_91453", folder), "diffusion", torch.device("cpu"))
    assert isinstance(found, PoseDiffusion)
    return found


@torch.no_grad()
def check_forward(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Everything from the condition to the posed bodies."""
    found, people = network(folder), inputs.people(folder)
    view, truth = inputs.view(arrays, inputs.value("in.s2.img", (3, 3, 224, 224))), inputs.truth(arrays)
    noisy, steps = torch.from_numpy(arrays["x_t"]), torch.from_numpy(arrays["t"])
    features, seen = found.features(view, truth.transl), visible(view.detected, loosen=True)
    condition = found.condition(view, truth.transl, loosen=True)
    layers, told = watched(found), found(noisy, steps, condition)
    made = found(noisy, steps, condition, fuse=True)
    # All joints as if hidden: the pass without the image alone.
    hidden = found.conditioned(features, torch.zeros_like(seen))
    matrices, betas = found.matrices(made), found.betas(condition)
    body = people.posed(matrices, betas)
    scene, place, _ = features.other.split((512, 128, 6), dim=1)
    results = {
        "visible": seen,
        "image_features": features.image,
        "scene_features": scene,
        "transl_features": place,
        "time_embedding": found.embed_timestep(steps),
        "denoiser_input_joint7": given(found, features, seen, noisy, steps)[:, 7],
        "denoiser_input_scene_only_joint7": given(found, features, seen & False, noisy, steps)[:, 7],
        "x0_conditioned": told.unflatten(1, (JOINTS, 6)),
        "x0_scene_only": found(noisy, steps, hidden).unflatten(1, (JOINTS, 6)),
        "x0": made,
        "pose_6d": found.poses_from(made),
        "betas": betas,
        "global_orient": matrices[:, :1],
        "body_pose": matrices[:, 1:],
        "keypoints_3d": body.joints,
        "keypoints_3d_full": body.moved(truth.transl).joints,
        "keypoints_2d_full": in_picture(body.joints, truth.transl, view.focal, view.centre),
        "vertices_every_200": body.vertices[:, ::200],
    }
    for name, output in layers.items():
        results[f"slice.{name}"] = output[:, ::6, ::128]
        results[f"layer.{name}"] = summary(output)
    return {name: tensor.numpy() for name, tensor in results.items()}


def given(found: PoseDiffusion, features: Features, seen: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
    """What the published denoiser is given: all of a joint's numbers side by side [B, 24, 3718]."""
    every = (
        features.image[:, None] * seen[..., None],
        features.other[:, None].expand(-1, JOINTS, -1),
        found.input_process["poseEmbedding"](noisy.unflatten(1, (JOINTS, 6))),
        found.embed_timestep(steps)[:, None].expand(-1, JOINTS, -1),
    )
    return torch.cat(every, dim=-1)


def watched(found: PoseDiffusion) -> dict[str, Tensor]:
    """What layers give in the next pass, once it is made."""
    outputs: dict[str, Tensor] = {}
    model = found.diffusion_model

    def first(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        outputs.setdefault("gconv_input", given[0])

    model.gconv_layers[0].register_forward_pre_hook(first)
    for place, layer in enumerate(model.gconv_layers):
        layer.register_forward_hook(partial(keep, outputs, f"gconv_layers.{place}"))
    return outputs


def keep(outputs: dict[str, Tensor], name: str, module: torch.nn.Module, given: Any, made: Tensor) -> None:
    outputs.setdefault(name, made)


def summary(output: Tensor) -> Tensor:
    """Mean, deviation, largest size and a weighed sum of an output, float64 [4]."""
    flat = output.double().flatten()
    waves = torch.cos(0.37 * torch.arange(len(flat), dtype=torch.float64))
    weighed = (flat * waves).sum() / math.sqrt(len(flat))
    return torch.stack([flat.mean(), flat.std(correction=0), flat.abs().max(), weighed])


def stored(arrays: Arrays) -> Draws:
    """Surface draws of one body after another."""
    faces = torch.from_numpy(arrays["surface_faces"].astype(np.int64)).unflatten(0, (-1, 2))
    return Draws(faces, torch.from_numpy(arrays["surface_uv"]).unflatten(0, (-1, 2)).movedim(2, -1))


def check_train_step(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Losses, gradients, the new weights and statistics of one step."""
    settings, people, names = TrainDiffusion(), inputs.people(folder), case["gradient_names"]
    found = network(folder).requires_grad_(True).train()
    step = step_of(arrays, drawn_of(arrays, set(np.flatnonzero(arrays["dropped_image"]).tolist())))
    collision, draws = load_collision(inputs.official("coap_smpl_neutral", folder), people), stored(arrays)
    outputs: list[Tensor] = []
    found.register_forward_hook(lambda module, given, made: outputs.extend([given[0], made]))
    collide = colliding(collision, lambda partition, vertices, rows: draws[rows])
    made = denoised(found, step, settings.loosen)
    losses = step_losses(made, step, Criterion(people, settings.losses), collide)
    losses["total"].backward()
    parameters = dict(found.named_parameters())
    assert sorted(parameters) == names
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    gradients = norms(parameters[name].grad for name in names)
    make_optimizer(found.parameters(), settings.optim).step()
    changes = norms(parameters[name].detach() - before[name] for name in names)
    for place, name in enumerate(names):
        if name.endswith(".gconv.bias"):
            # The case's note: in front of a norm the true gradient is 0, and its rounding decides the change.
            assert changes[place] <= settings.optim.lr * before[name].numel() ** 0.5 * 1.001
            changes[place] = arrays["parameter_change_norms"][place]
    norm = found.diffusion_model.gconv_input[0].bn
    return {
        "x_t": outputs[0].numpy(),
        "pred_x_start": outputs[1].detach().numpy(),
        "bn_running_mean_after": norm.running_mean.numpy(),
        "bn_running_var_after": norm.running_var.numpy(),
        "gradient_norms": gradients,
        "parameter_change_norms": changes,
        **named(losses),
        "loss.keypoints_3d_vis_batch_sum": np.float32(0),  # counted in validation only
    }


def step_of(arrays: Arrays, drawn: Drawn) -> Step:
    """What the case's step is given."""
    image = inputs.value("in.s2t.img", (4, 3, 224, 224))
    return Step(inputs.view(arrays, image), inputs.truth(arrays), drawn)


def drawn_of(arrays: Arrays, dropped: set[int]) -> Drawn:
    """What the step of the case drew."""
    rows = torch.arange(len(arrays["t"]))
    keep = torch.tensor([row not in dropped for row in rows.tolist()])
    return Drawn(torch.from_numpy(arrays["noise"]), torch.from_numpy(arrays["t"]), keep, rows)


def norms(several: Iterable[Tensor]) -> np.ndarray:
    return np.array([float(one.double().norm()) for one in several])


def named(losses: Mapping[str, Tensor]) -> Arrays:
    """Losses by the names of the cases."""
    return {f"loss.{TERMS.get(name, name)}": loss.detach().numpy() for name, loss in losses.items()}


def check_eval_losses(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Losses of the same people in evaluation."""
    with np.load(Path(case["path"]).with_name(case["inputs"])) as file:
        given = dict(file)
    found, settings = network(folder), TrainDiffusion()
    step, criterion = (
        step_of(given, drawn_of(given, set())),
        Criterion(inputs.people(folder), settings.losses),
    )
    with evaluating(found):
        made = denoised(found, step, settings.loosen)
        summed, count = criterion.visible_errors(made, step.view, step.truth)
    return {
        **named(step_losses(made, step, criterion)),
        "loss.coap_penetration": np.float32(0),  # none before its epoch
        "loss.keypoints_3d_vis_batch_sum": summed.numpy(),
        "visible_joint_count": count.numpy(),
    }


KINDS = {
    "s2_adjacency": check_adjacency,
    "s2_forward": check_forward,
    "s2_train_step": check_train_step,
    "s2_eval_losses": check_eval_losses,
}
INPUTS = {
    "s2_forward": ("in.*", "x_t", "t"),
    "s2_train_step": ("in.*", "t", "noise", "dropped_image", "surface_*"),
}
