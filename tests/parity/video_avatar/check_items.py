"""Rays, depths and samples: of a stored mesh, and of the prepared sequence of case prep_zju."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar.depths import inner_depths, spread, uniform_depths
from avatarctl_video_avatar.intersect import Hits, all_hits
from avatarctl_video_avatar.items import Items, Offset
from avatarctl_video_avatar.patches import PatchSettings
from avatarctl_video_avatar.prepared import Prepared
from avatarctl_video_avatar.rays import (
    camera_from_body,
    directions_of,
    intersect_box,
    origin_of,
    rotation_of,
    without_zeros,
)
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.settings_model import Rendering
from video_avatar import inputs, sequence

from avatarctl.device import Noise

Arrays = dict[str, np.ndarray]
SEED = 5


class LegacyNoise(Noise):
    """The draws of numpy's old global generator, in the order of the published training item."""

    def __init__(self, seed: int) -> None:
        super().__init__(torch.Generator())
        self.state = np.random.RandomState(seed)

    def uniform(self, shape: Sequence[int], *_: Any, **__: Any) -> torch.Tensor:
        return torch.from_numpy(self.state.rand(*shape))

    def integers(self, low: int, high: int, shape: Sequence[int], *_: Any) -> torch.Tensor:
        assert low == 0
        return torch.from_numpy(self.state.choice(high, size=list(shape), replace=False))


