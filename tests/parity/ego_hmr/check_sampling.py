"""Checks of the noise schedule, of single steps, of collision guidance, and of whole samplings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Draw, Draws, Figure
from avatarctl_ego_hmr.guidance import Guide
from avatarctl_ego_hmr.model.diffusion import PoseDiffusion
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.sampling import STEPS, Spacing, Streams, sample, schedule
from ego_hmr.inputs import official, people, truth, value, view
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.diffusion import Process, at, kept_steps

Arrays = dict[str, np.ndarray]
GUIDED = 11
"""Steps whose gradients are stored; that of the last moves what nothing uses."""


def tables(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Every table of the schedule with all steps and with five."""
    found = {}
    for name, words in (("ddpm50", ""), ("ddim5", "ddim5")):
        kept = kept_steps(words, STEPS)
        process = schedule().respaced(kept) if words else schedule()
        for table, tensor in _tables(process).items():
            found[f"{name}.{table}"] = tensor.numpy()
        found[f"{name}.timestep_map"] = np.array(kept)
    return found


def _tables(process: Process) -> dict[str, Tensor]:
    alphas, posterior = process.alphas_cumprod, process.posterior()
    return {
        "betas": process.betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": torch.cat([alphas.new_ones(1), alphas[:-1]]),
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": posterior.variance,
        "posterior_log_variance_clipped": posterior.log_variance,
        "posterior_mean_coef1": posterior.clean,
        "posterior_mean_coef2": posterior.noisy,
    }


