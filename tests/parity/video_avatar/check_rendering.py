"""Base SDF, deformation and volume rendering."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar.items import pose_of, subject_of
from avatarctl_video_avatar.model.avatar import Avatar, load
from avatarctl_video_avatar.model.deform import Deformed
from avatarctl_video_avatar.model.rendering import Rendered, Scene
from avatarctl_video_avatar.model.volume import BaseSdf
from avatarctl_video_avatar.sample import Pose, Subject
from avatarctl_video_avatar.settings_model import Rendering
from torch import Tensor
from video_avatar import inputs, sequence

FRAME = "frame_000001"
STEP, EARLIER = 250000, 100000
"""Steps of the non-rigid points."""


@cache
def person(manifest: str, folder: Path) -> tuple[Avatar, Subject, Pose]:
    """The avatar of a manifest, and the prepared person in the frame of the cases."""
    data = sequence.prepared(folder)
    pose = pose_of(data.body(FRAME), data.canonical[0])
    avatar = load(inputs.official(manifest, folder), torch.device("cpu"))
    return avatar, subject_of(data, inputs.body(folder)), pose


def posed(pose: Pose) -> dict[str, np.ndarray]:
    """A pose under the published names."""
    names = {
        "tjoints": "joints", "gtfs_02v": "star", "dst_Rs": "rotations", "dst_Ts": "offsets",
        "dst_posevec": "numbers",
    }  # fmt: skip
    return {theirs: getattr(pose, ours).numpy() for theirs, ours in names.items()}


def base_sdf(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Distances and their gradients, with a graph and without."""
    volume, points = sequence.prepared(folder).volume, torch.from_numpy(arrays["points"])
    base = BaseSdf(
        *(torch.tensor(part, dtype=torch.float32) for part in (volume.grid, volume.bbmin, volume.bbmax))
    )
    value, gradient = base.probe(points)
    assert torch.equal(base(points)[:, 0], value)
    return {
        "sdf": value[:, None].numpy(),
        "gradient": gradient.numpy(),
        "bbmin": base.low.numpy(),
        "bbmax": (base.low + base.side).numpy(),
        "grid": volume.grid[20:44, 20:44, 20:44],
    }


@torch.no_grad()
def deform(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Each pass."""
    avatar, subject, pose = person(inputs.manifest_of(case["weights"]), folder)
    passes = case["config"]["N_iter_backward"]
    scene = Scene(avatar, subject, pose, Rendering(n_iter_backward=passes), step=0)
    points = torch.from_numpy(arrays["points_obs"])
    found = [scene.deformer.start(points)]
    for _ in range(passes):
        found.append(scene.deformer.step(points, found[-1]))
    assert torch.equal(scene.deformer(points).points, found[-1].points)
    computed = posed(pose) | {"dst_gtfms": scene.bones.numpy(), "knn_weights": found[0].sampled.numpy()}
    for number, one in enumerate(found):
        computed[f"points_iter{number}"] = one.points.numpy()
        if number:
            computed[f"weights_iter{number}"] = _predicted(one)[: len(arrays[f"weights_iter{number}"])]
    return computed


def _predicted(found: Deformed) -> np.ndarray:
    assert found.predicted is not None
    return found.predicted.numpy()


def render(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Rays as in training; they must be the same when only shown."""
    avatar, subject, pose = person(inputs.manifest_of(case["weights"]), folder)
    config, given = (
        case["config"],
        {name: torch.from_numpy(arrays[name]) for name in ("batch_rays", "z_vals")},
    )
    rendering = Rendering(
        n_samples=config["n_samples"],
        anneal_end=config.get("anneal_end", 50000),
        sdf_threshold=config.get("sdf_threshold", 0.05),
        n_iter_backward=config.get("N_iter_backward", 3),
        kick_in_iter=config.get("kick_in_iter", 60000),
    )
    step, rays = config["iter_step"], given["batch_rays"]
    shift, background = (torch.from_numpy(arrays[name]) for name in ("t_rand", "background_color"))

    def rendered() -> tuple[Scene, Rendered]:
        scene = Scene(avatar, subject, pose, rendering, step)
        return scene, scene.render(rays[:, :3], rays[:, 3:6], given["z_vals"], shift[:, 0], background)

    scene, found = rendered()
    with torch.no_grad():
        _, shown = rendered()
    _compare(found, shown)
    every = {
        name: getattr(found, name)[::16]
        for name in ("pts_W_pred", "pts_W_sampled")
        if found.pts_W_pred is not None
    }
    computed = {f"out_{name}": value for name, value in vars(found).items() if f"out_{name}" in arrays}
    computed |= {f"out_{name}_every16": value for name, value in every.items()}
    plain = {name: value.detach().numpy() for name, value in computed.items()} | posed(pose)
    if "cos_anneal_ratio" in arrays:
        plain["cos_anneal_ratio"] = np.array(scene.anneal, np.float32)
    return plain | (_alone(avatar, pose, torch.from_numpy(arrays["points"])) if "points" in arrays else {})


def _compare(found: Rendered, shown: Rendered) -> None:
    """What is shown equals what is trained, up to rounding."""
    for name, value in vars(shown).items():
        other = getattr(found, name)
        if value is not None and other is not None:
            worst = float((value - other.detach()).abs().max())
            assert worst < 2e-5, f"{name} differs by {worst:.2g} between training and showing"


@torch.no_grad()
def _alone(avatar: Avatar, pose: Pose, points: Tensor) -> dict[str, np.ndarray]:
    """The networks of the alternatives on points."""
    moves = avatar.non_rigid_mlp
    assert moves is not None
    return {
        "mlp_sdf": avatar.surface()(points).numpy(),
        "nonrigid_points": (points + moves(points, pose.numbers, step=STEP)).numpy(),
        f"nonrigid_points_step{EARLIER}": (points + moves(points, pose.numbers, step=EARLIER)).numpy(),
    }


KINDS = {"base_sdf": base_sdf, "deform": deform, "render": render}
INPUTS = {
    "base_sdf": ("points",),
    "deform": ("points_obs", "cnl_gtfms", "background_color"),
    "render": ("batch_rays", "z_vals", "hit_mask", "t_rand", "cnl_gtfms", "background_color", "points"),
}
