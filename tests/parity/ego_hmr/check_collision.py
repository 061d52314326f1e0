"""Checks of the collision models COAP and VolumetricSMPL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.collision.coap import Coap
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Draw, Draws, Figure, Partition
from avatarctl_ego_hmr.collision.volumetric import Volumetric
from ego_hmr.inputs import official, people
from torch import Tensor

Arrays = dict[str, np.ndarray]


def partition(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Whose faces and vertices belong to each part."""
    body = people(folder).neutral
    found = Partition(body)
    made: dict[str, Tensor] = {"kept_joints": found.kept}
    for name, lists in zip(("tight", "extended"), found.lists, strict=True):
        rows = [row[row < len(body.faces)] for row in lists]
        made[f"{name}_face_count"] = torch.tensor([len(row) for row in rows])
        for place, index in (("first", 0), ("last", -1)):
            made[f"{name}_{place}_face"] = torch.stack([body.faces[row[index]] for row in rows]).int()
    owned = [row.unique() for row in found.owned]
    made["vertex_count"] = torch.tensor([len(row) for row in owned])
    made["vertex_min"] = torch.stack([row.min() for row in owned])
    made["vertex_max"] = torch.stack([row.max() for row in owned])
    return {name: tensor.numpy() for name, tensor in made.items()}


def figure(folder: Path, poses: Tensor, betas: Tensor) -> Figure:
    """Neutral bodies in poses given as axis-angle [B, 24, 3]."""
    return Figure.of(people(folder).neutral.shape(betas).pose(poses))


def together(arrays: Arrays) -> Draws:
    """Stored draws of two bodies encoded together."""
    faces = torch.from_numpy(arrays["surface_faces"].astype(np.int64)).unflatten(1, (2, 16))
    uv = torch.from_numpy(arrays["surface_uv"]).unflatten(2, (2, 16))
    return Draws(faces.transpose(0, 1), uv.permute(2, 0, 3, 4, 1))


def stored(draws: Draws) -> Draw:
    """Draws of given bodies."""
    return lambda partition, vertices, rows: draws[rows]


@torch.no_grad()
def coap(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Codes, boxes and occupancy of two bodies."""
    network = load_collision(official(case["weights"], folder), people(folder))
    assert isinstance(network, Coap)
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    poses = torch.cat([given["in.global_orient"], given["in.body_pose"]], dim=1).unflatten(1, (24, 3))
    bodies, draws = figure(folder, poses, given["in.betas"]), together(arrays)
    boxes = network.partition.boxes(bodies)
    parts = network.occupancies(bodies, given["points"], draws)
    frames = torch.eye(4).repeat(2, 16, 1, 1)
    frames[..., :3, :3] = boxes.rotations.mT
    frames[..., :3, 3:] = -boxes.rotations.mT @ boxes.origins[..., None]
    found = {
        "bone_trans": frames,
        "latent_code": network.codes(bodies, boxes, draws, torch.arange(32)).unflatten(0, (2, 16)),
        "bbox_size": boxes.sizes[:, :, None],
        "bbox_center": boxes.centres[:, :, None],
        "occupancy": parts.amax(dim=1),
        "part_occupancy_every_9": parts[:, :, ::9],
        "collision_loss": network.loss(bodies, given["points"], stored(draws)),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def volumetric(case: Mapping[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Signed distance, and how the collision changes with the pose."""
    network = load_collision(official(case["weights"], folder), people(folder))
    assert isinstance(network, Volumetric)
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    poses, draws = given["pose"].requires_grad_(True), together(arrays)
    bodies = figure(folder, poses.unflatten(1, (24, 3)), given["betas"])
    loss = network.loss(bodies, given["points"], stored(draws))
    (gradient,) = torch.autograd.grad(loss.sum(), poses)
    with torch.no_grad():
        parts = network.distances(bodies, given["points"], draws)
    found = {
        "sdf": parts.amin(dim=1),
        "part_sdf_every_9": parts[:, :, ::9],
        "collision_loss": loss.detach(),
        "gradient": gradient,
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


KINDS = {"coap_partition": partition, "coap_query": coap, "volumetric_query": volumetric}
INPUTS = {
    "coap_query": ("in.*", "points", "surface_*"),
    "volumetric_query": ("pose", "betas", "points", "surface_*"),
}
