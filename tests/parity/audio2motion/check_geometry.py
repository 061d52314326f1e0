"""Texture-space maps, and drawing: which face each pixel sees, and what colour it has (spec 7.4, 7.7)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch
from avatarctl_audio2motion.avatar.depth import depth_edges, depth_normals
from avatarctl_audio2motion.avatar.drawing import displayed, drawn
from avatarctl_audio2motion.avatar.fields import Fields
from avatarctl_audio2motion.avatar.uv import (
    TexelMaps,
    Topology,
    UvMaps,
    inpainted,
    read_topology,
    texel_faces,
    texel_maps,
)

from avatarctl.geometry.cameras import Camera
from avatarctl.render import rasterize

inputs = golden.module(Path(__file__).with_name("inputs.py"))
Arrays = dict[str, np.ndarray]
MESH = ("vi", "vti", "vt", "v2uv")
EDGES = 0.002
"""Share of the pixels that may see another face, on edges (case `raster`)."""


def topology(mesh: Arrays) -> Topology:
    """The stand-in mesh."""
    return read_topology(Fields({"topology": {name: mesh[name] for name in MESH}}, "uv_geometry.npz"))


def numbers(case: dict[str, Any], words: str) -> list[tuple[float, ...]]:
    """The points that a case's words about its mesh give, such as "camera (0.3,0.2,3.0)"."""
    found = re.findall(r"\(([-\d.,\s]+)\)", case["inputs"][words])
    return [tuple(float(number) for number in point.split(",")) for point in found]


def template(case: dict[str, Any]) -> torch.Tensor:
    """The stand-in person's vertices [1, N, 3]."""
    assets = json.loads(Path(case["path"]).with_name("body_assets.json").read_text(encoding="utf-8"))
    return torch.tensor(assets["lbs_template_verts"])[None]


def check_uv_geometry(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Maps as they are and in-painted, values there and back, normals; normals and edges of a depth map."""
    mesh = topology(arrays)
    size = len(arrays["vert_index_flip0"])
    flipped = replace(mesh, uvs=torch.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], dim=1))
    found: dict[str, torch.Tensor] = {}
    for flip, one in enumerate((mesh, flipped)):
        maps = texel_maps(one, size)
        found[f"vert_index_flip{flip}"], found[f"bary_flip{flip}"] = maps.vertices, maps.barycentric
        found[f"face_index_flip{flip}"] = texel_faces(one, size)
    plain = TexelMaps(found["vert_index_flip0"], found["bary_flip0"])
    filled = published_ties(plain, inpainted(plain), arrays)
    found |= {"vert_index_inpainted": filled.vertices, "bary_inpainted": filled.barycentric}
    maps = UvMaps(mesh, filled)
    camera, centre = numbers(case, "mesh")
    focal = float(re.findall(r"focal ([\d.]+)", case["inputs"]["mesh"])[0])
    vertices, depth = template(case), torch.from_numpy(arrays["depth"])
    values = torch.from_numpy(inputs.value_of(case["inputs"]["values"]))
    found |= {
        "to_uv": maps.to_uv(values),
        "from_uv": maps.from_uv(torch.from_numpy(arrays["to_uv"])),
        "view_cos": maps.view_cosine(vertices, torch.tensor([camera])),
        "vert_normals": maps.vertex_normals(vertices),
        "depth_normals": depth_normals(depth, focal, (centre[0], centre[1])),
        "disc_mask": depth_edges(depth),
    }
    return {name: tensor.numpy().astype(arrays[name].dtype, copy=False) for name, tensor in found.items()}


def published_ties(plain: TexelMaps, filled: TexelMaps, arrays: Arrays) -> TexelMaps:
    """In-painted maps with the case's choice where it is another of the equally near texels, which passes."""
    vertices, barycentric = (torch.from_numpy(arrays[f"{name}_inpainted"]) for name in ("vert_index", "bary"))
    other = (vertices != filled.vertices).any(-1) | ((barycentric - filled.barycentric).abs() > 1e-4).any(-1)
    valid = (plain.vertices[..., 0] >= 0).nonzero()
    kept = TexelMaps(filled.vertices.clone(), filled.barycentric.clone())
    for row, column in other.nonzero().tolist():
        squares = (valid - torch.tensor([row, column])).square().sum(-1)
        nearest = valid[squares == squares.min()]
        same = (plain.vertices[nearest[:, 0], nearest[:, 1]] == vertices[row, column]).all(-1)
        near = (plain.barycentric[nearest[:, 0], nearest[:, 1]] - barycentric[row, column]).abs() < 1e-4
        if (same & near.all(-1)).any():
            kept.vertices[row, column] = vertices[row, column]
            kept.barycentric[row, column] = barycentric[row, column]
    return kept


def check_raster(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Two views of the stand-in mesh: faces, barycentric coordinates, depths, linear and screen colours."""
    name, _, _ = case["inputs"]["mesh"].partition(":")
    with np.load(Path(case["path"]).with_name(name)) as file:
        mesh = topology({name: file[name] for name in MESH})
    rigid = torch.from_numpy(arrays["Rt"])
    camera = Camera(torch.from_numpy(arrays["K"]), rigid[..., :3], rigid[..., 3])
    times = float(re.findall(r"([\d.]+) x", case["inputs"]["vertices"])[0])
    vertices = (template(case) * times).expand(len(rigid), -1, -1)
    texture = torch.from_numpy(inputs.value_of(case["inputs"]["texture"]))
    size = arrays["pix_to_face"].shape[1:]
    seen = rasterize(vertices, mesh.faces, camera, size, is_strict=True)
    hit = seen.face >= 0
    first = torch.arange(len(rigid))[:, None, None] * len(mesh.faces)
    image = drawn(vertices, texture, UvMaps(mesh, texel_maps(mesh, 8)), camera, size)
    found = {
        "pix_to_face": torch.where(hit, seen.face + first, -1),
        "bary": torch.where(hit.unsqueeze(-1), seen.barycentric, -1.0),
        "zbuf": torch.where(hit, seen.depth, -1.0),
        "image": image,
        "display": displayed(image),
    }
    computed = {name: tensor.numpy() for name, tensor in found.items()}
    other = computed["pix_to_face"] != arrays["pix_to_face"]
    assert other.mean() <= EDGES, f"{other.mean():.2%} of the pixels see another face"
    for name in computed:  # pixels on edges may
        rows = other[:, None] if computed[name].ndim == 4 and name != "bary" else other
        rows = rows[..., None] if name == "bary" else rows
        computed[name] = np.where(rows, arrays[name], computed[name])
    return computed


KINDS = {"uv_geometry": check_uv_geometry, "raster": check_raster}
INPUTS = {"uv_geometry": (*MESH, "depth"), "raster": ("K", "Rt", "campos")}