def check_rays(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Rays of a camera, their crossings of a box, and their depths in a mesh."""
    config = case["config"]
    extrinsics = camera_from_body(arrays["E_world"], rotation_of(arrays["Rh"]), arrays["Th"])
    origin, pixels = origin_of(extrinsics), np.mgrid[: config["H"], : config["W"]]
    before = directions_of(arrays["K"], extrinsics, *pixels).reshape(-1, 3)
    after = without_zeros(before)
    crossings = intersect_box(origin, after, arrays["bbox"])
    near, far = crossings.near[crossings.meets], crossings.far[crossings.meets]
    hits = all_hits(origin, after[crossings.meets], arrays["mesh_vertices"], arrays["mesh_triangles"])
    face, distance = first_hits(hits, near)
    depths, crossing = inner_depths(hits, near, far, config["n_samples"])
    stated = arrays["manual_hit_masks"].any(axis=1)
    samples = arrays["manual_z_vals"].shape[1]
    manual = uniform_depths(arrays["manual_near"][:, 0], arrays["manual_far"][:, 0], samples)
    manual[stated] = spread(arrays["manual_hit_dists"][stated], samples)
    return {
        "E_body": extrinsics,
        "rays_o": origin[None],
        "rays_d_before": before,
        "rays_d_after": after,
        "near": near,
        "far": far,
        "mask": crossings.meets,
        "first_hit_face": face,
        "first_hit_distance": distance,
        "z_vals": depths,
        "hit_mask": crossing,
        "manual_z_vals": manual,
        "manual_inter_mask": stated,
    }


def first_hits(hits: Hits, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle and distance of the first hit behind near; both -1 for a miss."""
    behind = hits.distances >= near[hits.rays]
    rays, first = np.unique(hits.rays[behind], return_index=True)
    face, distance = np.full(len(near), -1), np.full(len(near), -1.0)
    face[rays], distance[rays] = hits.faces[behind][first], hits.distances[behind][first] - near[rays]
    return face, distance


def items_of(
    config: dict[str, Any],
    data: Prepared,
    folder: Path,
    *,
    dataset: str = "zju-mocap",
    offset: Offset = "exact",
) -> Items:
    """The items that a case's configuration describes."""
    rendering = Rendering(
        n_samples=config["n_samples"],
        box_margin=config["box_margin"],
        inner_sampling=config["inner_sampling"],
        use_dilated=config["use_dilated"],
    )
    return Items(
        data,
        [str(view) for view in config["views"]],
        slice(config["start_frame"], config["end_frame"]),
        rendering,
        inputs.body(folder),
        dataset=dataset,
        offset=offset,
        patches=PatchSettings(config["N_patches"], config["patch_size"], config["sample_subject_ratio"]),
        res_level=config.get("res_level", 1),
    )


def check_training(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Patches of a picture."""
    data = sequence.prepared(folder)
    sample = items_of(case["config"], data, folder).training(case["index"], LegacyNoise(SEED))
    assert sample.patches is not None
    return in_words(sample, data, case["config"]["box_margin"]) | {
        "target_patches": sample.patches.colours.numpy(),
        "patch_masks": sample.patches.masks.numpy(),
        "patch_div_indices": sample.patches.bounds.numpy(),
    }


def check_picture(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """A whole picture."""
    data = sequence.prepared(folder)
    sample = items_of(case["config"], data, folder).picture(case["index"])
    assert sample.box is not None
    return in_words(sample, data, case["config"]["box_margin"]) | {
        "view": np.array(sample.shot.view),
        "idx": np.array(sample.shot.index),
        "bbox_mask": sample.box.numpy(),
    }


def in_words(sample: Sample, data: Prepared, margin: float) -> Arrays:
    """A sample under the published names."""
    rays, shot, pose = sample.rays, sample.shot, sample.pose
    columns = (
        rays.origins, rays.directions, rays.colours,
        rays.alpha[:, None], rays.near[:, None], rays.far[:, None],
    )  # fmt: skip
    rest = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    rest[:, :3, 3] = pose.joints
    vertices = data.canonical[1]
    low, high = vertices.min(axis=0) - margin, vertices.max(axis=0) + margin
    return {
        "batch_rays": torch.cat(columns, dim=1).numpy(),
        "z_vals": rays.depths.numpy(),
        "hit_mask": rays.hits.numpy(),
        "frame_name": np.array(shot.frame),
        "width": np.array(shot.width),
        "height": np.array(shot.height),
        "geo_latent_code_idx": np.array(shot.index),
        "extrinsic": shot.extrinsics.numpy(),
        "intrinsic": shot.intrinsics.numpy(),
        "camera_e": shot.world.numpy(),
        "rh": shot.turn.numpy(),
        "th": shot.place.numpy(),
        "background_color": sample.background.numpy(),
        "tjoints": pose.joints.numpy(),
        "gtfs_02v": pose.star.numpy(),
        "cnl_gtfms": rest,
        "dst_Rs": pose.rotations.numpy(),
        "dst_Ts": pose.offsets.numpy(),
        "dst_posevec": pose.numbers.numpy(),
        "dst_vertices_every53": pose.vertices[::53].numpy(),
        "cnl_bbox_min_xyz": low,
        "cnl_bbox_max_xyz": high,
        "cnl_bbox_scale_xyz": 2 / (high - low),
    }


def people_snapshot_sample(data: Prepared, folder: Path) -> Arrays:
    """The `sample_*` arrays of case prep_people_snapshot: picture 1 of view 0 of its prepared recording."""
    config = {
        "views": [0], "start_frame": 0, "end_frame": None, "n_samples": 32, "box_margin": 0.05,
        "inner_sampling": True, "use_dilated": True, "N_patches": 1, "patch_size": 16,
        "sample_subject_ratio": 0.8, "res_level": 4,
    }  # fmt: skip
    items = items_of(config, data, folder, dataset="people-snapshot", offset="published")
    sample = items.picture(1)
    rays = sample.rays
    return {
        "sample_extrinsic": sample.shot.extrinsics.numpy(),
        "sample_th": sample.shot.place.numpy(),
        "sample_rh": sample.shot.turn.numpy(),
        "sample_batch_rays_every16": torch.cat([rays.origins, rays.directions], dim=1)[::16].numpy(),
        "sample_near_far_every16": torch.stack([rays.near, rays.far], dim=1)[::16].numpy(),
        "sample_hit_count": np.array(int(rays.hits.sum())),
    }


KINDS = {"ray_sampling": check_rays, "dataset_train": check_training, "dataset_val": check_picture}
INPUTS = {
    "ray_sampling": (
        "K", "E_world", "Rh", "Th", "bbox", "mesh_*",
        "manual_hit_masks", "manual_hit_dists", "manual_near", "manual_far",
    ),
}  # fmt: skip
