"""The published procedures of ego-hmr as its specification states them, for the bench: slow twins of ours.

They compute the features of picture, room and place in each step, every layer of points on [point, maximum],
every point in every part of a body, one body at a time, and all distances, with torch's usual products. Scene
crops are those of plugins/ego_hmr/published_crops.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.coap import HALF, Coap
from avatarctl_ego_hmr.collision.partition import Draw, Figure
from avatarctl_ego_hmr.egobody.annotations import Annotations
from avatarctl_ego_hmr.evaluate import JOINTS, Bodies, errors_of
from avatarctl_ego_hmr.guidance import factors
from avatarctl_ego_hmr.model.diffusion import PoseDiffusion
from avatarctl_ego_hmr.model.points import PointEncoder
from avatarctl_ego_hmr.model.visibility import visible
from avatarctl_ego_hmr.scores import Errors
from avatarctl_ego_hmr.views import View
from torch import Tensor
from torch.nn import functional

from avatarctl.body import BodyModel
from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl.nn import linear


@contextmanager
def usual_products() -> Iterator[None]:
    """Leave all products to torch, as the published code does."""
    ours, linear._by_onednn = linear._by_onednn, lambda *given: False
    try:
        yield
    finally:
        linear._by_onednn = ours


@usual_products()
def encoded(encoder: PointEncoder, points: Tensor) -> Tensor:
    """Features of clouds [..., C] of points [..., N, 3]; each point is given with the maximum (spec 4.3)."""
    position, *blocks = (encoder.get_submodule(name) for name in encoder.names)
    x = position(points)
    for block in blocks[:-1]:
        x = block(x)
        x = torch.cat([x, x.amax(dim=-2, keepdim=True).expand_as(x)], dim=-1)
    return encoder.fc_c(functional.relu(blocks[-1](x).amax(dim=-2)))


@usual_products()
def denoise(network: PoseDiffusion, view: View, transl: Tensor, x: Tensor, steps: Tensor) -> Tensor:
    """Clean poses [B, 144] of noisy ones, fused, from pictures and points (spec 4.5)."""
    image, seen = network.backbone(view.image), visible(view.detected, loosen=True)
    scene = encoded(network.scene_enc, view.points - transl[:, None])
    told = torch.cat([image, scene, network.transl_enc(transl), view.lens()], dim=1)
    network.beta_layer(told)

    def once(is_told: Tensor) -> Tensor:
        parts = (
            image[:, None] * is_told[..., None],
            told[:, None, image.shape[1] :].expand(-1, JOINTS, -1),
            network.input_process["poseEmbedding"](x.unflatten(1, (JOINTS, 6))),
            network.embed_timestep(steps)[:, None].expand(-1, JOINTS, -1),
        )
        made: Tensor = network.diffusion_model(torch.cat(parts, dim=-1))
        return made

    return torch.where(seen[..., None], once(seen), once(torch.zeros_like(seen))).flatten(1)


def gradient(
    network: Coap, body: BodyModel, poses: Tensor, betas: Tensor, points: Tensor, draw: Draw
) -> Tensor:
    """Guidance of each body [B, 144], as `Guide.gradient` (spec 4.6, 6.3)."""
    found = torch.zeros_like(poses)
    for row in range(len(poses)):
        given = poses[row : row + 1].clone().requires_grad_(True)
        with torch.enable_grad():
            matrices = matrix_from_sixd(given.unflatten(-1, (JOINTS, 6)), "interleaved")
            figure = Figure.of(body.shape(betas[row : row + 1]).pose_matrices(matrices))
            near = points[row][figure.around(points[row : row + 1])[0]]
            if not len(near):
                continue
            loss = (occupancy(network, figure, near, draw, row) - HALF).relu().sum()
            (found[row : row + 1],) = torch.autograd.grad(loss, given)
    return -found * factors(poses)


def occupancy(network: Coap, figure: Figure, points: Tensor, draw: Draw, row: int) -> Tensor:
    """How sure points [N, 3] are inside of one body, 0 to 1 [N]: each point in all parts."""
    partition = network.partition
    count, boxes = len(partition), partition.boxes(figure)
    draws = draw(partition, figure.vertices.detach(), torch.tensor([row]))
    codes = encoded(network.encoder, partition.surface(figure, boxes, draws, torch.arange(count)))
    local = (points - boxes.origins[0, :, None]) @ boxes.rotations[0]  # [K, N, 3]
    held = ((local - boxes.centres[0, :, None]).abs() < boxes.sizes[0, :, None] / 2).all(dim=-1, keepdim=True)
    which, many = (
        one[:, None].expand(-1, len(points), -1) for one in (torch.eye(count, device=points.device), codes)
    )
    mixed = network.query_encoder(torch.cat([local, held.to(local), which, many], dim=-1))
    out = network.decoder(torch.cat([local, mixed], dim=-1))
    return ((-out).sigmoid() * held).amax(dim=0)[:, 0]


def nearest(vertices: Tensor, points: Tensor, rows: int = 1000) -> float:
    """The smallest distance between a body [V, 3] and a room [N, 3], metres, from all in both directions."""
    there = [torch.cdist(part, points).amin(dim=1) for part in vertices.split(rows)]
    back = [torch.cdist(part, vertices).amin(dim=1) for part in points.split(rows)]
    return float(torch.minimum(torch.cat(there).amin(), torch.cat(back).amin()))


def errors(people: People, bodies: Bodies, truth: Annotations, size: tuple[int, int]) -> list[Errors]:
    """Errors of all bodies, one after the other."""

    def one(frame: Sequence[int], sample: slice) -> Bodies:
        arrays = {name: array[frame] for name, array in vars(bodies).items()}
        several = {name: array[:, sample] for name, array in arrays.items() if array.ndim > 1}
        return Bodies(**{**arrays, **several, "transl": arrays["transl"]})

    count = bodies.betas.shape[1]
    return [
        errors_of(people, one([frame], slice(sample, sample + 1)), truth, size)
        for frame in range(len(bodies.rows))
        for sample in range(count)
    ]


def scan(count: int, seed: int = 0) -> np.ndarray:
    """Vertices of a made-up room of 4 by 5 metres with things in it, one surface after the other [N, 3]."""
    rng = np.random.default_rng(seed)
    boxes = [np.array([[-2.0, 0.0, -2.5], [2.0, 2.6, 2.5]])]
    for _ in range(12):
        half, middle = rng.uniform(0.15, 0.5, 3), rng.uniform(-1.7, 1.7, 3)
        middle[1] = half[1]
        boxes.append(np.stack([middle - half, middle + half]))
    faces = [(box, axis, side) for box in boxes for axis in range(3) for side in range(2)]
    faces = [one for one in faces if one[1:] != (1, 1) or one[0] is not boxes[0]]  # no ceiling
    areas = np.array([np.prod(np.delete(box[1] - box[0], axis)) for box, axis, _ in faces])
    shares = np.floor(count * areas / areas.sum()).astype(int)
    shares[0] += count - shares.sum()
    found = []
    for (box, axis, side), share in zip(faces, shares, strict=True):
        low, high = box
        points = rng.uniform(low, high, (share, 3))
        points[:, axis] = box[side, axis]
        found.append(points)
    return np.concatenate(found)
