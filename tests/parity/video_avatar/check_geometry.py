"""Checks of extracted meshes, and of their scores against pseudo ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar import extract, geometry_scores
from avatarctl_video_avatar.geometry_scores import Ground
from avatarctl_video_avatar.items import Items, pose_of, subject_of
from avatarctl_video_avatar.model.avatar import load
from avatarctl_video_avatar.model.rendering import Scene
from avatarctl_video_avatar.settings_model import Rendering
from video_avatar import inputs, sequence

from avatarctl.geometry.isosurface import whole
from avatarctl.geometry.meshes import Mesh, component_sizes, largest

Arrays = dict[str, np.ndarray]
N = 40
"""Samples along each side of the extracted grid."""


@torch.no_grad()
def extract_geometry(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The field of the first frame, and its mesh: by the dense grid, which the octree must agree with."""
    data = sequence.prepared(folder)
    items = Items(data, ["0"], slice(None), Rendering(n_samples=2), inputs.body(folder))
    sample = items.picture(0)
    pose = pose_of(data.body(sample.shot.frame), data.canonical[0])
    avatar = load(inputs.official(inputs.manifest_of(case["weights"]), folder), torch.device("cpu"))
    scene = Scene(avatar, subject_of(data, inputs.body(folder)), pose, Rendering(), step=0, refine=True)

    def field(places: np.ndarray) -> np.ndarray:
        return scene.field(torch.from_numpy(places)).numpy()

    vertices = pose.vertices.numpy()
    samples = extract.samples_of(field, vertices, N)
    volume = whole(samples)
    mesh, found = extract.extract_dense(field, vertices, N), extract.extract(field, vertices, N)
    assert np.array_equal(mesh.faces, found.faces)
    # Products of matrices round by the number of their rows.
    assert np.abs(mesh.vertices - found.vertices).max() < 1e-6
    part = largest(mesh)
    counts = (volume < 0).sum(), (volume == 1).sum()
    numbers = (volume.min(), volume.max(), volume.mean(dtype=np.float64), *counts)
    made = {
        "dst_gtfms": scene.bones.numpy(),
        "bound_min": samples.grid.low,
        "bound_max": samples.grid.high,
        "field_every3": volume[::3, ::3, ::3],
        "field_stats": numbers,
        "mesh_counts": [len(mesh.vertices), len(mesh.faces)],
        "mesh_vertices_every7": mesh.vertices[::7],
        "mesh_bounds": [mesh.vertices.min(0), mesh.vertices.max(0)],
        "component_face_counts": np.sort(component_sizes(mesh)[0])[::-1],
        "largest_component_vertices": [len(part.vertices), len(part.faces)],
        "largest_mean": part.vertices.mean(0),
        "frame_index": sample.shot.index,
        "view": sample.shot.view,
    }
    return {name: np.asarray(value) for name, value in made.items()}


def geometry_metrics(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Chamfer distance, normal consistency, and the true mesh cut by both kinds of ground."""
    truth, predicted = (Mesh(arrays[f"{name}_vertices"], arrays[f"{name}_faces"]) for name in ("gt", "pred"))
    scores = geometry_scores.arah(predicted, truth)
    a, b, d = arrays["plane"]
    cuts = {name: Ground(a, b, d, name == "up").above(truth) for name in ("down", "up")}
    made = {
        "gt_normals": truth.normals(),
        "pred_normals": predicted.normals(),
        "chamfer_cm2_both": geometry_scores.chamfer(predicted.vertices * 100, truth.vertices * 100),
        "chamfer_reported": scores["chamfer_cm2"],
        "normal_consistency": scores["normal_consistency"],
    }
    for name, mesh in cuts.items():
        first, second, third = mesh.vertices[mesh.faces].transpose(1, 0, 2)
        made[f"cut_{name}_bounds"] = np.stack([mesh.vertices.min(0), mesh.vertices.max(0)])
        made[f"cut_{name}_area"] = np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2
    return {name: np.asarray(value) for name, value in made.items()}


KINDS = {"extract_geometry": extract_geometry, "geometry_metrics": geometry_metrics}
INPUTS = {"geometry_metrics": ("gt_vertices", "gt_faces", "pred_vertices", "pred_faces", "plane")}
FIELD = {"rtol": 1e-4, "atol": 1e-5}
"""The case's tolerance of the field; the mesh has it too, in metres."""
TOLERANCES = {
    "extract_geometry": dict.fromkeys(
        (
            "dst_gtfms", "bound_*", "field_*", "mesh_*", "component_*", "largest_*", "frame_index", "view",
        ),
        FIELD,
    )
}  # fmt: skip
