"""Stage 1: cameras, the flow, losses, the discriminator, and a step of training."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr import losses
from avatarctl_ego_hmr.bodies import GENDERS, People
from avatarctl_ego_hmr.losses_scene import Criterion, bodies_of
from avatarctl_ego_hmr.model.camera import crop_translation, full_translation, project
from avatarctl_ego_hmr.model.flow import ActNorm
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.model.scene import Prediction, SceneNet
from avatarctl_ego_hmr.settings_train import SceneLosses, TrainScene
from avatarctl_ego_hmr.train_scene import Drawn, Step, optimizers_of, step_losses, true_sixd
from avatarctl_ego_hmr.views import Truth, View
from ego_hmr import inputs as given
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]
Words = dict[str, Any]
WEIGHTS = "stage1_53618"
NAMES = {"adversarial": "gen", "discriminator": "disc", "generator": "loss"}
"""What the cases call some of the terms."""


def tensors(arrays: Arrays, *names: str) -> list[Tensor]:
    return [torch.from_numpy(arrays[name]) for name in names]


def network(folder: Path) -> SceneNet:
    """The network of an official file; a copy, for what is loaded shares the tensors of all checks."""
    made: SceneNet = load(given.official(WEIGHTS, folder), "scene", torch.device("cpu"))
    return deepcopy(made)


def in_training(made: SceneNet) -> SceneNet:
    """The same, ready to be trained, without the dropout that the cases leave out."""
    for one in made.modules():
        if isinstance(one, nn.Dropout):
            one.p = 0.0
    return made.train().requires_grad_(True)


def check_camera(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Projection, and the translation in both cameras."""
    points, transl, focal, centre = tensors(arrays, "points", "translation", "focal", "center")
    camera, box_size, box_centre = tensors(arrays, "cam", "box_size", "box_center")
    return {
        "projected": project(points, transl, focal, centre).numpy(),
        "full_cam": full_translation(camera, focal[:, 0], centre, box_centre, box_size).numpy(),
        "crop_cam": crop_translation(camera, focal[:, 0]).numpy(),
    }


