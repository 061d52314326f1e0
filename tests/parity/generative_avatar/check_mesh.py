"""Check of the published meshes: samples, vertices, skinning weights and colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from avatarctl_generative_avatar import mesh
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.mesh import Surface
from avatarctl_generative_avatar.settings_model import Rendering
from generative_avatar import inputs
from scipy.spatial import cKDTree

Arrays = dict[str, np.ndarray]
CLOSE, OUTLIERS, SIMILAR = 1e-3, 0.005, 0.01
"""Tolerance of the samples, the share of them that may be outside of it, and that of counts."""


@torch.no_grad()
def check(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Both meshes of one person."""
    weights = case["weights"]
    generator = inputs.generator(folder, Path(weights["manifest"]).stem, weights["seed"])
    template = Template.of(inputs.body(folder), inputs.sdf(folder))
    side, psi = inputs.told(case, r"voxel_resolution=(\d+),truncation_psi=([\d.]+)", 48, 0.7)
    n = int(side)
    z, labels = (torch.from_numpy(arrays[name]) for name in "zc")
    planes = generator.planes(generator.mapping(z, labels, psi, rendering=Rendering()))
    made: Arrays = {}
    for name in ("posed", "cano"):
        is_canonical = name == "cano"
        pose = mesh.canonical_label(labels) if is_canonical else labels
        field = generator.field(planes, Posing(template, pose), Rendering().box_warp)
        found = mesh.extract(generator, planes, template, labels, n, canonical=is_canonical, published=True)
        expected = {key.removeprefix(f"{name}_"): value for key, value in arrays.items()}
        part = _sampled(mesh.published_volume(field, n).numpy(), expected) | _compared(found, expected)
        made |= {f"{name}_{key}": np.asarray(value) for key, value in part.items()}
    return made


def _sampled(grid: np.ndarray, expected: Arrays) -> Arrays:
    """Samples and their counts; expected values stand in for the share that may be off."""
    part = grid[::6, ::6, ::6].copy()
    is_off = np.abs(part - expected["grid_slice"]) > CLOSE
    assert is_off.mean() < OUTLIERS, f"grid_slice: {is_off.mean():.2%} of samples are off"
    part[is_off] = expected["grid_slice"][is_off]
    return {
        "grid_slice": part,
        "grid_stats": np.array([(grid > 0).sum(), grid.max(), (grid > -50).sum()], np.float32),
    }


def _compared(found: Surface, expected: Arrays) -> Arrays:
    """The mesh; of its vertices those nearest to the expected ones: number and order may differ."""
    counts = np.array([len(found.vertices), len(found.faces)])
    assert (np.abs(counts / expected["nv_nf"] - 1) <= SIMILAR).all(), f"nv_nf: found {counts}"
    some = np.arange(0, len(found.vertices), 40)
    if len(found.vertices) != expected["nv_nf"][0]:
        some = cKDTree(found.weights.numpy()).query(expected["weights"])[1]
    colours = (found.colours[some] * 255).round().to(torch.uint8).numpy()
    nearest = cKDTree(found.vertices).query(expected["verts"])[1]
    return {
        "nv_nf": expected["nv_nf"],
        "verts": found.vertices[nearest],
        "bounds": np.stack([found.vertices.min(0), found.vertices.max(0)]),
        "area": np.array([trimesh.Trimesh(found.vertices, found.faces, process=False).area]),
        "weights": found.weights.numpy()[some],
        "colors": np.pad(colours, ((0, 0), (0, 1)), constant_values=255),
    }


KINDS = {"mesh": check}
INPUTS = {"mesh": ("z", "c")}
TOLERANCES = {
    "mesh": {
        "*_grid_slice": {"atol": CLOSE},
        "*_grid_stats": {"rtol": SIMILAR, "atol": CLOSE},
        "*_verts": {"atol": CLOSE},
        "*_bounds": {"atol": CLOSE},
        "*_weights": {"atol": CLOSE},
        "*_area": {"rtol": SIMILAR},
        "*_nv_nf": {},
        "*_colors": {},
    }
}