def steps(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Noise added, the posterior, and the noise that a clean prediction means."""
    clean, noisy, noise, step = (torch.from_numpy(arrays[name]) for name in ("x0", "x_t", "noise", "t"))
    process = schedule()
    posterior = process.posterior()
    signal, spread = (
        torch.tensor(list(one)) for one in zip(*map(process.scales, step.tolist()), strict=True)
    )
    found = {
        "q_sample": process.add_noise(clean, noise, step),
        "posterior_mean": at(posterior.clean, step, clean) * clean + at(posterior.noisy, step, noisy) * noisy,
        "posterior_log_variance": at(posterior.log_variance, step, clean).expand_as(clean),
        "eps_from_x0": (noisy - signal[:, None] * clean) / spread[:, None],
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


class Stored:
    """Surface draws of one body after another, played back."""

    def __init__(self, faces: np.ndarray, uv: np.ndarray) -> None:
        self.faces = torch.from_numpy(faces.astype(np.int64)).unflatten(0, (-1, 2))
        self.uv = torch.from_numpy(uv).unflatten(0, (-1, 2)).movedim(2, -1)

    def __call__(self, partition: object, vertices: Tensor, rows: Tensor) -> Draws:
        count = len(rows)
        found = Draws(self.faces[:count], self.uv[:count])
        self.faces, self.uv = self.faces[count:], self.uv[count:]
        return found


@dataclass(frozen=True)
class Replayed(Guide):
    """Guidance with stored draws."""

    stored: Draw = field(kw_only=True)

    def gradient(self, poses: Tensor, betas: Tensor, points: Tensor, draw: Draw) -> Tensor:
        """That of each body."""
        return super().gradient(poses, betas, points, self.stored)


class Seen:
    """A network that keeps what goes in and comes out."""

    def __init__(self, network: PoseDiffusion) -> None:
        self.network = network
        self.noisy: list[Tensor] = []
        self.clean: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, noisy: Tensor, *words: Any, **named: Any) -> Tensor:
        self.noisy.append(noisy)
        self.clean.append(self.network(noisy, *words, **named))
        return self.clean[-1]


def guide_of(case: Mapping[str, Any], folder: Path, faces: np.ndarray, uv: np.ndarray) -> Replayed:
    """Guidance as published, by the case's network and draws."""
    assert "coap_smpl_neutral" in case["weights"]
    network = load_collision(official("coap_smpl_neutral", folder), people(folder))
    strength = float(case.get("guidance weight") or 0)
    return Replayed(
        network, people(folder).neutral, strength, True, case["n_samples"], stored=Stored(faces, uv)
    )


def diffusion(folder: Path) -> PoseDiffusion:
    """The network of the cases."""
    found = load(official("stage2_91453", folder), "diffusion", torch.device("cpu"))
    assert isinstance(found, PoseDiffusion)
    return found


def gradient(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Guidance of three noisy poses, and how much of the room is in three bodies."""
    guide = guide_of(case, folder, arrays["surface_faces"], arrays["surface_uv"])
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    points = given["in.scene_pcd_verts_full"] - given["in.smpl.transl"][:, None]
    poses = diffusion(folder).poses_from(given["x_t"])
    found = guide.gradient(poses, given["betas"], points, guide.stored) / len(poses)
    matrices = torch.cat([given["x0_global_orient"], given["x0_body_pose"]], dim=1)
    figure = Figure.of(guide.body.shape(given["betas"]).pose_matrices(matrices))
    stored = Stored(arrays["ratio_surface_faces"], arrays["ratio_surface_uv"])
    inside = guide.network.occupied(figure, points, stored, figure.around(points))
    return {"gradient": found.numpy(), "collision_ratio": inside.double().mean(dim=1).numpy()}


def sampled(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """All states of a sampling, and its bodies.

    The gradients are those at the stored states: in one step another point of a surface becomes the greatest
    in the encoder's pooling where the state moves by 1e-6, and the gradient by 1 %. The states of the product
    differ by 4e-6 there; those after it, which hold its own gradients, are within their tight tolerance.
    """
    name = str(case["case"]).removeprefix("s2_sample_")
    words = re.search(r"noise\", \((\d+),(\d+),144\)", case["noise"])
    assert words is not None
    noise = value(f"in.smp.{name}.noise", (int(words[1]), int(words[2]), 144))
    images, given = value("in.smp.img", (noise.shape[1], 3, 224, 224)), truth(arrays)
    seen, shown = Seen(diffusion(folder)), view(arrays, images)
    condition = seen.condition(shown, given.transl, loosen=True)
    guide = None
    if case.get("guidance weight"):
        guide = guide_of(case, folder, arrays["surface_faces"], arrays["surface_uv"])
    spacing: Spacing = "ddim5" if name == "ddim5" else "ddpm"
    points = shown.points - given.transl[:, None]
    noises = [Streams(Noise.replay(list(one)), Noise.replay([])) for one in noise.unbind(1)]
    bodies = sample(seen, condition, points, noises, spacing=spacing, guide=guide)  # type: ignore[arg-type]
    matrices, betas = bodies.matrices[:, 0], bodies.betas[:, 0]
    found = {
        "x_before_step": torch.stack(seen.noisy),
        "x0_per_step": torch.stack(seen.clean),
        "x0": seen.clean[-1],
        "betas": betas,
        "global_orient": matrices[:, :1],
        "body_pose": matrices[:, 1:],
        "keypoints_3d": people(folder).posed(matrices, betas).joints[:, :24],
    }
    if guide is not None:
        again = guide_of(case, folder, arrays["surface_faces"], arrays["surface_uv"])
        found["gradient_per_guided_step"] = torch.stack(
            [
                again.gradient(seen.poses_from(noisy), betas, points, again.stored) / len(noisy)
                for noisy in torch.from_numpy(arrays["x_before_step"])[-GUIDED:]
            ]
        )
    return {name: tensor.numpy() for name, tensor in found.items()}


KINDS = {
    "diffusion_schedule": tables,
    "diffusion_steps": steps,
    "s2_guidance_gradient": gradient,
    "s2_sample_ddim5": sampled,
    "s2_sample_ddpm50": sampled,
    "s2_sample_ddpm50_guided": sampled,
}
INPUTS = {
    "diffusion_steps": ("x0", "x_t", "noise", "t"),
    "s2_guidance_gradient": ("in.*", "x_t", "betas", "x0_*", "surface_*", "ratio_surface_*"),
    **{kind: ("in.*", "surface_*") for kind in KINDS if kind.startswith("s2_sample")},
}