def check_forward(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """Everything that is predicted of two people, and its losses."""
    made_of, people = network(folder), given.people(folder)
    truth = given.truth(arrays)
    view = given.view(arrays, given.value("in.s1.img", (len(truth), 3, 224, 224)))
    (latents,) = tensors(arrays, "z")
    with torch.no_grad():
        condition = made_of.condition(view)
        made = made_of.predict(condition, view, latents)
        criterion = Criterion(people, SceneLosses())
        terms = criterion.terms(made, view, truth)
        terms["nll"] = -made_of.log_prob(true_sixd(truth), condition).mean()
        found = {"conditioning_feats": condition, **predicted(made, view, people)}
        found |= {f"loss.{name}": term for name, term in terms.items() if f"loss.{name}" in arrays}
        found["loss.loss"] = criterion.total(terms)
    return {name: tensor.numpy() for name, tensor in found.items()}


def predicted(made: Prediction, view: View, people: People) -> dict[str, Tensor]:
    """What the case stores of a prediction."""
    samples = made.matrices.shape[1]
    body = bodies_of(made, people)
    joints, vertices = (one.unflatten(0, (-1, samples)) for one in (body.joints, body.vertices))
    camera, transl, focal = made.camera[:, None], made.transl[:, None], view.focal[:, None]
    each = {"betas": made.betas, "pred_cam": made.camera, "pred_cam_t_full": made.transl}
    each["pred_cam_t"] = crop_translation(made.camera, view.focal)
    return {
        **{name: tensor[:, None].expand(-1, samples, -1) for name, tensor in each.items()},
        "pred_pose_6d": made.sixd,
        "log_prob": made.log_prob,
        "global_orient": made.matrices[:, :, :1],
        "body_pose": made.matrices[:, :, 1:],
        "keypoints_3d": joints,
        "keypoints_3d_full": joints + transl[:, :, None],
        "keypoints_2d": losses.in_crop(joints, camera, focal),
        "keypoints_2d_full": losses.in_picture(joints, transl, focal, view.centre[:, None]),
        "vertices_every_200": vertices[:, :, ::200],
    }


def check_density(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """The density of two poses, transform by transform."""
    flow = network(folder).flow.flow
    context, pose = tensors(arrays, "context", "pose_6d")
    with torch.no_grad():
        log_prob, latents = flow.log_prob(pose[:, 0], context)
        found, x = {"log_prob": log_prob[:, None], "z": latents[:, None]}, pose[:, 0]
        for number, transform in enumerate(flow.transforms):
            x, log_det = transform(x, context)
            found |= {f"after_{number}": x, f"logdet_{number}": log_det}
    return {name: tensor.numpy() for name, tensor in found.items()}


def check_start(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """The start of the flow's norms."""
    made = in_training(network(folder))
    norms = [one for one in made.flow.flow.transforms if isinstance(one, ActNorm)]
    for flag in (made.initialized, *(norm.initialized for norm in norms)):
        flag.fill_(False)
    poses = np.concatenate([arrays["in.smpl.global_orient"], arrays["in.smpl.body_pose"]], axis=1)
    filler = {item.name: torch.zeros(len(poses)) for item in fields(Truth)}
    truth = Truth(**filler | {"poses": torch.from_numpy(poses).unflatten(1, (24, 3))})
    made.initialise(true_sixd(truth), torch.from_numpy(arrays["context"]))
    assert all(bool(flag) for flag in (made.initialized, *(norm.initialized for norm in norms)))
    return {
        name: torch.stack([getattr(norm, name) for norm in norms]).detach().numpy()
        for name in ("log_scale", "shift")
    }


def check_discriminator(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """25 scores of a body, on both ways to them."""
    discriminator = network(folder).discriminator
    matrices, betas = tensors(arrays, "pose_matrices", "betas")
    with torch.no_grad():
        scores = discriminator(matrices, betas)
        torch.testing.assert_close(discriminator.judged(matrices, betas), scores)
    return {"scores": scores.numpy()}


def check_step(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """A step of both optimisers, and its gradients in float64 as well."""
    noise = [arrays[f"annotation_noise.{name}"][:, 0] for name in ("global_orient", "body_pose")]
    poses, betas, latents = tensors(arrays, "mocap.body_pose", "mocap.betas", "z")
    drawn = Drawn(
        latents, 0.005 * torch.from_numpy(np.concatenate(noise, axis=1)), poses.unflatten(1, (23, 3)), betas
    )
    truth = given.truth(arrays)
    step = Step(given.view(arrays, given.value("in.s1t.img", (len(truth), 3, 224, 224))), truth, drawn)
    made, people, names = in_training(network(folder)), given.people(folder), case["gradient_names"]
    found = {f"loss.{NAMES.get(name, name)}": term for name, term in taken(made, step, people).items()}
    parameters = dict(made.named_parameters())
    assert sorted(parameters) == names
    gradients = norms(parameters[name].grad for name in names)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    for optimizer in optimizers_of(made, TrainScene()):
        optimizer.step()
    norm = made.flow.flow.transforms[2].transform_net.blocks[0].batch_norm_layers[0]
    result = {name: term.detach().numpy() for name, term in found.items() if name in arrays}
    return result | {
        "gradient_norms": gradients,
        "parameter_change_norms": norms(parameters[name].detach() - before[name] for name in names),
        "bn_running_mean_after": norm.running_mean.numpy(),
        "bn_batches_tracked": norm.num_batches_tracked.numpy(),
        "backbone_bn1_running_mean_after": made.backbone.bn1.running_mean.numpy(),
        "gradient_norms_float64": in_double(folder, step, names),
    }


def taken(made: SceneNet, step: Step, people: People) -> dict[str, Tensor]:
    """The losses of a step, after its backward pass."""
    found = step_losses(made, made.condition(step.view), step, Criterion(people, SceneLosses()))
    found["total"].backward()
    return found


def in_double(folder: Path, step: Step, names: list[str]) -> np.ndarray:
    """Norms of the gradients when everything is computed in float64."""
    made, people = in_training(network(folder)).double(), given.people(folder)
    people = People(*(getattr(people, name).to(dtype=torch.float64) for name in GENDERS))
    taken(made, Step(*(type(part)(**vars(part) | doubled(vars(part))) for part in step)), people)
    parameters = dict(made.named_parameters())
    return norms(parameters[name].grad for name in names)


def doubled(values: Words) -> dict[str, Tensor]:
    """The floating-point tensors among values, as float64."""
    held = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return {name: value.double() for name, value in held.items() if value.is_floating_point()}


def norms(several: Iterator[Tensor]) -> np.ndarray:
    return np.array([float(one.double().norm()) for one in several])


KINDS = {
    "camera": check_camera,
    "s1_forward_losses": check_forward,
    "s1_flow_density": check_density,
    "s1_actnorm_init": check_start,
    "s1_discriminator": check_discriminator,
    "s1_train_step": check_step,
}
INPUTS = {
    "camera": ("points", "translation", "focal", "center", "cam", "box_size", "box_center"),
    "s1_forward_losses": ("in.*", "z"),
    "s1_flow_density": ("context", "pose_6d"),
    "s1_actnorm_init": ("in.*", "context"),
    "s1_discriminator": ("pose_matrices", "betas"),
    "s1_train_step": ("in.*", "z", "annotation_noise.*", "mocap.*"),
}
